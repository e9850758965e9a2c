"""The two ways of receiving: Pull, one answer, and StreamingPull, one session of reading and writing."""

from __future__ import annotations

import asyncio
from typing import Any

from emulators.faults.active_faults import Call
from emulators.faults.fault_runtime import Watch
from emulators.pubsub import limits
from emulators.pubsub.backlog import Backlog
from emulators.pubsub.broker import Broker
from emulators.pubsub.clock import Clock
from emulators.pubsub.consumer import Consumer
from emulators.pubsub.errors import PubsubError, invalid
from emulators.pubsub.rpc_gate import RpcGate, Stream, call_of

# Small enough for a client that keeps gRPC's 4 MiB receive cap, large enough to make the cost of a response small.
BATCH_BYTES = 1024 * 1024
BATCH_MESSAGES = 1_000
PULL_BYTES = 3 * 1024 * 1024
PULL_WAIT = 10.0  # seconds that a Pull waits for a first message


class Turn:
    """Waits, for one consumer, until there is something to take, or a reason to stop."""

    def __init__(self, backlog: Backlog, clock: Clock, max_messages: int, max_bytes: int) -> None:
        self._backlog = backlog
        self._clock = clock
        self._woken = asyncio.Event()
        self.over: asyncio.Future[PubsubError] = asyncio.get_running_loop().create_future()
        self.consumer = Consumer(max_messages, max_bytes, self._woken.set, self._finish)

    def __enter__(self) -> Turn:
        self._backlog.join(self.consumer)
        return self

    def __exit__(self, *_: object) -> None:
        self._backlog.leave(self.consumer, self._clock.now())

    async def come(self) -> None:
        """Return when the backlog has called this consumer; raises `PubsubError` if it was ended instead."""
        if not self.over.done():
            self._woken.clear()
            self._backlog.wait(self.consumer)
            await self._woken.wait()
        if self.over.done():
            raise self.over.result()

    def _finish(self, reason: PubsubError) -> None:
        if not self.over.done():
            self.over.set_result(reason)
        self._woken.set()


async def pull(broker: Broker, clock: Clock, gate: RpcGate, request: Any) -> bytes:
    """Answer one raw PullRequest: waits for a first message, for `PULL_WAIT` or not at all; raises `PubsubError`."""
    if request.max_messages <= 0:
        raise invalid(f"Invalid max_messages given ({request.max_messages}). It must be positive.")
    most = min(request.max_messages, limits.PULL_MESSAGES)
    seconds = broker.ack_deadline(request.subscription, clock.now())
    backlog = broker.backlog(request.subscription, clock.now())
    call = call_of("Pull", request)
    with Turn(backlog, clock, most, 0) as turn:
        try:
            async with asyncio.timeout(PULL_WAIT):
                while True:
                    if backlog.ready:
                        await gate.before_delivery(call, backlog)
                    taken = backlog.take(turn.consumer, seconds, most, PULL_BYTES, clock.now())
                    if taken or request.return_immediately:
                        return gate.outgoing(call, backlog, taken)
                    await turn.come()
        except TimeoutError:
            return b""


class StreamingPull:
    """One StreamingPull: requests bring acks and deadlines, responses bring messages; each side has its own task."""

    def __init__(self, broker: Broker, clock: Clock, gate: RpcGate, stream: Stream, watch: Watch) -> None:
        self._broker = broker
        self._clock = clock
        self._gate = gate
        self._stream = stream
        self._watch = watch
        self._call = Call("StreamingPull")
        self._subscription = ""
        self._deadline = 0

    async def run(self) -> None:
        """Serve until the client ends its side; raises `PubsubError` or `InjectedError` for any other end."""
        first = await self._stream.read()
        if first is None:
            raise invalid("A StreamingPull must begin with a request that names a subscription.")
        self._subscription = first.subscription
        self._call = call_of("StreamingPull", first)
        self._watch.names(self._call)
        await self._gate.before(self._call)
        backlog = self._broker.backlog(self._subscription, self._clock.now())
        self._deadline = limits.check_ack_deadline(first.stream_ack_deadline_seconds)
        self._apply(first)
        # gRPC sends the headers with the first message. An end that cancels that write would leave them sent and not
        # marked so; sent once more with the status, they fail it, and the client waits for ever.
        await self._stream.send_headers()
        backlog = self._broker.backlog(self._subscription, self._clock.now())  # it may have ended meanwhile
        with Turn(backlog, self._clock, first.max_outstanding_messages, first.max_outstanding_bytes) as turn:
            await self._until_first(turn, backlog)

    async def _until_first(self, turn: Turn, backlog: Backlog) -> None:
        dropping = asyncio.create_task(self._watch.dropped())  # the first: it counts every delivery of the stream
        reading = asyncio.create_task(self._read())
        writing = asyncio.create_task(self._write(turn, backlog))
        try:
            ends: set[asyncio.Future[Any]] = {reading, writing, dropping, turn.over}
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            reading.cancel()
            writing.cancel()
            dropping.cancel()
            done = await asyncio.gather(reading, writing, dropping, return_exceptions=True)
        if turn.over.done():
            raise turn.over.result()
        for outcome in done:
            if isinstance(outcome, Exception):
                raise outcome

    async def _read(self) -> None:
        while (request := await self._stream.read()) is not None:
            if request.subscription:
                raise invalid("The subscription must be set in the first request of a StreamingPull only.")
            if request.max_outstanding_messages or request.max_outstanding_bytes or request.protocol_version:
                raise invalid(
                    "max_outstanding_messages, max_outstanding_bytes and protocol_version must be set in the first "
                    "request of a StreamingPull only."
                )
            if request.ack_ids or request.modify_deadline_ack_ids:
                await self._gate.before(self._call)
            if request.stream_ack_deadline_seconds:
                self._deadline = limits.check_ack_deadline(request.stream_ack_deadline_seconds)
            self._apply(request)

    def _apply(self, request: Any) -> None:
        now = self._clock.now()
        if len(request.modify_deadline_ack_ids) != len(request.modify_deadline_seconds):
            raise invalid(
                f"The request has {len(request.modify_deadline_ack_ids)} modify_deadline_ack_ids and "
                f"{len(request.modify_deadline_seconds)} modify_deadline_seconds; there must be as many of each."
            )
        for seconds in request.modify_deadline_seconds:
            limits.check_ack_deadline(seconds, least=0)
        if request.ack_ids:
            heard = self._gate.heard(self._call, list(request.ack_ids))
            self._broker.acknowledge(self._subscription, heard, now)
        if request.modify_deadline_ack_ids:
            changes = zip(request.modify_deadline_ack_ids, request.modify_deadline_seconds, strict=True)
            self._broker.modify(self._subscription, [(ack_id, float(seconds)) for ack_id, seconds in changes], now)

    async def _write(self, turn: Turn, backlog: Backlog) -> None:
        while True:
            if backlog.ready and turn.consumer.room():
                await self._gate.before(self._call)
                await self._gate.before_delivery(self._call, backlog)
            taken = backlog.take(turn.consumer, self._deadline, BATCH_MESSAGES, BATCH_BYTES, self._clock.now())
            if taken:
                await self._gate.after(self._call)
                self._watch.sending(len(taken))
                await self._stream.write(self._gate.outgoing(self._call, backlog, taken))
                self._watch.sent(len(taken))
            else:
                await turn.come()
