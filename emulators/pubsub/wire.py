"""Writes `PullResponse` and `StreamingPullResponse` from messages that are already encoded.

Both hold `repeated ReceivedMessage received_messages = 1`, and a ReceivedMessage is `ack_id = 1`, `message = 2`,
`delivery_attempt = 3`. A message is encoded once, at publishing; copying its bytes into each response costs one
memory copy, where building the response from objects would parse and encode every message again.
"""

from __future__ import annotations

from collections.abc import Iterable

from emulators.pubsub.message import Delivery

_FIELD_1 = b"\x0a"
_FIELD_2 = b"\x12"
_FIELD_3_VARINT = b"\x18"


def varint(value: int) -> bytes:
    """Base-128, least significant group first; `value` is not negative."""
    if value < 0x80:
        return bytes((value,))
    groups = bytearray()
    while value >= 0x80:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    groups.append(value)
    return bytes(groups)


def received(deliveries: Iterable[Delivery]) -> bytes:
    """Encode deliveries as the response of Pull or StreamingPull; a delivery attempt of 0 is left out."""
    parts: list[bytes] = []
    for delivery in deliveries:
        ack_id = delivery.ack_id.encode()
        head = _FIELD_1 + varint(len(ack_id)) + ack_id + _FIELD_2 + varint(len(delivery.message.encoded))
        tail = _FIELD_3_VARINT + varint(delivery.attempt) if delivery.attempt else b""
        parts += (
            _FIELD_1,
            varint(len(head) + len(delivery.message.encoded) + len(tail)),
            head,
            delivery.message.encoded,
            tail,
        )
    return b"".join(parts)
