"""Pub/Sub as the services use it: publish one pack and know that it is safe, receive packs and answer for each.

The official clients switch to an emulator by themselves where PUBSUB_EMULATOR_HOST is set.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from types import TracebackType
from typing import Any

from google.api_core import exceptions
from google.api_core.retry import AsyncRetry
from google.cloud import pubsub_v1
from google.cloud.pubsub_v1.subscriber._protocol import helper_threads, leaser
from google.pubsub_v1 import PublisherAsyncClient
from google.pubsub_v1.types import PublishRequest

from services.shared import log

MAX_ATTRIBUTE_BYTES = 1024  # Pub/Sub's limit for an attribute's value
MAX_ATTRIBUTES = 100
_TRANSIENT = (
    exceptions.Aborted,
    exceptions.DeadlineExceeded,
    exceptions.InternalServerError,
    exceptions.ResourceExhausted,
    exceptions.ServiceUnavailable,
    exceptions.Unknown,
)
_COUNT = re.compile(r"[1-9][0-9]{0,4}")  # no message of ours holds as many as five digits can say
_RESTART_SECONDS = (1.0, 30.0)  # first and longest wait before a broken subscription is opened again
# The client drops a lease after an hour unless told: the message would come again while it is still in hand, once an
# hour of an outage. Pub/Sub keeps what is leased no longer than any message, 31 days at most.
_LONGEST_LEASE = 31 * 24 * 60 * 60.0
# What a process that is killed had in hand comes again when its leases end. Left to itself the client asks for a minute
# when it opens a stream. It renews at 90 % of the time at the latest, so less would leave a busy pod too little.
_LEASE_SECONDS = 20
_RENEW_SECONDS = 5.0  # between renewals for messages whose stream has ended
_LATE_SECONDS, _LATE_TIMEOUT = 0.1, 5.0  # between answers to those, and for a call
_IDS = 1_000  # in a call

_log = log.get("pubsub")


class _Steady:
    """The client's threads time their waits by the wall clock: set back by an hour, it sends no ack for an hour."""

    time = staticmethod(time.monotonic)


helper_threads.time = leaser.time = _Steady


class Unconfirmed(Exception):
    """Pub/Sub did not confirm a message in time: it may or may not be there; the text says the last error."""


def topic_path(project: str, topic: str) -> str:
    return f"projects/{project}/topics/{topic}"


def subscription_path(project: str, subscription: str) -> str:
    return f"projects/{project}/subscriptions/{subscription}"


class Publisher:
    """Publishes single messages; at most `in_flight` requests at a time, the others wait their turn."""

    def __init__(self, project: str, *, in_flight: int, timeout: float) -> None:
        self._project, self._timeout = project, timeout
        self._slots = asyncio.Semaphore(in_flight)

    async def __aenter__(self) -> Publisher:
        self._client = PublisherAsyncClient()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.transport.close()

    async def publish(self, topic: str, data: bytes, attributes: Mapping[str, str]) -> str:
        """Publish one message and return its id once Pub/Sub has it.

        Transient errors are tried again inside the time limit. Raises Unconfirmed when it passes, or at an error that
        trying again does not mend.
        """
        request = PublishRequest.pb()()
        request.topic = topic_path(self._project, topic)
        message = request.messages.add()
        message.data = data
        message.attributes.update(attributes)
        last: list[Exception] = []
        retry = AsyncRetry(
            predicate=_is_transient, initial=0.05, maximum=1.0, multiplier=2.0, timeout=None, on_error=last.append
        )
        try:
            async with asyncio.timeout(self._timeout), self._slots:
                response = await self._client.publish(
                    request=PublishRequest.wrap(request), retry=retry, timeout=self._timeout
                )
        except TimeoutError as error:
            raise Unconfirmed(f"{topic}: no answer in {self._timeout} s" + (f": {last[-1]}" if last else "")) from error
        except exceptions.GoogleAPICallError as error:
            raise Unconfirmed(f"{topic}: {error}") from error
        return str(response.message_ids[0])


def _is_transient(error: Exception) -> bool:
    return isinstance(error, _TRANSIENT)


def dead_letter(
    data: bytes, attributes: Mapping[str, str], *, reason: str, source: str
) -> tuple[bytes, dict[str, str]]:
    """A message for the dead-letter topic: the original, with where it came from and why it could not be used."""
    why = reason.encode()[:MAX_ATTRIBUTE_BYTES].decode(errors="ignore")
    kept = dict(list(attributes.items())[: MAX_ATTRIBUTES - 2])
    return data, {**kept, "dead_reason": why, "dead_source": source}


class Delivery:
    """One received message. `ack()` or `nack()` it once, from the event loop; until then its lease is kept."""

    __slots__ = ("_hand", "_message", "attempt", "attributes", "data", "id", "published_us")

    def __init__(self, message: Any, hand: _Hand) -> None:
        self._message, self._hand = message, hand
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
        self._hand.answer(self._message, ack=True)

    def nack(self) -> None:
        self._hand.answer(self._message, ack=False)


class _Hand:
    """The messages of one stream that have no answer yet.

    While the stream is open the client keeps their leases and sends the answers. When it has ended, both are done here.
    """

    def __init__(self, client: Any, path: str) -> None:
        self._client, self._path = client, path
        self._unanswered: set[str] = set()  # ack ids
        self._acks: list[str] = []
        self._nacks: list[str] = []
        self._renew_at = 0.0
        self.ended = False  # what is answered from now on is not the client's to send

    def took(self, message: Any) -> None:
        self._unanswered.add(message.ack_id)

    def answer(self, message: Any, *, ack: bool) -> None:
        self._unanswered.discard(message.ack_id)
        if self.ended:
            (self._acks if ack else self._nacks).append(message.ack_id)
        elif ack:
            message.ack()
        else:
            message.nack()

    async def outlive(self) -> None:
        """The stream ends: return when every message has its answer, and Pub/Sub that."""
        self.ended = True
        while self._unanswered or self._acks or self._nacks:
            await self.send()
            await asyncio.sleep(_LATE_SECONDS)

    async def send(self) -> None:
        """Send the answers there are, and renew the leases that are due. What fails is sent with the next."""
        try:
            await asyncio.to_thread(self._send, time.monotonic())
        except exceptions.GoogleAPICallError as error:
            _log.warning("late answers not sent", subscription=self._path, error=str(error))

    def _send(self, now: float) -> None:
        for waiting, seconds in ((self._acks, None), (self._nacks, 0)):
            while part := waiting[:_IDS]:
                self._modify(part, seconds)
                del waiting[: len(part)]
        if now >= self._renew_at:
            leased = list(self._unanswered)
            for first in range(0, len(leased), _IDS):
                self._modify(leased[first : first + _IDS], _LEASE_SECONDS)
            self._renew_at = now + _RENEW_SECONDS

    def _modify(self, ack_ids: list[str], seconds: int | None) -> None:
        """Acknowledge, or have the leases end in so many seconds."""
        if seconds is None:
            self._client.acknowledge(subscription=self._path, ack_ids=ack_ids, retry=None, timeout=_LATE_TIMEOUT)
        else:
            self._client.modify_ack_deadline(
                subscription=self._path,
                ack_ids=ack_ids,
                ack_deadline_seconds=seconds,
                retry=None,
                timeout=_LATE_TIMEOUT,
            )


class _Client(pubsub_v1.SubscriberClient):  # type: ignore[misc]
    """Says of how many messages the leases are asked for, be it by the client's threads or by a _Hand."""

    def __init__(self, leased: Callable[[int], None]) -> None:
        super().__init__()
        self._leased = leased

    def modify_ack_deadline(self, *, ack_ids: Iterable[str], ack_deadline_seconds: int, **named: Any) -> None:
        ids = list(ack_ids)  # an iterator, where the client's threads call
        if ack_deadline_seconds:  # 0 gives a message back
            self._leased(len(ids))
        super().modify_ack_deadline(ack_ids=ids, ack_deadline_seconds=ack_deadline_seconds, **named)


class Puller:
    """Streaming pull of one subscription, as an async iterator of deliveries.

    At most `max_messages` and about `max_bytes` are out at a time; beyond that Pub/Sub is asked to wait. Leases are
    kept as long as it takes, 20 seconds at a time; `leased` is told, in any thread, of how many messages. A stream that
    breaks is opened again with backoff. `drain()` ends the iteration and the stream, so that Pub/Sub hands what comes
    next to others; what was not yet taken is nacked, and what was is still leased, and may be answered until the
    context is left.
    """

    def __init__(
        self,
        project: str,
        subscription: str,
        *,
        max_messages: int,
        max_bytes: int,
        leased: Callable[[int], None] = lambda _: None,
    ) -> None:
        self.subscription, self._leased = subscription, leased
        self._path = subscription_path(project, subscription)
        self._flow = pubsub_v1.types.FlowControl(
            max_messages=max_messages,
            max_bytes=max_bytes,
            max_lease_duration=_LONGEST_LEASE,
            min_duration_per_lease_extension=_LEASE_SECONDS,
            max_duration_per_lease_extension=_LEASE_SECONDS,
        )
        self._queue: deque[Delivery] = deque()  # bounded by the flow control above
        self._wake = asyncio.Event()
        self._draining = False
        self._hand: _Hand | None = None  # of the stream that is open
        self._late: dict[asyncio.Task[None], _Hand] = {}

    async def __aenter__(self) -> Puller:
        self._loop = asyncio.get_running_loop()
        self._client = _Client(self._leased)
        self._task = asyncio.create_task(self._keep_open(), name=f"pull {self.subscription}")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.drain()
        await asyncio.gather(self._task, return_exceptions=True)
        for task, hand in list(self._late.items()):
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await hand.send()
        await asyncio.to_thread(self._client.close)

    def drain(self) -> None:
        if self._draining:
            return
        self._draining = True
        while self._queue:
            self._queue.popleft().nack()
        self._wake.set()
        if self._hand is not None:
            self._hand.ended = True
        self._task.cancel()

    def __aiter__(self) -> Puller:
        return self

    async def __anext__(self) -> Delivery:
        while not self._queue:
            if self._draining:
                raise StopAsyncIteration
            self._wake.clear()
            await self._wake.wait()
        return self._queue.popleft()

    def _received(self, message: Any, hand: _Hand) -> None:
        """Called in one of the client's threads."""
        if self._draining:  # answered here: the loop may not come to it before the client is closed
            message.nack()
            return
        try:
            self._loop.call_soon_threadsafe(self._enqueue, message, hand)
        except RuntimeError:  # the loop is closed: the process is ending
            message.nack()

    def _enqueue(self, message: Any, hand: _Hand) -> None:
        hand.took(message)
        delivery = Delivery(message, hand)
        if self._draining:
            delivery.nack()
        else:
            self._queue.append(delivery)
            self._wake.set()

    async def _keep_open(self) -> None:
        wait, longest = _RESTART_SECONDS
        while True:
            hand = self._hand = _Hand(self._client, self._path)
            stream = self._client.subscribe(
                self._path,
                partial(self._received, hand=hand),
                flow_control=self._flow,
                await_callbacks_on_shutdown=True,
            )
            opened = self._loop.time()
            try:
                await asyncio.wrap_future(stream)
            except asyncio.CancelledError:
                self._outlive(hand)
                stream.cancel()
                await asyncio.to_thread(_wait_closed, stream)
                raise
            except Exception as error:  # noqa: BLE001 - whatever broke it, a pod that is ready must be pulling
                _log.error("subscription broke", subscription=self._path, error=str(error), again_in_s=wait)
            self._outlive(hand)
            if self._loop.time() - opened > longest:
                wait = _RESTART_SECONDS[0]
            await asyncio.sleep(wait)
            wait = min(wait * 2, longest)

    def _outlive(self, hand: _Hand) -> None:
        """Answers given before went to the client, which sends all it has before it closes."""
        task = asyncio.create_task(hand.outlive(), name=f"late answers {self.subscription}")
        self._late[task] = hand
        task.add_done_callback(self._late.pop)


def _wait_closed(stream: Any) -> None:
    """Wait for the client's threads; what they report of the end is of no use any more."""
    try:
        stream.result(timeout=5)
    except Exception as error:  # noqa: BLE001 - CancelledError, TimeoutError or whatever broke the stream last
        _log.debug("stream closed", error=repr(error))
