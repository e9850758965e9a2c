"""Pub/Sub as the services use it: publish one pack and know that it is safe, receive packs and answer for each.

The official clients switch to an emulator by themselves where PUBSUB_EMULATOR_HOST is set.
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Any

from google.api_core import exceptions
from google.api_core.retry import AsyncRetry
from google.auth.exceptions import GoogleAuthError
from google.pubsub_v1 import PublisherAsyncClient
from google.pubsub_v1.types import PublishRequest

from services.shared import daemon_thread, log
from services.shared.background import Background
from services.shared.credentials import NoCredentials
from services.shared.leases import LateAnswers, LeaseKeeper
from services.shared.subscriber_client import Client, flow_control

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
_CLOSE_SECONDS = 5.0  # for a client or its threads, and then for the answers that are left

_log = log.get("pubsub")


class Unconfirmed(Exception):
    """Pub/Sub did not confirm a message in time: it may or may not be there; the text says the last error."""


def topic_path(project: str, topic: str) -> str:
    return f"projects/{project}/topics/{topic}"


def subscription_path(project: str, subscription: str) -> str:
    return f"projects/{project}/subscriptions/{subscription}"


class Publisher:
    """Publishes single messages; at most `in_flight` requests at a time, the others wait their turn.

    `credentials` gives those of google.auth, or raises NoCredentials as long as there are none; the official client
    looks for its own where it gives None.
    """

    def __init__(
        self, project: str, *, in_flight: int, timeout: float, credentials: Callable[[], Any] = lambda: None
    ) -> None:
        self._project, self._timeout, self._credentials = project, timeout, credentials
        self._slots = asyncio.Semaphore(in_flight)
        self._client: PublisherAsyncClient | None = None  # made when there are credentials

    async def __aenter__(self) -> Publisher:
        with suppress(NoCredentials):
            self._connected()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._client is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(_CLOSE_SECONDS):
                    await self._client.transport.close()

    async def publish(self, topic: str, data: bytes, attributes: Mapping[str, str]) -> str:
        """Publish one message and return its id once Pub/Sub has it.

        Transient errors are tried again inside the time limit. Raises Unconfirmed when it passes, at an error that
        another try would not change, and at once where there are no credentials yet.
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
            client = self._connected()
            async with asyncio.timeout(self._timeout), self._slots:
                response = await client.publish(
                    request=PublishRequest.wrap(request), retry=retry, timeout=self._timeout
                )
        except TimeoutError as error:
            raise Unconfirmed(f"{topic}: no answer in {self._timeout} s" + (f": {last[-1]}" if last else "")) from error
        except (exceptions.GoogleAPICallError, GoogleAuthError, NoCredentials) as error:
            raise Unconfirmed(f"{topic}: {error}") from error
        return str(response.message_ids[0])

    def _connected(self) -> PublisherAsyncClient:
        if self._client is None:
            self._client = PublisherAsyncClient(credentials=self._credentials())
        return self._client


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

    __slots__ = ("_keeper", "_message", "attempt", "attributes", "data", "id", "published_us")

    def __init__(self, message: Any, keeper: LeaseKeeper) -> None:
        self._message, self._keeper = message, keeper
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
        self._keeper.answer(self._message, ack=True)

    def nack(self) -> None:
        self._keeper.answer(self._message, ack=False)


class Puller:
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
        self._flow = flow_control(max_messages, max_bytes)
        self._background = background
        self._answering = background.step(f"answering {subscription}", answer_seconds) if answer_seconds else None
        self._max_messages, self._max_bytes = max_messages, max_bytes
        self._in_hand = self._bytes = 0
        self._room = asyncio.Event()  # something was answered
        self._queue: deque[Delivery] = deque()  # bounded by the flow control above
        self._wake = asyncio.Event()
        self._draining = False
        self._keeper: LeaseKeeper | None = None  # of the stream that is open
        self._late = LateAnswers(self._path)  # of streams that have ended

    async def __aenter__(self) -> Puller:
        self._loop = asyncio.get_running_loop()
        self._client = Client(self._leased, self._credentials)
        self._pulling = self._background.start(f"pull {self.subscription}", self._keep_open())
        self._sending = self._background.start(f"late answers {self.subscription}", self._late.run())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.drain()
        self._sending.cancel()
        await asyncio.gather(self._pulling, self._sending, return_exceptions=True)
        await self._late.send_last(_CLOSE_SECONDS)
        with suppress(TimeoutError):
            await daemon_thread.call("close", self._client.close, 1)

    def drain(self) -> None:
        if self._draining:
            return
        self._draining = True
        while self._queue:
            self._queue.popleft().nack()
        self._wake.set()
        if self._keeper is not None:
            self._keeper.ended = True
        self._pulling.cancel()

    def __aiter__(self) -> Puller:
        return self

    async def __anext__(self) -> Delivery:
        while not self._queue:
            if self._draining:
                raise StopAsyncIteration
            self._wake.clear()
            await self._wake.wait()
        return self._queue.popleft()

    def _received(self, message: Any, keeper: LeaseKeeper) -> None:
        """Called in one of the client's threads."""
        if self._draining:  # answered here: the loop may not come to it before the client is closed
            message.nack()
            return
        try:
            self._loop.call_soon_threadsafe(self._enqueue, message, keeper)
        except RuntimeError:  # the loop is closed: the process is ending
            message.nack()

    def _enqueue(self, message: Any, keeper: LeaseKeeper) -> None:
        keeper.took(message)
        if keeper.ended:
            self._late.add(keeper)
        self._in_hand += 1
        self._bytes += message.size
        if self._in_hand == 1 and self._answering is not None:
            self._answering.moved()
        delivery = Delivery(message, keeper)
        if self._draining:
            delivery.nack()
        else:
            self._queue.append(delivery)
            self._wake.set()

    def _answered(self, message: Any) -> None:
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
        keeper = self._keeper = LeaseKeeper(self._client, self._path, self._answered)
        stream = self._client.subscribe(
            self._path,
            partial(self._received, keeper=keeper),
            flow_control=self._flow,
            await_callbacks_on_shutdown=True,
        )
        try:
            await asyncio.wrap_future(stream)
        except asyncio.CancelledError:
            self._late.add(keeper)
            stream.cancel()
            with suppress(TimeoutError):
                await daemon_thread.call("end of stream", partial(_wait_closed, stream), _CLOSE_SECONDS + 1)
            raise
        finally:
            self._late.add(keeper)


def _wait_closed(stream: Any) -> None:
    """Wait for the client's threads; what they report of the end is of no use any more."""
    try:
        stream.result(timeout=_CLOSE_SECONDS)
    except Exception as error:  # noqa: BLE001 - CancelledError, TimeoutError or whatever broke the stream last
        _log.debug("stream closed", error=repr(error))
