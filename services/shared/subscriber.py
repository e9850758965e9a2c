"""Receives the messages of one Pub/Sub subscription, keeps their leases and sends an answer for each.

The official client does the most of it, and switches to an emulator by itself where PUBSUB_EMULATOR_HOST is set.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from types import TracebackType
from typing import Any

from google.api_core import exceptions
from google.cloud import pubsub_v1

from services.shared import daemon_thread, log, subscriber_clock
from services.shared.background import Background
from services.shared.resource_names import subscription_path

# Messages in the hands of a process that is killed come again when their leases end. Left to itself the client asks for
# a minute when it opens a stream. It renews at 90 % of the time at the latest: less would leave a busy pod too little.
LEASE_SECONDS = 20
RENEW_SECONDS = 5.0  # between renewals for messages whose stream has ended
# The client drops a lease after an hour by default: the message would come again while it is still in hand, once an
# hour of an outage. Pub/Sub keeps what is leased no longer than any message, 31 days at most.
_LONGEST_LEASE = 31 * 24 * 60 * 60.0
_COUNT = re.compile(r"[1-9][0-9]{0,4}")  # no message of ours holds as many as five digits can say
_RESTART_SECONDS = (1.0, 30.0)  # first and longest wait before a broken subscription is opened again
_CLOSE_SECONDS = 5.0  # for a client or its threads, and then for the answers that are left
_PENDING_SECONDS = (0.1, 5.0)  # first and longest wait between rounds of answers after the end of a stream
_ROUND_SECONDS = 30.0
_CALL_SECONDS = 5.0
_IDS = 1_000  # in a call

_log = log.get("subscriber")
subscriber_clock.install()


class Client(pubsub_v1.SubscriberClient):  # type: ignore[misc]
    """Says of how many messages the leases are asked for, be it by the client's threads or by a LeaseKeeper.

    A call that was retried for too long fails like any other call. The client's threads take such a failure as one
    that may pass; a RetryError, which they get otherwise after an outage of a minute, ends them.
    """

    def __init__(self, leased: Callable[[int], None], credentials: Any) -> None:
        super().__init__(credentials=credentials)
        self._leased = leased

    def modify_ack_deadline(self, *, ack_ids: Iterable[str], ack_deadline_seconds: int, **named: Any) -> None:
        ids = list(ack_ids)  # an iterator, where the client's threads call
        if ack_deadline_seconds:  # 0 gives a message back
            self._leased(len(ids))
        with _retries_end():
            super().modify_ack_deadline(ack_ids=ids, ack_deadline_seconds=ack_deadline_seconds, **named)

    def acknowledge(self, **named: Any) -> None:
        with _retries_end():
            super().acknowledge(**named)


@contextmanager
def _retries_end() -> Iterator[None]:
    try:
        yield
    except exceptions.RetryError as error:
        raise exceptions.ServiceUnavailable(str(error)) from error


class Delivery:
    """One received message. `ack()` or `nack()` it once, from the event loop; until then its lease is kept."""

    __slots__ = ("_answer", "_message", "attempt", "attributes", "data", "id", "published_us")

    def __init__(self, message: Any, answer: Callable[[Any, bool], None]) -> None:
        self._message, self._answer = message, answer
        self.data: bytes = message.data
        self.attributes: dict[str, str] = dict(message.attributes)
        self.id: str = message.message_id
        self.published_us = int(message.publish_time.timestamp() * 1_000_000)
        self.attempt: int = message.delivery_attempt or 1  # counted by Pub/Sub where there is a dead-letter policy

    @property
    def count(self) -> int:
        """How many hits or rows the message says it holds, to count what nobody decodes; 1 where it does not say."""
        text = self.attributes.get("count", "")
        return int(text) if _COUNT.fullmatch(text) else 1

    def ack(self) -> None:
        self._answer(self._message, True)

    def nack(self) -> None:
        self._answer(self._message, False)


class LeaseKeeper:
    """What the client does not do for messages whose stream has ended: renew their leases, and send their answers."""

    def __init__(self, client: Client, path: str) -> None:
        self._client, self._path = client, path
        self._streaming: set[str] = set()  # ack ids that are the client's, as long as its stream is open
        self._pending: set[str] = set()  # of ended streams, not answered yet
        self._acks: list[str] = []
        self._nacks: list[str] = []
        self._work = asyncio.Event()
        self._renew_at = 0.0

    def took(self, message: Any) -> None:
        self._streaming.add(message.ack_id)

    def stream_ended(self) -> None:
        """Answers given before went to the client, which sends all it has before it closes."""
        self._pending |= self._streaming
        self._streaming.clear()
        self._renew_at = 0.0
        self._work.set()

    def answer(self, message: Any, ack: bool) -> None:
        if message.ack_id in self._streaming:
            self._streaming.remove(message.ack_id)
            (message.ack if ack else message.nack)()
        else:
            self._pending.discard(message.ack_id)
            (self._acks if ack else self._nacks).append(message.ack_id)
            self._work.set()

    async def finish_pending(self) -> None:
        """Send answers and renew leases, without end."""
        first, longest = _PENDING_SECONDS
        wait = first
        while True:
            if not (self._pending or self._acks or self._nacks):
                self._work.clear()
                await self._work.wait()
            try:
                await self._send(_ROUND_SECONDS)
            except Exception as error:  # noqa: BLE001 - whatever the client raises, the answers are sent with the next
                if wait == first:
                    self._failed(error)
                wait = min(wait * 2, longest)
                self._renew_at = 0.0
            else:
                if wait > first:
                    _log.info("late answers are sent again", subscription=self._path)
                wait = first
            await asyncio.sleep(wait)

    async def send_last(self, limit_seconds: float) -> None:
        """Once `finish_pending` is cancelled: send what there is. What does not get through is delivered again."""
        try:
            await self._send(limit_seconds)
        except Exception as error:  # noqa: BLE001 - the client ends, and its messages are Pub/Sub's
            self._failed(error)

    def _failed(self, error: Exception) -> None:
        _log.warning("late answers not sent", subscription=self._path, error=str(error) or repr(error))

    async def _send(self, limit_seconds: float) -> None:
        """Raises what the client raises, or TimeoutError; what failed is sent with the next."""
        async with asyncio.timeout(limit_seconds):
            for answers, seconds in ((self._acks, None), (self._nacks, 0)):
                while part := answers[:_IDS]:
                    await self._call(part, seconds)
                    del answers[: len(part)]
            if (now := time.monotonic()) < self._renew_at:
                return
            self._renew_at = now + RENEW_SECONDS  # set before the calls: another stream may end during them
            pending = list(self._pending)
            for first in range(0, len(pending), _IDS):
                await self._call(pending[first : first + _IDS], LEASE_SECONDS)

    async def _call(self, ack_ids: list[str], seconds: int | None) -> None:
        """Acknowledge, or have the leases end in so many seconds."""
        call = self._client.acknowledge
        if seconds is not None:
            call = partial(self._client.modify_ack_deadline, ack_deadline_seconds=seconds)
        named = {"subscription": self._path, "ack_ids": ack_ids, "retry": None, "timeout": _CALL_SECONDS}
        await daemon_thread.call("late answers", partial(call, **named), _CALL_SECONDS + 1)


class Subscriber:
    """Streaming pull of one subscription, as an async iterator of deliveries.

    At most `max_messages` and about `max_bytes` are out at a time, half as many again after a stream has broken; beyond
    that Pub/Sub is asked to wait. Leases are kept as long as it takes, 20 seconds at a time; `leased` is told, in any
    thread, of how many messages. A stream that breaks is opened again with backoff.

    `drain()` ends the iteration and the stream, so that Pub/Sub hands what comes next to others; what was not yet taken
    is nacked, and what was is still leased, and may be answered until the context is left. Where `answer_seconds` is
    set, liveness fails when messages are in hand and none has been answered for so long.
    """

    def __init__(
        self,
        project: str,
        subscription: str,
        background: Background,
        *,
        max_messages: int,
        max_bytes: int,
        credentials: Any = None,
        leased: Callable[[int], None] = lambda _: None,
        answer_seconds: float | None = None,
    ) -> None:
        self.subscription, self._leased, self._credentials = subscription, leased, credentials
        self._path = subscription_path(project, subscription)
        self._flow = pubsub_v1.types.FlowControl(
            max_messages=max_messages,
            max_bytes=max_bytes,
            max_lease_duration=_LONGEST_LEASE,
            min_duration_per_lease_extension=LEASE_SECONDS,
            max_duration_per_lease_extension=LEASE_SECONDS,
        )
        self._background = background
        self._answering = background.step(f"answering {subscription}", answer_seconds) if answer_seconds else None
        self._max_messages, self._max_bytes = max_messages, max_bytes
        self._in_hand = self._bytes = 0
        self._room = asyncio.Event()  # something was answered
        self._queue: deque[Delivery] = deque()  # bounded by the flow control above
        self._wake = asyncio.Event()
        self._draining = False

    async def __aenter__(self) -> Subscriber:
        self._loop = asyncio.get_running_loop()
        self._client = Client(self._leased, self._credentials)
        self._keeper = LeaseKeeper(self._client, self._path)
        self._pulling = self._background.start(f"pull {self.subscription}", self._keep_open())
        self._sending = self._background.start(f"late answers {self.subscription}", self._keeper.finish_pending())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.drain()
        self._sending.cancel()
        await asyncio.gather(self._pulling, self._sending, return_exceptions=True)
        await self._keeper.send_last(_CLOSE_SECONDS)
        with suppress(TimeoutError):
            await daemon_thread.call("close", self._client.close, 1)

    def drain(self) -> None:
        if self._draining:
            return
        self._draining = True
        while self._queue:
            self._queue.popleft().nack()
        self._wake.set()
        self._keeper.stream_ended()
        self._pulling.cancel()

    def __aiter__(self) -> Subscriber:
        return self

    async def __anext__(self) -> Delivery:
        while not self._queue:
            if self._draining:
                raise StopAsyncIteration
            self._wake.clear()
            await self._wake.wait()
        return self._queue.popleft()

    def _received(self, message: Any) -> None:
        """Called in one of the client's threads."""
        if self._draining:  # answered here: the loop may not come to it before the client is closed
            message.nack()
            return
        try:
            self._loop.call_soon_threadsafe(self._enqueue, message)
        except RuntimeError:  # the loop is closed: the process is ending
            message.nack()

    def _enqueue(self, message: Any) -> None:
        self._keeper.took(message)
        self._in_hand += 1
        self._bytes += message.size
        if self._in_hand == 1 and self._answering is not None:
            self._answering.moved()
        delivery = Delivery(message, self._answer)
        if self._draining:
            self._keeper.stream_ended()
            delivery.nack()
        else:
            self._queue.append(delivery)
            self._wake.set()

    def _answer(self, message: Any, ack: bool) -> None:
        self._keeper.answer(message, ack)
        self._in_hand -= 1
        self._bytes -= message.size
        self._room.set()
        if self._answering is not None:
            if self._in_hand:
                self._answering.moved()
            else:
                self._answering.idle()

    async def _keep_open(self) -> None:
        wait, longest = _RESTART_SECONDS
        while True:
            # A stream counts only its own messages: those of the last would be held besides.
            while self._in_hand > self._max_messages // 2 or self._bytes > self._max_bytes // 2:
                self._room.clear()
                await self._room.wait()
            opened = self._loop.time()
            try:
                await self._open()
            except Exception as error:  # noqa: BLE001 - whatever broke it, a pod that is ready must be pulling
                _log.error("subscription broke", subscription=self._path, error=str(error), again_in_s=wait)
            if self._loop.time() - opened > longest:
                wait = _RESTART_SECONDS[0]
            await asyncio.sleep(wait)
            wait = min(wait * 2, longest)

    async def _open(self) -> None:
        """Until the stream ends. Raises what ended it."""
        stream = self._client.subscribe(
            self._path, self._received, flow_control=self._flow, await_callbacks_on_shutdown=True
        )
        try:
            await asyncio.wrap_future(stream)
        except asyncio.CancelledError:
            self._keeper.stream_ended()
            stream.cancel()
            with suppress(TimeoutError):
                await daemon_thread.call("end of stream", partial(_wait_closed, stream), _CLOSE_SECONDS + 1)
            raise
        finally:
            self._keeper.stream_ended()  # once more: messages may have come while it closed


def _wait_closed(stream: Any) -> None:
    """Wait for the client's threads; what they report of the end is of no use any more."""
    try:
        stream.result(timeout=_CLOSE_SECONDS)
    except Exception as error:  # noqa: BLE001 - CancelledError, TimeoutError or whatever broke the stream last
        _log.debug("stream closed", error=repr(error))
