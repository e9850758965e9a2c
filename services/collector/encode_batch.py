"""Encodes the hits of one posted batch, with the same result as `hit.encode` for each: shared fields are encoded once.

A line takes 0.35 µs this way; encoding a Hit for each event takes 1.3.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from services.collector.body import MAX_EVENTS
from services.shared import hit

_ENDS = (b"}", *(b',"index":%d}' % index for index in range(1, MAX_EVENTS)))
_OWN = b'{"id":"","at":0'  # the start of a line, which is not shared


def encode(like: hit.Hit, ids: Sequence[str], events: Sequence[bytes]) -> list[bytes]:
    """One line per event, a JSON object, at most MAX_EVENTS: each with its own id, index, and time, 1 µs apart."""
    line = hit.encode(msgspec.structs.replace(like, id="", at=0, body=hit.NO_BODY))
    shared = line.removeprefix(_OWN).removesuffix(b"}") + b',"body":'
    return [
        b'{"id":"%b","at":%d%b%b%b' % (own.encode(), at, shared, event, end)
        for own, at, event, end in zip(
            ids, range(like.at, like.at + len(events)), events, _ENDS[: len(events)], strict=True
        )
    ]
