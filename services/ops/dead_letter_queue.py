"""The dead-letter subscription, read without losing a message: what is not acked is nacked at the end."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import AsyncIterator
from datetime import UTC
from types import TracebackType
from typing import Any

import grpc
from google.api_core import exceptions
from google.cloud import pubsub_v1

from services.ops import option
from services.ops.dead_letter import DeadLetter
from services.ops.deployment import TIMEOUT, CommandRefused
from services.shared import emulators, resource_names
from services.shared.resource_names import subscription_path

MAX_MESSAGES = 5_000  # held at a time
MAX_BYTES = 200_000_000  # of data held at a time
LEASE_SECONDS = 300  # how long a dead letter stays hidden if this process is killed
_AT_ONCE = 500  # messages pulled or acked in one request


def add_options(parser: argparse.ArgumentParser) -> None:
    """`--subscription` and `--wait`, as DeadLetterQueue takes them."""
    parser.add_argument(
        "--subscription",
        type=option.name("subscription"),
        default=resource_names.DEAD_SUBSCRIPTION,
        help="the subscription of dead letters (%(default)s)",
    )
    parser.add_argument(
        "--wait",
        type=option.number(0),
        default=5.0,
        metavar="SECONDS",
        help="how long without a new dead letter means that there are no more (%(default)s)",
    )


class DeadLetterQueue:
    """An async context; `messages()` gives each message once, until none arrived for `wait` seconds.

    Pub/Sub cannot list them: what another reader holds, or what was nacked moments ago, is not seen. Each message is
    held until it is settled, or until the context is left, which nacks it. When the limit is reached, `full` is set,
    and there may be more.

    It uses unary pulls: a stream would receive again what it nacks, and keep that when it closes.
    """

    def __init__(self, project: str, subscription: str, *, wait: float) -> None:
        self._path, self._wait = subscription_path(project, subscription), wait
        self._held: dict[str, list[str]] = {}  # ack ids by message id; two if it was delivered twice
        self._settled: set[str] = set()
        self._bytes = 0
        self.full = False

    async def __aenter__(self) -> DeadLetterQueue:
        await asyncio.to_thread(emulators.check, emulators.PUBSUB)
        self._client = await asyncio.to_thread(pubsub_v1.SubscriberClient)
        # First, or to connect would count as waiting for a message, and nobody there as no message.
        ready = grpc.channel_ready_future(self._client.transport.grpc_channel)
        try:
            await asyncio.to_thread(ready.result, TIMEOUT)
        except BaseException as error:
            ready.cancel()
            await asyncio.to_thread(self._client.close)
            if isinstance(error, grpc.FutureTimeoutError):
                raise CommandRefused(f"Pub/Sub takes no connection for {TIMEOUT:g} s") from None
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self._lease([ack_id for ack_ids in self._held.values() for ack_id in ack_ids], 0)
        finally:
            await asyncio.to_thread(self._client.close)

    async def messages(self) -> AsyncIterator[DeadLetter]:
        """Raises CommandRefused if there is no such subscription."""
        while not self.full:
            received = await asyncio.to_thread(self._pull)
            if not received:
                return
            await self._lease([one.ack_id for one in received], LEASE_SECONDS)
            new = []
            for one in received:
                name = one.message.message_id
                if name in self._settled:
                    await self._acknowledge([one.ack_id])
                elif name in self._held:
                    self._held[name].append(one.ack_id)
                else:
                    self._held[name] = [one.ack_id]
                    self._bytes += len(one.message.data)
                    new.append(one.message)
            for message in new:
                published = message.publish_time.astimezone(UTC)
                yield DeadLetter(message.message_id, published, dict(message.attributes), message.data)
            self.full = len(self._held) >= MAX_MESSAGES or self._bytes >= MAX_BYTES

    async def settle(self, done: DeadLetter) -> None:
        """Ack a message: it is gone from the subscription for good."""
        self._settled.add(done.id)
        self._bytes -= len(done.data)
        await self._acknowledge(self._held.pop(done.id))

    def _pull(self) -> list[Any]:
        """What is there, or arrives within `wait` seconds."""
        try:
            answer = self._client.pull(subscription=self._path, max_messages=_AT_ONCE, timeout=self._wait)
        except exceptions.DeadlineExceeded:
            return []
        except exceptions.NotFound as error:
            raise CommandRefused(f"there is no subscription {self._path}; has it been provisioned?") from error
        return list(answer.received_messages)

    async def _lease(self, ack_ids: list[str], seconds: int) -> None:
        for start in range(0, len(ack_ids), _AT_ONCE):
            await asyncio.to_thread(
                self._client.modify_ack_deadline,
                subscription=self._path,
                ack_ids=ack_ids[start : start + _AT_ONCE],
                ack_deadline_seconds=seconds,
                timeout=TIMEOUT,
            )

    async def _acknowledge(self, ack_ids: list[str]) -> None:
        await asyncio.to_thread(self._client.acknowledge, subscription=self._path, ack_ids=ack_ids, timeout=TIMEOUT)
