"""Cloud Storage subscriptions: batches of messages become Avro objects, here files FOLDER/BUCKET/OBJECT.

As the real service does, it writes an object when one of the limits is reached, and acks its messages once the object
is there: what is not acked is written again, so a message may be in two objects.
"""

from __future__ import annotations

import asyncio
import os
import uuid
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import Any

from fastavro import parse_schema, writer
from google.pubsub_v1 import types

from emulators.pubsub import object_name
from emulators.pubsub.broker import Subscription
from emulators.pubsub.clock import Clock
from emulators.pubsub.consumer import Consumer
from emulators.pubsub.message import Delivery, Message

_PubsubMessage = types.PubsubMessage.pb()
_TAKEN = 1_000  # messages taken at a time
_TAKEN_BYTES = 8 * 1024 * 1024

_DATA = {"name": "data", "type": "bytes"}
_PLAIN = parse_schema({"type": "record", "namespace": "com.google.pubsub", "name": "PubsubMessage", "fields": [_DATA]})
_WITH_METADATA = parse_schema(
    {
        "type": "record",
        "namespace": "com.google.pubsub",
        "name": "PubsubMessageWithMetadata",
        "fields": [
            {"name": "subscription_name", "type": "string"},
            {"name": "message_id", "type": "string"},
            {"name": "publish_time", "type": {"type": "long", "logicalType": "timestamp-micros"}},
            {"name": "attributes", "type": {"type": "map", "values": "string"}},
            _DATA,
        ],
    }
)


@dataclass(slots=True, eq=False)
class _Batch:
    """What goes into the next object of a subscription; `began` is when its first message was taken."""

    began: float = inf
    size: int = 0
    deliveries: list[Delivery] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class _Export:
    subscription: Subscription
    consumer: Consumer
    waiting: bool = False  # for its consumer to be woken
    batch: _Batch = field(default_factory=_Batch)


class CloudStorage:
    """Writes the objects of all Cloud Storage subscriptions; `run` is the one task that does.

    `seconds` is how long an object may be open at most, whatever a subscription's `max_duration` says, which is a
    minute at least: the real service too may begin a new object before its time.
    """

    def __init__(self, folder: Path, clock: Clock, seconds: float | None) -> None:
        self._folder, self._clock, self._seconds = folder, clock, seconds
        self._exports: dict[str, _Export] = {}
        self._woken = asyncio.Event()
        self._ending = False

    def watch(self, subscription: Subscription) -> None:
        """Called for a subscription that is made or changed; forgotten are those that have another delivery now."""
        known = self._exports.get(subscription.name)
        if known is not None and known.subscription is not subscription:  # deleted, and made again
            known = None
        if subscription.resource.HasField("cloud_storage_config") and known is None:
            consumer = Consumer(0, 0, lambda: self._wake(export), lambda _: self._woken.set())
            export = _Export(subscription, consumer)
            subscription.backlog.join(consumer)
            self._exports[subscription.name] = export
        self._woken.set()

    def _wake(self, export: _Export) -> None:
        export.waiting = False
        self._woken.set()

    async def run(self) -> None:
        """Until `end` is called; an object that cannot be written ends it with OSError.

        Cancelled, it would lose what it has taken and not written.
        """
        while not self._ending:
            self._woken.clear()
            wait = await self._step(all_of_it=False) - self._clock.now()
            try:
                async with asyncio.timeout(max(wait, 0) if wait < inf else None):
                    await self._woken.wait()
            except TimeoutError:
                continue

    def end(self) -> None:
        """Have `run` return once it has written what it is writing."""
        self._ending = True
        self._woken.set()

    async def finish(self) -> None:
        """After `run`: write what has been published until now."""
        await self._step(all_of_it=True)

    async def _step(self, *, all_of_it: bool) -> float:
        """Write what is due; when the next thing is."""
        due = inf
        for name, export in list(self._exports.items()):
            backlog = export.subscription.backlog
            exported = export.subscription.resource.HasField("cloud_storage_config")
            if backlog.ended is not None or not exported:
                backlog.leave(export.consumer, self._clock.now())
                del self._exports[name]
                continue
            await self._take(export)
            if export.batch.deliveries and (all_of_it or self._due(export) <= self._clock.now()):
                await self._write(export)
            due = min(due, self._due(export))
            if not export.waiting:
                export.waiting = True
                backlog.wait(export.consumer)
        return due

    def _due(self, export: _Export) -> float:
        longest = float(export.subscription.resource.cloud_storage_config.max_duration.seconds)
        return export.batch.began + (longest if self._seconds is None else min(longest, self._seconds))

    async def _take(self, export: _Export) -> None:
        subscription, config = export.subscription, export.subscription.resource.cloud_storage_config
        seconds = subscription.policy.ack_deadline
        while taken := subscription.backlog.take(export.consumer, seconds, _TAKEN, _TAKEN_BYTES, self._clock.now()):
            for delivery in taken:
                batch = export.batch
                if batch.deliveries and config.max_bytes and batch.size + delivery.message.size > config.max_bytes:
                    await self._write(export)
                    batch = export.batch
                batch.began = min(batch.began, self._clock.now())
                batch.size += delivery.message.size
                batch.deliveries.append(delivery)
                full = config.max_bytes and batch.size >= config.max_bytes
                if full or (config.max_messages and len(batch.deliveries) >= config.max_messages):
                    await self._write(export)

    async def _write(self, export: _Export) -> None:
        batch, export.batch = export.batch, _Batch()
        config, name = export.subscription.resource.cloud_storage_config, export.subscription.name
        called = object_name.make(
            config.filename_prefix,
            config.filename_suffix,
            config.filename_datetime_format,
            batch.began,
            uuid.uuid4().hex,
        )
        file = self._folder / config.bucket / called
        metadata = config.avro_config.write_metadata
        await asyncio.to_thread(_write, file, name, [one.message for one in batch.deliveries], metadata)
        export.subscription.backlog.acknowledge([one.ack_id for one in batch.deliveries], self._clock.now())


def _write(file: Path, subscription: str, messages: list[Message], metadata: bool) -> None:
    """Under another name first: whoever reads the folder finds whole objects only, as in a bucket."""
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f".{file.name}.part")
    with part.open("wb") as out:
        writer(out, _WITH_METADATA if metadata else _PLAIN, (_record(one, subscription) for one in messages))
    os.replace(part, file)


def _record(message: Message, subscription: str) -> dict[str, Any]:
    raw = _PubsubMessage.FromString(message.encoded)
    attributes = dict(raw.attributes)
    if raw.ordering_key:
        attributes["ordering_key"] = raw.ordering_key
    return {
        "subscription_name": subscription,
        "message_id": raw.message_id,
        "publish_time": raw.publish_time.ToMicroseconds(),
        "attributes": attributes,
        "data": raw.data,
    }
