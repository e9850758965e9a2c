"""Ack ids: opaque to clients, and enough to find one delivery of one message of one subscription.

`NUMBER-ATTEMPT-CHECK`, in hex: the message, its delivery, and a checksum of the subscription's name, so that an id of
another subscription is refused, as the real service refuses it. Message numbers never repeat, so an id of a deleted
subscription of the same name finds nothing. A copy of a delivery has `-2` behind, and stands for the same delivery.
"""

from __future__ import annotations

import re
from zlib import crc32

from emulators.pubsub.errors import invalid

_FORM = re.compile(r"([0-9a-f]{1,16})-([0-9a-f]{1,8})-([0-9a-f]{8})(?:-2)?")


class AckIds:
    """Writes and reads the ack ids of one subscription."""

    def __init__(self, subscription: str) -> None:
        self._subscription = subscription
        self._check = f"{crc32(subscription.encode()):08x}"

    def write(self, number: int, attempt: int) -> str:
        return f"{number:x}-{attempt:x}-{self._check}"

    def copy(self, ack_id: str) -> str:
        """Another id for the same delivery."""
        return f"{ack_id}-2"

    def read(self, ack_id: str) -> tuple[int, int]:
        """Return (message number, attempt).

        Raises `PubsubError` INVALID_ARGUMENT for what no emulator wrote, and for an id of another subscription.
        """
        found = _FORM.fullmatch(ack_id)
        if found is None:
            raise invalid(f"You have passed an invalid ack ID to the service (ack_id={ack_id[:200]}).")
        number, attempt, check = found.groups()
        if check != self._check:
            raise invalid(
                "You have passed a subscription that does not belong to the given ack ID "
                f"(resource={self._subscription})."
            )
        return int(number, 16), int(attempt, 16)
