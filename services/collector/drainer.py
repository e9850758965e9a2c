"""Publishes what is in the spool, oldest first, beside live traffic, and forgets it once Pub/Sub has confirmed."""

from __future__ import annotations

import asyncio
from types import TracebackType

from services.collector.breaker import CLOSED, Breaker
from services.collector.spool import Spool, Spooled, SpoolError
from services.shared import hit, log
from services.shared.background import Background
from services.shared.pubsub import Publisher, Unconfirmed

PACKS = 16  # published at a time
_DISK_WAITS = (1.0, 30.0)  # seconds until a disk that failed is read again: the first, and the longest, doubling
_STUCK_SECONDS = 120.0

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
        background: Background,
        *,
        fast: float,
        grace: float,
    ) -> None:
        self._spool, self._publisher, self._topic, self._breaker = spool, publisher, topic, breaker
        self._background = background
        self._fast, self._grace = fast, grace
        self._works = True
        self._slow = False  # the last try was answered, but late

    async def __aenter__(self) -> Drainer:
        self._loop = asyncio.get_running_loop()
        self._progress = self._background.step("drainer", _STUCK_SECONDS)
        self._task = self._background.start("drainer", self._run())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        until = self._loop.time() + self._grace
        while self._spool.packs and self._works and self._loop.time() < until and not self._task.done():
            await asyncio.wait({self._task}, timeout=0.05)
        self._task.cancel()
        await asyncio.wait({self._task})
        self._progress.idle()

    async def _run(self) -> None:
        disk_wait, longest = _DISK_WAITS
        while True:
            self._progress.idle()
            await self._spool.wait()
            self._progress.moved()
            if self._breaker.state != CLOSED and not self._breaker.due(self._loop.time()):
                await asyncio.sleep(max(0.01, self._breaker.try_at - self._loop.time()))
                continue
            # One pack is enough to find out whether Pub/Sub answers; one that answers late takes many at once as well.
            try:
                packs = await self._spool.oldest_packs(1 if self._breaker.state != CLOSED and not self._slow else PACKS)
            except SpoolError:  # it has said so; live traffic tests Pub/Sub meanwhile
                self._works = False
                await asyncio.sleep(disk_wait)
                disk_wait = min(2 * disk_wait, longest)
                continue
            disk_wait = _DISK_WAITS[0]
            if packs:
                await self._publish(packs)

    async def _publish(self, packs: list[Spooled]) -> None:
        trying = self._breaker.state != CLOSED
        if trying and not self._breaker.may_try(self._loop.time()):
            return
        started = self._loop.time()
        try:
            outcomes = await asyncio.gather(*(self._confirmed(pack) for pack in packs))
        except BaseException:
            if trying:  # whoever tries says how it went, even where it is cancelled
                self._breaker.failed(self._loop.time())
            raise
        done = [pack for pack, confirmed in zip(packs, outcomes, strict=True) if confirmed]
        self._works = len(done) == len(packs)
        self._slow = self._works and self._loop.time() - started > self._fast
        if not self._works:
            self._breaker.failed(self._loop.time())
        elif not self._slow or len(done) == self._spool.packs:  # with nothing left to drain, nobody else would try
            self._breaker.succeeded()
        elif trying:
            self._breaker.slow(self._loop.time())
        await self._spool.delete(done)

    async def _confirmed(self, pack: Spooled) -> bool:
        try:
            await self._publisher.publish(self._topic, pack.data, hit.attributes(pack.hits, pack.pack))
        except Unconfirmed:
            return False
        except Exception:  # noqa: BLE001 - the pack stays in the spool, and the next try comes
            _log.exception("draining failed")
            return False
        return True
