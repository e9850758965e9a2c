"""Group commit: hits gather in packs, a pack is published, and only then the replies of its hits may leave.

While all publish slots are busy the next pack fills; when one is free, a pack goes out as soon as its first hit has
waited `linger`, so load makes packs larger, not slower.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType

from services.collector.metrics import Metrics
from services.shared import hit, identity, log
from services.shared.pubsub import Publisher, Unconfirmed

_log = log.get("collector.outbox")


class Refused(Exception):
    """The hits are not safe: Pub/Sub did not confirm them in time, or too many wait already. Try again later."""


@dataclass
class _Pack:
    opened: float
    lines: list[bytes] = field(default_factory=list)
    size: int = 0
    waiters: list[asyncio.Future[Exception | None]] = field(default_factory=list)

    def has_room(self, count: int, size: int) -> bool:
        return len(self.lines) + count <= hit.MAX_HITS and self.size + size <= hit.MAX_PACK_BYTES


class Outbox:
    def __init__(
        self, publisher: Publisher, topic: str, metrics: Metrics, *, linger: float, in_flight: int, max_pending: int
    ) -> None:
        self._publisher, self._topic, self._metrics = publisher, topic, metrics
        self._linger, self._max_pending = linger, max_pending
        self._slots = asyncio.Semaphore(in_flight)
        self._open: _Pack | None = None
        self._full: deque[_Pack] = deque()  # bounded by max_pending
        self._changed = asyncio.Event()
        self._pending = 0
        self._closing = False
        self._healthy = True

    async def __aenter__(self) -> Outbox:
        self._loop = asyncio.get_running_loop()
        self._sending: set[asyncio.Task[None]] = set()
        self._dispatcher = asyncio.create_task(self._dispatch(), name="outbox")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Send what is left without lingering; each pack has its publish timeout and no more."""
        self._closing = True
        self._changed.set()
        await self._dispatcher
        await asyncio.gather(*self._sending)

    async def put(self, lines: Sequence[bytes]) -> None:
        """Return when Pub/Sub has confirmed every one of these encoded hits. Raises Refused when it has not.

        The hits of one call share a pack where they fit one, so that they are safe, or refused, together.
        """
        size = sum(map(len, lines))
        if self._pending + size > self._max_pending:
            self._metrics.shed.inc(len(lines))
            raise Refused("too many hits wait for Pub/Sub")
        waiters = []
        for part in _parts(lines):
            pack = self._pack_for(len(part), sum(map(len, part)))
            waiter: asyncio.Future[Exception | None] = self._loop.create_future()
            pack.lines.extend(part)
            pack.waiters.append(waiter)
            waiters.append(waiter)
        # Each call waits on futures of its own: a cancelled request must not take its pack's others with it.
        errors = [await waiter for waiter in waiters]
        for error in errors:
            if error is not None:
                raise Refused(str(error)) from error

    def _pack_for(self, count: int, size: int) -> _Pack:
        pack = self._open
        if pack is not None and not pack.has_room(count, size):
            self._full.append(pack)
            pack = None
        if pack is None:
            pack = self._open = _Pack(self._loop.time())
            self._changed.set()
        pack.size += size
        self._count_pending(size)
        return pack

    def _count_pending(self, size: int) -> None:
        self._pending += size
        self._metrics.pending_bytes.set(self._pending)

    async def _dispatch(self) -> None:
        while True:
            await self._slots.acquire()
            pack = await self._next()
            if pack is None:
                return
            task = asyncio.create_task(self._send(pack))
            self._sending.add(task)
            task.add_done_callback(self._sent)

    def _sent(self, task: asyncio.Task[None]) -> None:
        self._sending.discard(task)
        self._slots.release()

    async def _next(self) -> _Pack | None:
        """The oldest pack that is full or has lingered; None when the outbox closes and is empty."""
        while True:
            if self._full:
                return self._full.popleft()
            pack, timer = self._open, None
            if pack is not None:
                ripe = pack.opened + self._linger
                if self._closing or ripe <= self._loop.time():
                    self._open = None
                    return pack
                timer = self._loop.call_at(ripe, self._changed.set)
            elif self._closing:
                return None
            self._changed.clear()
            await self._changed.wait()
            if timer is not None:
                timer.cancel()

    async def _send(self, pack: _Pack) -> None:
        started = self._loop.time()
        error: Exception | None = None
        data, attributes = hit.pack(pack.lines, identity.uuid7(time.time_ns() // 1000))
        try:
            await self._publisher.publish(self._topic, data, attributes)
        except Unconfirmed as failure:
            error = failure
        except Exception as failure:  # noqa: BLE001 - whatever it was, the replies that wait must not wait for ever
            _log.exception("publish failed")
            error = failure
        self._settle(pack, error, len(data), self._loop.time() - started)

    def _settle(self, pack: _Pack, error: Exception | None, size: int, seconds: float) -> None:
        metrics = self._metrics
        self._count_pending(-pack.size)
        metrics.pack_hits.observe(len(pack.lines))
        if error is None:
            metrics.published.inc(len(pack.lines))
            metrics.hit_bytes.inc(pack.size)
            metrics.pack_bytes.inc(size)
            metrics.publish_seconds.observe(seconds)
        else:
            metrics.unconfirmed.inc(len(pack.lines))
            metrics.publish_failures.inc()
        if self._healthy != (error is None):
            self._healthy = error is None
            if error is None:
                _log.info("publishing works again")
            else:
                _log.error("publishing fails", error=str(error))
        for waiter in pack.waiters:
            if not waiter.done():
                waiter.set_result(error)


def _parts(lines: Sequence[bytes]) -> list[Sequence[bytes]]:
    """The lines in as few runs as fit one pack each."""
    if (len(lines) <= hit.MAX_HITS and sum(map(len, lines)) <= hit.MAX_PACK_BYTES) or len(lines) == 1:
        return [lines]
    half = len(lines) // 2
    return [*_parts(lines[:half]), *_parts(lines[half:])]
