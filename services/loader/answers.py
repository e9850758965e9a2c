"""Acks and nacks: ack once every row is stored, dead-letter what can never be loaded, nack everything else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from services.loader import pack_tracker
from services.loader.config import Config
from services.loader.metrics import Metrics
from services.loader.pack_tracker import Pack, PackTracker
from services.shared import log, tracing
from services.shared.fault import FAULT_LOG_SECONDS, fault
from services.shared.publisher import Publisher, Unconfirmed, dead_letter
from services.shared.schema import TALLIES
from services.shared.subscriber import Delivery
from services.shared.throttle import Throttle

REMEMBERED = 50_000  # pack ids

_log = log.get("loader.answers")


class Answers:
    """The open packs, each settled once. `start` runs a named task; every answer sets `changed`."""

    def __init__(
        self,
        cfg: Config,
        publisher: Publisher,
        metrics: Metrics,
        start: Callable[[str, Coroutine[Any, Any, None]], None],
        changed: asyncio.Event,
    ) -> None:
        self._cfg, self._publisher, self._metrics = cfg, publisher, metrics
        self._start, self._changed = start, changed
        self._packs = PackTracker(REMEMBERED)
        self._faults = Throttle(FAULT_LOG_SECONDS)

    def __len__(self) -> int:
        return len(self._packs)

    def receive(self, delivery: Delivery) -> Pack | None:
        """A new pack to be written; None for a duplicate, which is acked now or answered with its first delivery."""
        self._metrics.received.inc()
        self._metrics.message_bytes.inc(len(delivery.data))
        if delivery.attempt > 1:
            self._metrics.redelivered.inc()
        key = pack_tracker.key(delivery)
        if self._packs.was_written(key):
            self._count_duplicate(delivery)
            self._ack(delivery)
            return None
        if (known := self._packs.being_written(key)) is not None:
            self._count_duplicate(delivery)
            known.deliveries.append(delivery)
            return None
        new = Pack(key, [delivery])
        self._packs.open(new)
        return new

    def settle(self, done: Pack) -> None:
        """Answer a pack that has no open slice."""
        if done.dead is not None:
            self._start("dead letter", self._dead_letter(done, done.dead))
        elif done.retry:
            self._nack_pack(done)
        else:
            self._answer(done)

    def nack_all(self) -> None:
        for unfinished in self._packs:
            self._nack_pack(unfinished)

    def nack(self, delivery: Delivery) -> None:
        delivery.nack()
        self._metrics.nacked.inc()

    def _count_duplicate(self, delivery: Delivery) -> None:
        self._metrics.duplicates.inc()
        if delivery.attributes.get("table") != TALLIES:
            self._metrics.duplicate_rows.inc(delivery.count)

    async def _dead_letter(self, dead: Pack, reason: str) -> None:
        """Publish the pack to the dead-letter topic, and only then ack it."""
        dead.span.fail(reason)
        with tracing.within(dead.span):
            await self._publish_dead(dead, reason)

    async def _publish_dead(self, dead: Pack, reason: str) -> None:
        first = dead.deliveries[0]
        try:
            data, attributes = dead_letter(
                first.data, first.attributes, reason=reason, source=self._cfg.rows_subscription
            )
            await self._publisher.publish(self._cfg.dead_topic, data, attributes)
        except Unconfirmed as error:
            _log.error("a dead pack could not be published", pack=dead.key[0], reason=reason, error=str(error))
            self._nack_pack(dead)
            return
        except Exception as error:  # noqa: BLE001 - the pack is redelivered, the others are not affected
            if packs := self._faults.add(1):
                _log.error("pack failed", packs=packs, pack=dead.key[0], fault=fault(error))
            self._nack_pack(dead)
            return
        _log.warning("message dead-lettered", pack=dead.key[0], reason=reason)
        self._metrics.dead.inc()
        if first.attributes.get("table") != TALLIES:
            self._metrics.dead_rows.inc(dead.unwritten)
        # Not remembered as written: an operator may repair the cause and publish it again.
        self._answer(dead, written=False)

    def _answer(self, done: Pack, *, written: bool = True) -> None:
        self._packs.close(done, written=written)
        done.span.end()
        for delivery in done.deliveries:
            self._ack(delivery)
        self._changed.set()

    def _nack_pack(self, undone: Pack) -> None:
        self._packs.close(undone, written=False)
        undone.span.fail("nacked")
        undone.span.end()
        for delivery in undone.deliveries:
            self.nack(delivery)
        self._changed.set()

    def _ack(self, delivery: Delivery) -> None:
        delivery.ack()
        self._metrics.acked.inc()
