"""Sends one pack: to Pub/Sub, or to the spool while Pub/Sub does not answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from services.collector.breaker import CLOSED, HALF_OPEN, OPEN, Breaker
from services.collector.metrics import Metrics
from services.collector.spool import Spool, SpoolError
from services.shared import hit, identity, log, tracing
from services.shared.publisher import Publisher, Unconfirmed

_log = log.get("collector.outbox")


class Sender:
    """`now` returns the Unix time in seconds, `entropy(n)` n random bytes."""

    def __init__(
        self,
        publisher: Publisher,
        topic: str,
        spool: Spool | None,
        metrics: Metrics,
        now: Callable[[], float],
        entropy: Callable[[int], bytes],
    ) -> None:
        self._publisher, self._topic, self._spool, self._metrics = publisher, topic, spool, metrics
        self._now, self._entropy = now, entropy
        self.breaker = Breaker(self._breaker_changed)
        self._was, self._last_error = CLOSED, ""
        self._publishing: set[asyncio.Future[str]] = set()

    @property
    def unsafe(self) -> str | None:
        """Why packs are refused now; None while they are accepted, or while one is needed to test Pub/Sub."""
        if self._spool is None or self.breaker.state == CLOSED:
            return None
        # With nothing to drain, only live traffic can test Pub/Sub, and a pod that is not ready gets none.
        if not self._spool.drainable and self.breaker.due(asyncio.get_running_loop().time()):
            return None
        return self._spool.refuses

    async def send(
        self, lines: Sequence[bytes], size: int, span: tracing.Span, *, tally: bool = False
    ) -> Exception | None:
        """Send a pack of these lines, `size` bytes in all. Returns None once it is safe, else why it is not.

        The line of a tally is counted nowhere as a hit.
        """
        hits = 0 if tally else len(lines)
        started = asyncio.get_running_loop().time()
        pack_id = identity.uuid7(int(self._now() * 1e6), self._entropy(10))
        span.note(pack=pack_id, hits=hits)
        data, attributes = hit.pack(lines, pack_id, tally=tally)
        error = await self._publish(data, {**attributes, **tracing.carry()})
        if error is None:
            self._metrics.published.inc(hits)
            self._metrics.hit_bytes.inc(size)
            self._metrics.pack_bytes.inc(len(data))
            self._metrics.publish_seconds.observe(asyncio.get_running_loop().time() - started)
        elif self._spool is not None:
            span.note(spooled=str(error))
            error = await self._store(self._spool, pack_id, hits, data)
        return error

    async def _publish(self, data: bytes, attributes: dict[str, str]) -> Exception | None:
        """Publish unless the breaker is open; when it opens, publishes under way are cancelled.

        Without a spool there is no alternative, so the breaker stays closed and every pack is tried.
        """
        if not self._may_publish():
            return Unconfirmed("Pub/Sub does not answer")
        publishing = asyncio.ensure_future(self._publisher.publish(self._topic, data, attributes))
        self._publishing.add(publishing)
        error: Exception | None = Unconfirmed("Pub/Sub does not answer")
        try:
            await publishing
            error = None
        except Unconfirmed as failure:
            error = failure
        except asyncio.CancelledError:
            if (task := asyncio.current_task()) is not None and task.cancelling():
                raise
        except Exception as failure:  # noqa: BLE001 - the spool takes it
            _log.exception("publish failed")
            error = failure
        finally:  # the outcome of a try is always reported, even if it is cancelled
            self._publishing.discard(publishing)
            self._report(error)
        return error

    def _report(self, error: Exception | None) -> None:
        if error is None:
            self.breaker.succeeded()
            return
        self._metrics.publish_failures.inc()
        self._last_error = str(error)
        if self._spool is not None:
            self.breaker.failed(asyncio.get_running_loop().time())
            for other in self._publishing:
                other.cancel()

    def _may_publish(self) -> bool:
        if self.breaker.state == CLOSED:
            return True
        if self._spool is not None and self._spool.drainable:
            return False  # the drainer tests Pub/Sub, so that no reply has to wait for the outcome
        return self.breaker.may_try(asyncio.get_running_loop().time())

    async def _store(self, spool: Spool, pack_id: str, hits: int, data: bytes) -> Exception | None:
        try:
            await spool.put(pack_id, hits, data)
        except SpoolError as error:
            return error
        self._metrics.spooled.inc(hits)
        return None

    def _breaker_changed(self, state: int) -> None:
        self._metrics.breaker.set(state)
        if state == OPEN and self._was != OPEN:
            _log.error("Pub/Sub does not answer; hits go to the spool", error=self._last_error)
        elif state == CLOSED:
            _log.info("Pub/Sub answers again")
        if state != HALF_OPEN:
            self._was = state
