"""Hits that a command publishes itself, in packs as the collector makes them."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

from services.shared import hit, identity


def grouped(lines: Iterable[bytes]) -> Iterator[list[bytes]]:
    """Encoded hits in order, in groups within the limits of a pack; one hit alone may be larger."""
    group: list[bytes] = []
    size = 0
    for line in lines:
        if group and (len(group) >= hit.MAX_HITS or size + len(line) > hit.MAX_PACK_BYTES):
            yield group
            group, size = [], 0
        group.append(line)
        size += len(line) + 1
    if group:
        yield group


def new_id() -> str:
    """The id of a new pack: under an old one the processor would drop it unread."""
    return identity.uuid7(time.time_ns() // 1000)
