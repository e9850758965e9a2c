"""Publishes what lies in the spool, oldest first, beside live traffic, and forgets it once Pub/Sub has confirmed."""

from __future__ import annotations

import asyncio
from types import TracebackType

from services.collector.breaker import CLOSED, Breaker
from services.collector.metrics import Metrics
from services.collector.spool import Spool, Spooled
from services.shared import hit, log
from services.shared.pubsub import Publisher, Unconfirmed

PACKS = 16  # published at a time

_log = log.get("collector.drainer")


class Drainer:
    """While the breaker is open its tries are what tests Pub/Sub: no request has to wait for that.

    `publisher` is its own, with a time limit that suits a slow Pub/Sub; an answer later than `fast` seconds empties the
    spool but does not close the breaker, since replies would wait that long again. On leaving it goes on for as long as
    `grace` seconds while packs are confirmed.
    """

    def __init__(
        self,
        spool: Spool,
        publisher: Publisher,
        topic: str,
        breaker: Breaker,
        metrics: Metrics,
        *,
        fast: float,
        grace: float,
    ) -> None:
        self._spool, self._publisher, self._topic, self._breaker, self._metrics = (
            spool,
            publisher,
            topic,
            breaker,
            metrics,
        )
        self._fast, self._grace = fast, grace
        self._works = True
        self._slow = False  # the last try was answered, but late
        self._removing: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Drainer:
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.create_task(self._run(), name="drainer")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        until = self._loop.time() + self._grace
        while self._spool.packs and self._works and self._loop.time() < until and not self._task.done():
            await asyncio.wait({self._task}, timeout=0.05)
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        if self._removing is not None:
            await asyncio.gather(self._removing, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            await self._spool.wait()
            trying = self._breaker.state != CLOSED
            if trying and not self._breaker.may_try(self._loop.time()):
                await asyncio.sleep(max(0.01, self._breaker.try_at - self._loop.time()))
                continue
            # One pack is enough to find out whether Pub/Sub answers; one that answers late takes many at once as well.
            packs = await self._spool.oldest_packs(1 if trying and not self._slow else PACKS)
            if not packs:
                self._breaker.failed(self._loop.time())
                await asyncio.sleep(1)
                continue
            await self._publish(packs, trying)

    async def _publish(self, packs: list[Spooled], trying: bool) -> None:
        started = self._loop.time()
        outcomes = await asyncio.gather(*(self._confirmed(pack) for pack in packs))
        done = [pack for pack, confirmed in zip(packs, outcomes, strict=True) if confirmed]
        if done:
            # Whole, even where the drainer ends meanwhile: what left the spool is counted.
            self._removing = asyncio.create_task(self._remove(done))
            await asyncio.shield(self._removing)
        self._works = len(done) == len(packs)
        self._slow = self._works and self._loop.time() - started > self._fast
        if not self._works:
            self._breaker.failed(self._loop.time())
        elif not self._slow:
            self._breaker.succeeded()
        elif trying:
            self._breaker.slow(self._loop.time())

    async def _remove(self, packs: list[Spooled]) -> None:
        # Counted as they leave the spool, so that each is counted once however often it is published.
        if await self._spool.delete(packs):
            self._metrics.drained.inc(sum(pack.hits for pack in packs))

    async def _confirmed(self, pack: Spooled) -> bool:
        try:
            await self._publisher.publish(self._topic, pack.data, hit.attributes(pack.hits, pack.pack))
        except Unconfirmed:
            return False
        except Exception:  # noqa: BLE001 - the pack stays in the spool, and the next try comes
            _log.exception("draining failed")
            return False
        return True
