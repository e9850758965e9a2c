"""Group commit: hits are gathered into packs, and the replies to a pack's hits are sent once the pack is safe.

Safe means confirmed by Pub/Sub, or, where Pub/Sub does not answer, on disk in the spool.

While all publish slots are busy, the next pack fills up. When a slot is free, a pack is sent once its first hit has
waited `linger_seconds`. So load makes packs larger, not slower.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from services.collector.breaker import Breaker
from services.collector.metrics import Metrics
from services.collector.sender import Sender
from services.collector.spool import Spool
from services.collector.tally_counter import TallyCounter
from services.shared import hit, log, tracing
from services.shared.background import Background
from services.shared.publisher import Publisher
from services.shared.tally import ACKNOWLEDGED, REFUSED, Label

_STUCK_SECONDS = 120.0  # above the longest publish and the longest write to the spool

_log = log.get("collector.outbox")


class HitsRefused(Exception):
    """The hits are not safe: neither Pub/Sub nor the spool has them, or too many are waiting already. Try again."""


# Called once, in the event loop, when the fate of hits is known: with None if they are safe, else with the reason.
OnSettled = Callable[[Exception | None], None]


@dataclass
class _Pack:
    opened: float
    lines: list[bytes] = field(default_factory=list)
    size: int = 0
    callbacks: list[OnSettled] = field(default_factory=list)
    traces: list[tracing.Trace] = field(default_factory=list)  # of its requests, without duplicates, bounded
    labels: list[Label] = field(default_factory=list)  # of its hits, for the tally

    def add_trace(self, trace: tracing.Trace) -> None:
        if len(self.traces) <= tracing.MAX_LINKS and trace not in self.traces:
            self.traces.append(trace)


class Reservation:
    """Memory of an outbox, reserved for bytes that are not hits yet, such as a body being received."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self.bytes = 0

    def add(self, size: int) -> None:
        """Reserve `size` more bytes. Raises HitsRefused if there is no room."""
        self._outbox.take_room(size)
        self.bytes += size


class Outbox:
    """Publishes at most `in_flight` packs at a time, and holds at most `max_pending_bytes` of hits.

    `tallies` counts what became of the hits that have labels; with `immediate`, those that were taken had their replies
    before that. `now` returns the Unix time in seconds, `entropy(n)` n random bytes.
    """

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
        immediate: bool = False,
        now: Callable[[], float] = time.time,
        entropy: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._metrics, self._background = metrics, background
        self._sender = Sender(publisher, topic, spool, metrics, now, entropy)
        self._linger, self._max_pending = linger_seconds, max_pending_bytes
        self.tallies, self._immediate = TallyCounter(), immediate
        self._slots = asyncio.Semaphore(in_flight)
        self._open: _Pack | None = None
        self._full: deque[_Pack] = deque()  # bounded by max_pending_bytes
        self._changed = asyncio.Event()
        self._pending = 0
        metrics.pending_bytes.set_function(lambda: self._pending)  # computed on scrape, not set on each hit
        self._closing = self._ended = False

    async def __aenter__(self) -> Outbox:
        self._loop = asyncio.get_running_loop()
        self._sending: set[asyncio.Task[None]] = set()
        self._progress = self._background.step("outbox", _STUCK_SECONDS)
        self._dispatcher = self._background.start("outbox", self._run(), ending=lambda: self._closing)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Send what is left without lingering; no pack takes longer than its publish timeout."""
        self._closing = True
        self._changed.set()
        await asyncio.wait({self._dispatcher})
        await asyncio.gather(*self._sending)

    async def put(
        self, lines: Sequence[bytes], trace: tracing.Trace | None = None, labels: Sequence[Label] = ()
    ) -> None:
        """Return once all these encoded hits are in Pub/Sub or in the spool. Raises HitsRefused if any of them is not.

        The hits of one call share a pack if they fit into one, so that they are safe, or refused, together.
        """
        # Each call waits on its own futures: cancelling one request must not affect the others of its pack.
        failed: Exception | None = None
        for waiter in self.take(lines, trace, labels):
            error = await waiter
            failed = failed or error
        if failed is not None:
            raise HitsRefused(str(failed)) from failed

    def take(
        self, lines: Sequence[bytes], trace: tracing.Trace | None = None, labels: Sequence[Label] = ()
    ) -> list[asyncio.Future[Exception | None]]:
        """Queue these hits and return at once; each future resolves to why a part of them is not safe, or to None.

        `trace` is the trace their request belongs to, `labels` are those of the hits, in order. Raises HitsRefused if
        too many are waiting already.
        """
        size = sum(map(len, lines))
        self._check_room(size, labels, len(lines))
        if len(lines) <= hit.MAX_HITS and size <= hit.MAX_PACK_BYTES:
            return [self._waiting(lines, size, trace, labels)]
        waiting, start = [], 0
        for part in _parts(lines):
            waiting.append(self._waiting(part, sum(map(len, part)), trace, labels[start : start + len(part)]))
            start += len(part)
        return waiting

    def take_one(self, line: bytes, on_settled: OnSettled | None, label: Label) -> None:
        """Queue one hit and return at once. Raises HitsRefused if too many are waiting already."""
        size = len(line)
        if self._ended or self._pending + size > self._max_pending:
            self._check_room(size, (label,), 1)
        pack = self._pack_for(1, size)
        pack.lines.append(line)
        pack.labels.append(label)
        if on_settled is not None:
            pack.callbacks.append(on_settled)

    async def send_tally(self, line: bytes) -> Exception | None:
        """Send a tally as a pack of its own, also after the outbox was left. Returns None once it is safe."""
        return await self._sender.send([line], len(line), tracing.NONE, tally=True)

    def _waiting(
        self, lines: Sequence[bytes], size: int, trace: tracing.Trace | None, labels: Sequence[Label]
    ) -> asyncio.Future[Exception | None]:
        waiter: asyncio.Future[Exception | None] = self._loop.create_future()
        self._add(lines, size, lambda error: None if waiter.done() else waiter.set_result(error), trace, labels)
        return waiter

    def _add(
        self,
        lines: Sequence[bytes],
        size: int,
        on_settled: OnSettled,
        trace: tracing.Trace | None,
        labels: Sequence[Label],
    ) -> None:
        pack = self._pack_for(len(lines), size)
        pack.labels.extend(labels)
        pack.lines.extend(lines)
        pack.callbacks.append(on_settled)
        if trace is not None:
            pack.add_trace(trace)

    @contextmanager
    def reserve(self) -> Iterator[Reservation]:
        """Reserve room for bytes that are about to become hits; it is released at the end."""
        reservation = Reservation(self)
        try:
            yield reservation
        finally:
            self._pending -= reservation.bytes

    def take_room(self, size: int) -> None:
        """Count bytes as pending. Raises HitsRefused if there is no room."""
        self._check_room(size)
        self._pending += size

    def _check_room(self, size: int, labels: Sequence[Label] = (), hits: int = 0) -> None:
        if self._ended:
            self.tallies.add_all(Counter(labels), REFUSED)
            raise HitsRefused("the collector is stopping")
        if self._pending + size > self._max_pending:
            self.tallies.add_all(Counter(labels), REFUSED)
            self._metrics.shed.inc(hits)
            raise HitsRefused("too many hits wait for Pub/Sub")

    @property
    def breaker(self) -> Breaker:
        return self._sender.breaker

    @property
    def unsafe(self) -> str | None:
        """Why hits are refused now; None while they are accepted, or while a hit is needed to test Pub/Sub."""
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
            # Even if it was cancelled, no reply may wait for ever.
            self._ended = True
            self._progress.idle()
            waiting = [*self._full, *([self._open] if self._open is not None else [])]
            self._full.clear()
            self._open = None
            for pack in waiting:
                self._refuse(pack, HitsRefused("the collector is stopping"))

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
        """The oldest pack that is full or has lingered; None once the outbox is closing and empty."""
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
        """Make the pack safe, in Pub/Sub or in the spool, or refuse its hits."""
        age = self._loop.time() - pack.opened
        error: Exception | None = HitsRefused("the collector is stopping")
        try:
            with tracing.span("collect", pack.traces, kind=tracing.Kind.PRODUCER, age=age, root=True) as span:
                error = await self._sender.send(pack.lines, pack.size, span)
                if error is not None:
                    span.fail(str(error))
        except Exception as failure:  # noqa: BLE001 - whatever it was, no reply may wait for ever
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
        acknowledged = error is None or self._immediate
        self.tallies.add_all(Counter(pack.labels), ACKNOWLEDGED if acknowledged else REFUSED)
        self._metrics.pack_hits.observe(len(pack.lines))
        for on_settled in pack.callbacks:
            try:
                on_settled(error)
            except Exception:  # noqa: BLE001 - the pack's other replies must still be sent
                _log.exception("a reply failed")


def _parts(lines: Sequence[bytes]) -> list[Sequence[bytes]]:
    """Split the lines into runs that fit one pack each."""
    if (len(lines) <= hit.MAX_HITS and sum(map(len, lines)) <= hit.MAX_PACK_BYTES) or len(lines) == 1:
        return [lines]
    half = len(lines) // 2
    return [*_parts(lines[:half]), *_parts(lines[half:])]
