"""Publishes one message to Pub/Sub and returns once Pub/Sub has confirmed it.

The official client uses an emulator by itself if PUBSUB_EMULATOR_HOST is set.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from google.api_core import exceptions
from google.api_core.retry import AsyncRetry, if_exception_type
from google.auth.exceptions import GoogleAuthError
from google.pubsub_v1 import PublisherAsyncClient
from google.pubsub_v1.types import PublishRequest

from services.shared.credentials import NoCredentials
from services.shared.resource_names import topic_path

MAX_ATTRIBUTE_BYTES = 1024  # Pub/Sub's limit for an attribute's value
MAX_ATTRIBUTES = 100
_is_transient = if_exception_type(
    exceptions.Aborted,
    exceptions.DeadlineExceeded,
    exceptions.InternalServerError,
    exceptions.ResourceExhausted,
    exceptions.ServiceUnavailable,
    exceptions.Unknown,
)
_CLOSE_SECONDS = 5.0


class Unconfirmed(Exception):
    """Pub/Sub did not confirm a message in time: it may have it or not. The text is the last error."""


class Publisher:
    """Publishes single messages, at most `in_flight` at a time, each within `timeout` seconds.

    `credentials` returns credentials of google.auth, or raises NoCredentials as long as there are none; if it returns
    None, the official client finds its own.
    """

    def __init__(
        self, project: str, *, in_flight: int, timeout: float, credentials: Callable[[], Any] = lambda: None
    ) -> None:
        self._project, self._timeout, self._credentials = project, timeout, credentials
        self._slots = asyncio.Semaphore(in_flight)
        self._client: PublisherAsyncClient | None = None  # created once there are credentials

    async def __aenter__(self) -> Publisher:
        with suppress(NoCredentials):
            self._connected()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._client is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(_CLOSE_SECONDS):
                    await self._client.transport.close()

    async def publish(self, topic: str, data: bytes, attributes: Mapping[str, str]) -> str:
        """Publish one message and return its id once Pub/Sub has it.

        Transient errors are retried within the timeout. Raises Unconfirmed when it passes, at once for any other
        error, and at once while there are no credentials.
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


def dead_letter(
    data: bytes, attributes: Mapping[str, str], *, reason: str, source: str
) -> tuple[bytes, dict[str, str]]:
    """A message for the dead-letter topic: the original, its source, and why it could not be used."""
    why = reason.encode()[:MAX_ATTRIBUTE_BYTES].decode(errors="ignore")
    kept = dict(list(attributes.items())[: MAX_ATTRIBUTES - 2])
    return data, {**kept, "dead_reason": why, "dead_source": source}
