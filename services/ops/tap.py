"""A subscription of one's own to a topic: a copy of what is published from now on, gone when it is left."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import timedelta
from types import TracebackType
from typing import Any

from google.api_core import exceptions
from google.pubsub_v1 import SubscriberAsyncClient
from google.pubsub_v1.types import ExpirationPolicy, PullRequest, Subscription

from services.ops.deployment import TIMEOUT, CommandRefused
from services.shared import emulators
from services.shared.resource_names import subscription_path, topic_path

MESSAGES = 100  # at a time; a pack has at most 2 MB
PULL_SECONDS = 20.0
LEAVE_SECONDS = 15.0  # for the removal, where somebody waits for the end
_EXPIRES = timedelta(days=1)  # Pub/Sub removes it then, should its reader be killed; the least it takes
_RETAINS = timedelta(minutes=10)  # likewise


def subscription(project: str, topic: str, name: str) -> Subscription:
    """One that nobody else has, with `name` in its own, as Pub/Sub creates it."""
    return Subscription(
        name=subscription_path(project, f"pixelpipe-{name}-{uuid.uuid4().hex[:12]}"),
        topic=topic_path(project, topic),
        ack_deadline_seconds=10,
        message_retention_duration=_RETAINS,
        expiration_policy=ExpirationPolicy(ttl=_EXPIRES),
    )


class Tap:
    """An async context. Nobody else's messages are touched: each subscription has copies of its own."""

    def __init__(self, project: str, topic: str, name: str) -> None:
        self._wanted = subscription(project, topic, name)

    async def __aenter__(self) -> Tap:
        """Raises CommandRefused where there is no such topic."""
        await asyncio.to_thread(emulators.check, emulators.PUBSUB)
        self._client = SubscriberAsyncClient()
        making = asyncio.ensure_future(self._client.create_subscription(request=self._wanted, timeout=TIMEOUT))
        try:
            await asyncio.wait({making})  # which, cancelled, does not cancel it
            making.result()
        except exceptions.NotFound as error:
            await self._client.transport.close()
            raise CommandRefused(f"there is no topic {self._wanted.topic}; has it been provisioned?") from error
        except asyncio.CancelledError:
            await self._withdraw(making)
            raise
        except BaseException:
            await self._client.transport.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            await self._remove()
        else:
            await self._withdraw()

    async def _withdraw(self, making: asyncio.Future[Any] | None = None) -> None:
        """Remove it if that can be done soon; else it expires, and what ended the reading is what is said."""

        async def remove() -> None:
            if making is not None:
                await asyncio.gather(making, return_exceptions=True)  # it may be made whatever is answered
            with suppress(exceptions.GoogleAPIError):
                await self._remove()

        await asyncio.wait({asyncio.create_task(remove())}, timeout=LEAVE_SECONDS)

    async def _remove(self) -> None:
        try:
            with suppress(exceptions.NotFound):
                await self._client.delete_subscription(subscription=self._wanted.name, timeout=TIMEOUT)
        finally:
            await self._client.transport.close()

    async def messages(self) -> AsyncIterator[Any]:
        """As they come, and for ever; each may come more than once."""
        while True:
            try:
                answer = await self._client.pull(
                    request=PullRequest(subscription=self._wanted.name, max_messages=MESSAGES), timeout=PULL_SECONDS
                )
            except exceptions.DeadlineExceeded:  # nothing came
                continue
            for received in answer.received_messages:
                yield received.message
            if answer.received_messages:
                ids = [received.ack_id for received in answer.received_messages]
                await self._client.acknowledge(subscription=self._wanted.name, ack_ids=ids, timeout=TIMEOUT)
