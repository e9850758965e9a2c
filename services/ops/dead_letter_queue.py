"""The dead-letter subscription, read without losing a letter: what is not acknowledged goes back at the end."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import AsyncIterator
from datetime import UTC
from types import TracebackType
from typing import Any

from google.api_core import exceptions
from google.cloud import pubsub_v1

from services.ops import option
from services.ops.dead_letter import Letter
from services.ops.deployment import TIMEOUT, Refused
from services.shared import emulators, resource_names
from services.shared.resource_names import subscription_path

MAX_LETTERS = 5_000  # held at a time
MAX_BYTES = 200_000_000  # of data held at a time
LEASE_SECONDS = 300  # how long a letter stays hidden if this process is killed
_AT_ONCE = 500  # letters asked for, or answered for, in one request


def add_options(parser: argparse.ArgumentParser) -> None:
    """`--subscription` and `--wait`, as LetterBox takes them."""
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
        help="without a new dead letter until all are taken to be seen (%(default)s)",
    )


class LetterBox:
    """An async context; `letters()` gives each letter once, until none came for `wait` seconds.

    Pub/Sub does not say which letters there are: what another reader holds, or what was given back moments ago, is not
    seen. Each letter is held until it is settled, or the context is left, which gives it back. When as many are held as
    may be, `full` is set, and there may be more.

    It asks with single pulls: a stream would be given again what it gives back, and take that along when it closes.
    """

    def __init__(self, project: str, subscription: str, *, wait: float) -> None:
        self._path, self._wait = subscription_path(project, subscription), wait
        self._held: dict[str, list[str]] = {}  # ack ids by message id; a letter can come twice, and has two then
        self._settled: set[str] = set()
        self._bytes = 0
        self.full = False

    async def __aenter__(self) -> LetterBox:
        await asyncio.to_thread(emulators.check, emulators.PUBSUB)
        self._client = await asyncio.to_thread(pubsub_v1.SubscriberClient)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self._lease([ack_id for ack_ids in self._held.values() for ack_id in ack_ids], 0)
        finally:
            await asyncio.to_thread(self._client.close)

    async def letters(self) -> AsyncIterator[Letter]:
        """Raises Refused where there is no such subscription."""
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
                yield Letter(message.message_id, published, dict(message.attributes), message.data)
            self.full = len(self._held) >= MAX_LETTERS or self._bytes >= MAX_BYTES

    async def settle(self, done: Letter) -> None:
        """Acknowledge a letter: it is gone from the subscription for good."""
        self._settled.add(done.id)
        self._bytes -= len(done.data)
        await self._acknowledge(self._held.pop(done.id))

    def _pull(self) -> list[Any]:
        """What is there, or comes within `wait` seconds."""
        try:
            answer = self._client.pull(subscription=self._path, max_messages=_AT_ONCE, timeout=self._wait)
        except exceptions.DeadlineExceeded:
            return []
        except exceptions.NotFound as error:
            raise Refused(f"there is no subscription {self._path}") from error
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
