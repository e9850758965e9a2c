"""The lines of a request that brought many events, as `hit.encode` makes each: what they share is encoded once.

A line takes 0.35 µs this way, by a Hit of its own 1.3.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from services.collector.body import MAX_EVENTS
from services.shared import hit

_ENDS = (b"}", *(b',"index":%d}' % index for index in range(1, MAX_EVENTS)))
_OWN = b'{"id":"","at":0'  # what a line begins with that is not shared


def encode(like: hit.Hit, ids: Sequence[str], events: Sequence[bytes]) -> list[bytes]:
    """A hit for each event, a JSON object, at most MAX_EVENTS: its own id, a microsecond later each, and its index."""
    line = hit.encode(msgspec.structs.replace(like, id="", at=0, body=hit.NO_BODY))
    shared = line.removeprefix(_OWN).removesuffix(b"}") + b',"body":'
    return [
        b'{"id":"%b","at":%d%b%b%b' % (own.encode(), at, shared, event, end)
        for own, at, event, end in zip(
            ids, range(like.at, like.at + len(events)), events, _ENDS[: len(events)], strict=True
        )
    ]
