"""The real service's limits on requests (https://cloud.google.com/pubsub/quotas), and the checks of them.

All sizes are bytes, all times seconds.
"""

from __future__ import annotations

from typing import Any

from emulators.pubsub.errors import invalid

PUBLISH_MESSAGES = 1_000
PUBLISH_BYTES = 10 * 1024 * 1024
MESSAGE_BYTES = 10_000_000
ATTRIBUTES = 100
ATTRIBUTE_KEY_BYTES = 256
ATTRIBUTE_VALUE_BYTES = 1024
ORDERING_KEY_BYTES = 1024
ACK_REQUEST_BYTES = 512 * 1024
MIN_ACK_DEADLINE = 10
MAX_ACK_DEADLINE = 600
PULL_MESSAGES = 1_000
MAX_LABELS = 64

# Accepted on the wire: above the publish limit, so that a request over that limit gets an error that says so.
RECEIVE_BYTES = 32 * 1024 * 1024


def check_request_size(size: int, limit: int) -> None:
    """Refuse a request whose encoding is longer than `limit` bytes."""
    if size > limit:
        raise invalid(f"Request payload size exceeds the limit: {limit} bytes.")


def check_publish(request: Any) -> None:
    """Refuse a raw `PublishRequest` that the real service would refuse; nothing of it is published then."""
    check_request_size(request.ByteSize(), PUBLISH_BYTES)
    count = len(request.messages)
    if count == 0:
        raise invalid(
            "The value for message_count is too small. You passed 0 in the request, but the minimum value is 1."
        )
    if count > PUBLISH_MESSAGES:
        raise _too_large("message_count", count, PUBLISH_MESSAGES)
    for message in request.messages:
        _check_message(message)


def _check_message(message: Any) -> None:
    size = len(message.data)
    if size > MESSAGE_BYTES:
        raise _too_large("message.data", size, MESSAGE_BYTES)
    attributes = message.attributes
    if attributes:
        if len(attributes) > ATTRIBUTES:
            raise _too_large("attribute_count", len(attributes), ATTRIBUTES)
        for key, value in attributes.items():
            if not key:
                raise invalid("An attribute key must not be empty.")
            if len(key) * 4 > ATTRIBUTE_KEY_BYTES and len(key.encode()) > ATTRIBUTE_KEY_BYTES:
                raise _too_large("attribute key length", len(key.encode()), ATTRIBUTE_KEY_BYTES)
            if len(value) * 4 > ATTRIBUTE_VALUE_BYTES and len(value.encode()) > ATTRIBUTE_VALUE_BYTES:
                raise _too_large("attribute value length", len(value.encode()), ATTRIBUTE_VALUE_BYTES)
    elif size == 0:
        raise invalid(
            "One or more messages in the publish request is empty. "
            "Each message must contain either non-empty data, or at least one attribute."
        )
    if len(message.ordering_key.encode()) > ORDERING_KEY_BYTES:
        raise _too_large("ordering_key length", len(message.ordering_key.encode()), ORDERING_KEY_BYTES)


def _too_large(what: str, given: int, limit: int) -> Exception:
    return invalid(
        f"The value for {what} is too large. You passed {given} in the request, but the maximum value is {limit}."
    )


def check_ack_deadline(seconds: int, least: int = MIN_ACK_DEADLINE) -> int:
    """Return a deadline of `least` to 600 s, or raise `PubsubError` INVALID_ARGUMENT."""
    if not least <= seconds <= MAX_ACK_DEADLINE:
        raise invalid(
            f"Invalid ack deadline given (ack_deadline_seconds={seconds}). "
            f"It must be between {least} and {MAX_ACK_DEADLINE} seconds."
        )
    return seconds
