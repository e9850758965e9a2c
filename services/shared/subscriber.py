"""Receives the messages of one Pub/Sub subscription, keeps their leases and acks or nacks each.

The official client does most of it, and switches to an emulator by itself where PUBSUB_EMULATOR_HOST is set.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any

from google.cloud import pubsub_v1

from services.shared import daemon_thread, log
from services.shared.background import Background
from services.shared.backoff import Backoff
from services.shared.resource_names import subscription_path
from services.shared.subscriber_client import Client

# Messages held by a process that is killed are redelivered when their leases expire. By default the client asks for a
# minute when it opens a stream. It renews at 90 % of the time at the latest; a busy pod needs more than a few seconds.
LEASE_SECONDS = 20
RENEW_SECONDS = 5.0  # between renewals for messages whose stream has ended
# By default the client drops a lease after an hour: in an outage, a message still being handled would be redelivered
# every hour. Pub/Sub keeps a leased message no longer than any other, 31 days at most.
_LONGEST_LEASE = 31 * 24 * 60 * 60.0
_COUNT = re.compile(r"[1-9][0-9]{0,4}")  # none of our messages holds more than five digits can say
_REOPEN_SECONDS = (1.0, 30.0)  # backoff before a broken stream is opened again
_CLOSE_SECONDS = 5.0  # for the client's threads to end, and then for the last answers
_PENDING_SECONDS = (0.1, 5.0)  # backoff between rounds of answers after a stream has ended
_ROUND_SECONDS = 30.0
_CALL_SECONDS = 5.0
_IDS = 1_000  # in a call

_log = log.get("subscriber")


class Delivery:
    """One received message. Call `ack()` or `nack()` once, from the event loop; until then its lease is renewed."""

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
        """How many hits or rows the message claims to hold, to count one that nobody decodes; 1 if it does not say."""
        text = self.attributes.get("count", "")
        return int(text) if _COUNT.fullmatch(text) else 1

    def ack(self) -> None:
        self._answer(self._message, True)

    def nack(self) -> None:
        self._answer(self._message, False)


class LeaseKeeper:
    """Does what the client does not do once a stream has ended: renews its messages' leases and sends their answers."""

    def __init__(self, client: Client, path: str) -> None:
        self._client, self._path = client, path
        self._streaming: set[str] = set()  # ack ids that the client takes care of while its stream is open
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
        """Send answers and renew leases until cancelled."""
        backoff, failing = Backoff(*_PENDING_SECONDS), False
        while True:
            if not (self._pending or self._acks or self._nacks):
                self._work.clear()
                await self._work.wait()
            error = await self._send(self._renew, *self._answers(), limit_seconds=_ROUND_SECONDS)
            if error is None:
                if failing:
                    _log.info("late answers are sent again", subscription=self._path)
                backoff.reset()
            elif not failing:
                self._failed(error)
            failing = error is not None
            await asyncio.sleep(backoff.wait())

    async def send_last(self, limit_seconds: float) -> None:
        """Once `finish_pending` is cancelled: send the answers there are. What fails now is redelivered."""
        if error := await self._send(*self._answers(), limit_seconds=limit_seconds):
            self._failed(error)

    def _failed(self, error: Exception) -> None:
        _log.warning("late answers not sent", subscription=self._path, error=str(error) or repr(error))

    async def _send(self, *steps: Callable[[], Awaitable[None]], limit_seconds: float) -> Exception | None:
        """Take every step, whether or not others fail, and return the first error; what failed goes with the next."""
        first: Exception | None = None
        try:
            async with asyncio.timeout(limit_seconds):
                for step in steps:
                    try:
                        await step()
                    except Exception as error:  # noqa: BLE001 - whatever the client raises
                        first = first or error
        except TimeoutError as error:
            return first or error
        return first

    def _answers(self) -> tuple[Callable[[], Awaitable[None]], ...]:
        return partial(self._send_answers, self._acks, None), partial(self._send_answers, self._nacks, 0)

    async def _send_answers(self, ack_ids: list[str], seconds: int | None) -> None:
        while part := ack_ids[:_IDS]:
            await self._call(part, seconds)
            del ack_ids[: len(part)]

    async def _renew(self) -> None:
        if (now := time.monotonic()) < self._renew_at:
            return
        self._renew_at = now + RENEW_SECONDS  # set before the calls: another stream may end during them
        try:
            pending = list(self._pending)
            for first in range(0, len(pending), _IDS):
                await self._call(pending[first : first + _IDS], LEASE_SECONDS)
        except BaseException:
            self._renew_at = 0.0
            raise

    async def _call(self, ack_ids: list[str], seconds: int | None) -> None:
        """Acknowledge, or have the leases expire in so many seconds."""
        call = self._client.acknowledge
        if seconds is not None:
            call = partial(self._client.modify_ack_deadline, ack_deadline_seconds=seconds)
        named = {"subscription": self._path, "ack_ids": ack_ids, "retry": None, "timeout": _CALL_SECONDS}
        await daemon_thread.call("late answers", partial(call, **named), _CALL_SECONDS + 1)


class Subscriber:
    """Streaming pull of one subscription, as an async iterator of deliveries.

    At most `max_messages` and about `max_bytes` are outstanding, half as many again after a stream has broken; beyond
    that Pub/Sub is asked to wait. Leases are renewed as long as it takes, 20 seconds at a time; `leased` is called with
    the number of messages, from any thread. A stream that breaks is opened again with backoff.

    `drain()` ends the iteration and the stream, so that Pub/Sub gives new messages to others; messages not yet taken
    are nacked, those taken stay leased and may be answered until the context is left. If `answer_seconds` is set,
    liveness fails when messages are outstanding and none has been answered for that long.
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

    async def __aexit__(self, *_: object) -> None:
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
        if self._draining:  # answered here: the client may be closed before the loop gets to it
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
        backoff = Backoff(*_REOPEN_SECONDS)
        while True:
            # A stream counts only its own messages; those of the last one are outstanding as well.
            while self._in_hand > self._max_messages // 2 or self._bytes > self._max_bytes // 2:
                self._room.clear()
                await self._room.wait()
            opened = self._loop.time()
            why = "it ended"
            try:
                await self._open()
            except Exception as error:  # noqa: BLE001 - whatever broke it, a pod that is ready must be pulling
                why = str(error)
            if self._loop.time() - opened > _REOPEN_SECONDS[1]:
                backoff.reset()
            wait = backoff.wait()
            _log.error("subscription broke", subscription=self._path, error=why, again_in_s=round(wait, 1))
            await asyncio.sleep(wait)

    async def _open(self) -> None:
        """Runs until the stream ends. Raises what ended it."""
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
    """Wait for the client's threads; how they ended no longer matters."""
    try:
        stream.result(timeout=_CLOSE_SECONDS)
    except Exception as error:  # noqa: BLE001 - CancelledError, TimeoutError or whatever broke the stream last
        _log.debug("stream closed", error=repr(error))
