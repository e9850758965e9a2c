"""Group commit: hits gather in packs, a pack is made safe, and only then the replies of its hits may leave.

Safe is what Pub/Sub has confirmed; where it does not answer, what the spool has on disk.

While all publish slots are busy the next pack fills; when one is free, a pack goes out as soon as its first hit has
waited `linger`, so load makes packs larger, not slower.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType

from services.collector.breaker import Breaker
from services.collector.metrics import Metrics
from services.collector.sender import Sender
from services.collector.spool import Spool
from services.shared import hit, log, tracing
from services.shared.background import Background
from services.shared.publisher import Publisher

_STUCK_SECONDS = 120.0  # above the longest publish and the longest write to the spool

_log = log.get("collector.outbox")


class Refused(Exception):
    """The hits are not safe: neither Pub/Sub nor the spool has them, or too many wait already. Try again later."""


# Told once, in the event loop: None when hits are safe, or why they are not.
Tell = Callable[[Exception | None], None]


@dataclass
class _Pack:
    opened: float
    lines: list[bytes] = field(default_factory=list)
    size: int = 0
    tell: list[Tell] = field(default_factory=list)
    traces: list[tracing.Trace] = field(default_factory=list)  # of its requests, each once, as many as a span has

    def note(self, trace: tracing.Trace) -> None:
        if len(self.traces) <= tracing.MAX_LINKS and trace not in self.traces:
            self.traces.append(trace)


class Reserved:
    """Room in an outbox for what is not a hit yet, such as a body on its way in."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self.bytes = 0

    def add(self, size: int) -> None:
        """Raises Refused where there is no room for more."""
        self._outbox.take_room(size)
        self.bytes += size


class Outbox:
    """`now` gives the Unix time in seconds, `entropy` as many random bytes as asked for."""

    def __init__(
        self,
        publisher: Publisher,
        topic: str,
        spool: Spool | None,
        metrics: Metrics,
        background: Background,
        *,
        linger_seconds: float,
        in_flight: int,
        max_pending_bytes: int,
        now: Callable[[], float] = time.time,
        entropy: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._metrics, self._background = metrics, background
        self._sender = Sender(publisher, topic, spool, metrics, now, entropy)
        self._linger, self._max_pending = linger_seconds, max_pending_bytes
        self._slots = asyncio.Semaphore(in_flight)
        self._open: _Pack | None = None
        self._full: deque[_Pack] = deque()  # bounded by max_pending_bytes
        self._changed = asyncio.Event()
        self._pending = 0
        metrics.pending_bytes.set_function(lambda: self._pending)  # read when asked for, not set with each hit
        self._closing = self._ended = False

    async def __aenter__(self) -> Outbox:
        self._loop = asyncio.get_running_loop()
        self._sending: set[asyncio.Task[None]] = set()
        self._progress = self._background.step("outbox", _STUCK_SECONDS)
        self._dispatcher = self._background.start("outbox", self._run(), ending=lambda: self._closing)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Send what is left without lingering; each pack has its publish timeout and no more."""
        self._closing = True
        self._changed.set()
        await asyncio.wait({self._dispatcher})
        await asyncio.gather(*self._sending)

    async def put(self, lines: Sequence[bytes], trace: tracing.Trace | None = None) -> None:
        """Return when every one of these encoded hits is in Pub/Sub or in the spool. Raises Refused when one is not.

        The hits of one call share a pack where they fit one, so that they are safe, or refused, together.
        """
        # Each call waits on futures of its own: a cancelled request must not take its pack's others with it.
        failed: Exception | None = None
        for waiter in self.take(lines, trace):
            error = await waiter
            failed = failed or error
        if failed is not None:
            raise Refused(str(failed)) from failed

    def take(
        self, lines: Sequence[bytes], trace: tracing.Trace | None = None
    ) -> list[asyncio.Future[Exception | None]]:
        """Have these hits published without waiting; each future says later whether a part of them is safe.

        `trace` is what their request is a part of. Raises Refused where too many wait already.
        """
        size = sum(map(len, lines))
        self._check_room(size, len(lines))
        if len(lines) <= hit.MAX_HITS and size <= hit.MAX_PACK_BYTES:
            return [self._waiting(lines, size, trace)]
        return [self._waiting(part, sum(map(len, part)), trace) for part in _parts(lines)]

    def take_one(self, line: bytes, tell: Tell | None) -> None:
        """Have one hit published without waiting. Raises Refused where too many wait already."""
        size = len(line)
        self._check_room(size, 1)
        self._add([line], size, tell)

    def _waiting(
        self, lines: Sequence[bytes], size: int, trace: tracing.Trace | None
    ) -> asyncio.Future[Exception | None]:
        waiter: asyncio.Future[Exception | None] = self._loop.create_future()
        self._add(lines, size, lambda error: None if waiter.done() else waiter.set_result(error), trace)
        return waiter

    def _add(self, lines: Sequence[bytes], size: int, tell: Tell | None, trace: tracing.Trace | None = None) -> None:
        pack = self._pack_for(len(lines), size)
        pack.lines.extend(lines)
        if tell is not None:
            pack.tell.append(tell)
        if trace is not None:
            pack.note(trace)

    @contextmanager
    def reserve(self) -> Iterator[Reserved]:
        """Room for bytes that are about to become hits; given back at the end."""
        reserved = Reserved(self)
        try:
            yield reserved
        finally:
            self._pending -= reserved.bytes

    def take_room(self, size: int) -> None:
        """Count bytes as waiting. Raises Refused where there is no room."""
        self._check_room(size)
        self._pending += size

    def _check_room(self, size: int, hits: int = 0) -> None:
        if self._ended:
            raise Refused("the collector is stopping")
        if self._pending + size > self._max_pending:
            self._metrics.shed.inc(hits)
            raise Refused("too many hits wait for Pub/Sub")

    @property
    def breaker(self) -> Breaker:
        return self._sender.breaker

    @property
    def unsafe(self) -> str | None:
        """Why hits are refused now; None while they are taken, or some are needed to find out."""
        return self._sender.unsafe

    def _pack_for(self, count: int, size: int) -> _Pack:
        pack = self._open
        if pack is None or len(pack.lines) + count > hit.MAX_HITS or pack.size + size > hit.MAX_PACK_BYTES:
            if pack is not None:
                self._full.append(pack)
            pack = self._open = _Pack(self._loop.time())
            self._changed.set()
        pack.size += size
        self._pending += size
        return pack

    async def _run(self) -> None:
        try:
            await self._dispatch()
        finally:
            # Where it was cancelled, replies that wait must not wait for ever.
            self._ended = True
            self._progress.idle()
            waiting = [*self._full, *([self._open] if self._open is not None else [])]
            self._full.clear()
            self._open = None
            for pack in waiting:
                self._refuse(pack, Refused("the collector is stopping"))

    async def _dispatch(self) -> None:
        while True:
            self._progress.moved()
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
            if pack is None:
                self._progress.idle()
            self._changed.clear()
            await self._changed.wait()
            self._progress.moved()
            if timer is not None:
                timer.cancel()

    async def _send(self, pack: _Pack) -> None:
        """Have the pack safe, in Pub/Sub or in the spool, or refuse its hits."""
        age = self._loop.time() - pack.opened
        error: Exception | None = Refused("the collector is stopping")
        try:
            with tracing.span("collect", pack.traces, kind=tracing.Kind.PRODUCER, age=age, root=True) as span:
                error = await self._sender.send(pack.lines, pack.size, span)
                if error is not None:
                    span.fail(str(error))
        except Exception as failure:  # noqa: BLE001 - whatever it was, the replies that wait must not wait for ever
            _log.exception("sending failed")
            error = failure
        finally:
            if error is None:
                self._settle(pack, None)
            else:
                self._refuse(pack, error)

    def _refuse(self, pack: _Pack, error: Exception) -> None:
        self._metrics.unconfirmed.inc(len(pack.lines))
        self._settle(pack, error)

    def _settle(self, pack: _Pack, error: Exception | None) -> None:
        self._pending -= pack.size
        self._metrics.pack_hits.observe(len(pack.lines))
        for tell in pack.tell:
            try:
                tell(error)
            except Exception:  # noqa: BLE001 - the others of the pack are told all the same
                _log.exception("a reply failed")


def _parts(lines: Sequence[bytes]) -> list[Sequence[bytes]]:
    """The lines in as few runs as fit one pack each."""
    if (len(lines) <= hit.MAX_HITS and sum(map(len, lines)) <= hit.MAX_PACK_BYTES) or len(lines) == 1:
        return [lines]
    half = len(lines) // 2
    return [*_parts(lines[:half]), *_parts(lines[half:])]
