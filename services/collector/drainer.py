"""Publishes spooled packs, oldest first, beside live traffic, and deletes them once Pub/Sub has confirmed."""

from __future__ import annotations

import asyncio

from services.collector.breaker import CLOSED, Breaker
from services.collector.spool import Spool, Spooled, SpoolError
from services.shared import hit, log
from services.shared.background import Background
from services.shared.backoff import Backoff
from services.shared.publisher import Publisher, Unconfirmed

PACKS = 16  # published at a time
_FIRST_WAIT, _LONGEST_WAIT = 1.0, 30.0  # seconds until a disk that failed is read again
_STUCK_SECONDS = 120.0

_log = log.get("collector.drainer")


class Drainer:
    """While the breaker is open, the drainer tests Pub/Sub, so that no request has to wait for that.

    It has a `publisher` of its own, with a timeout that suits a slow Pub/Sub. An answer slower than `fast` seconds
    empties the spool but does not close the breaker, since replies would have to wait that long again. On exit it keeps
    draining for up to `shutdown_timeout` seconds while packs are confirmed.
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
        shutdown_timeout: float,
    ) -> None:
        self._spool, self._publisher, self._topic, self._breaker = spool, publisher, topic, breaker
        self._background = background
        self._fast, self._shutdown_timeout = fast, shutdown_timeout
        self._works = True
        self._slow = False  # the last try succeeded, but late

    async def __aenter__(self) -> Drainer:
        self._loop = asyncio.get_running_loop()
        self._progress = self._background.step("drainer", _STUCK_SECONDS)
        self._task = self._background.start("drainer", self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        until = self._loop.time() + self._shutdown_timeout
        while self._spool.packs and self._works and self._loop.time() < until and not self._task.done():
            await asyncio.wait({self._task}, timeout=0.05)
        self._task.cancel()
        await asyncio.wait({self._task})
        self._progress.idle()

    async def _run(self) -> None:
        disk_backoff = Backoff(_FIRST_WAIT, _LONGEST_WAIT, random=lambda: 1.0)  # one disk, one client: no jitter
        while True:
            self._progress.idle()
            await self._spool.wait()
            self._progress.moved()
            if self._breaker.state != CLOSED and not self._breaker.due(self._loop.time()):
                await asyncio.sleep(max(0.01, self._breaker.try_at - self._loop.time()))
                continue
            # One pack is enough to test Pub/Sub; if it answers, but late, it is sent many at once.
            try:
                packs = await self._spool.oldest_packs(1 if self._breaker.state != CLOSED and not self._slow else PACKS)
            except SpoolError:  # the spool has logged it; live traffic tests Pub/Sub meanwhile
                self._works = False
                await asyncio.sleep(disk_backoff.wait())
                continue
            disk_backoff.reset()
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
            if trying:  # the outcome of a try is always reported, even if it is cancelled
                self._breaker.failed(self._loop.time())
            raise
        done = [pack for pack, confirmed in zip(packs, outcomes, strict=True) if confirmed]
        self._works = len(done) == len(packs)
        self._slow = self._works and self._loop.time() - started > self._fast
        if not self._works:
            self._breaker.failed(self._loop.time())
        elif not self._slow or len(done) == self._spool.packs:  # once it is empty, nothing else tests Pub/Sub
            self._breaker.succeeded()
        elif trying:
            self._breaker.slow(self._loop.time())
        await self._spool.delete(done)

    async def _confirmed(self, pack: Spooled) -> bool:
        try:
            await self._publisher.publish(self._topic, pack.data, hit.attributes(pack.hits, pack.pack))
        except Unconfirmed:
            return False
        except Exception:  # noqa: BLE001 - the pack stays in the spool until a later try
            _log.exception("draining failed")
            return False
        return True
