"""A published message as stored: encoded once, shared by all subscriptions, counted against one cap."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from google.pubsub_v1 import types
from grpc import StatusCode

from emulators.pubsub import names
from emulators.pubsub.errors import PubsubError

_PubsubMessage = types.PubsubMessage.pb()

# What one message costs one subscription beyond its bytes: the entry, its places in two maps and a heap.
ENTRY_BYTES = 700


@dataclass(slots=True)
class Message:
    """`encoded` is a PubsubMessage with id and publish time; `holders` counts the subscriptions that keep it."""

    number: int  # the message id
    published: float  # unix seconds
    encoded: bytes
    holders: int = 0

    @property
    def size(self) -> int:
        return len(self.encoded)


@dataclass(frozen=True, slots=True)
class Delivery:
    """One delivery of one message; `attempt` is 0 unless the subscription has a dead-letter policy.

    A `copy` repeats a delivery, as the real service may.
    """

    ack_id: str
    message: Message
    attempt: int
    copy: bool = False


class HeldBytes:
    """The bytes that all subscriptions together keep; a message kept by several counts its bytes once."""

    def __init__(self, cap: int) -> None:
        self.cap = cap
        self.held = 0

    def check(self) -> None:
        """Refuse a publish once the cap is reached; one request may exceed it by its own size."""
        if self.held >= self.cap:
            raise PubsubError(
                StatusCode.RESOURCE_EXHAUSTED,
                f"The emulator holds {self.held} bytes of messages; its cap is {self.cap} (--max-bytes).",
            )

    def hold(self, message: Message) -> None:
        self.held += ENTRY_BYTES if message.holders else ENTRY_BYTES + message.size
        message.holders += 1

    def release(self, message: Message) -> None:
        message.holders -= 1
        self.held -= ENTRY_BYTES if message.holders else ENTRY_BYTES + message.size


def stamp(raw: Any, number: int, published: float) -> Message:
    """Give a raw PubsubMessage its id and publish time (unix seconds), and encode it."""
    raw.message_id = str(number)
    seconds = int(published)
    raw.publish_time.seconds = seconds
    raw.publish_time.nanos = int((published - seconds) * 1e6) * 1000
    return Message(number, published, raw.SerializeToString())


def dead_letter(message: Message, subscription: str, attempts: int) -> Any:
    """Copy a message as the raw PubsubMessage for a dead-letter topic: same content, plus where it came from."""
    raw = _PubsubMessage.FromString(message.encoded)
    published = datetime.fromtimestamp(message.published, UTC).isoformat(timespec="milliseconds")
    raw.attributes["CloudPubSubDeadLetterSourceSubscription"] = names.id_of(subscription)
    raw.attributes["CloudPubSubDeadLetterSourceSubscriptionProject"] = names.project_of(subscription)
    raw.attributes["CloudPubSubDeadLetterSourceDeliveryCount"] = str(attempts)
    raw.attributes["CloudPubSubDeadLetterSourceTopicPublishTime"] = published
    return raw
