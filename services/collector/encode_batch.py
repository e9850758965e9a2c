"""Encodes the hits of one posted batch, with the same result as `hit.encode` for each: shared fields are encoded once.

A line takes 0.35 µs this way; encoding a Hit for each event takes 1.3.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from services.collector.body import MAX_EVENTS
from services.shared import hit

_END = b',"index":%d}'
_ENDS = (b"}", *(_END % index for index in range(1, MAX_EVENTS)))
_OWN = b'{"id":"","at":0'  # the start of a line, which is not shared


def encode(like: hit.Hit, ids: Sequence[str], items: Sequence[bytes | str]) -> list[bytes]:
    """One line per item, JSON or text: each with its own id, index, and time, 1 µs apart."""
    line = hit.encode(msgspec.structs.replace(like, id="", at=0, body=hit.NO_BODY))
    shared = line.removeprefix(_OWN).removesuffix(b"}")
    body, text = shared + b',"body":', shared + b',"text":'
    ends = _ENDS if len(items) <= MAX_EVENTS else (*_ENDS, *(_END % index for index in range(MAX_EVENTS, len(items))))
    return [
        b'{"id":"%b","at":%d%b%b%b' % (own.encode(), at, body, item, end)
        if isinstance(item, bytes)
        else b'{"id":"%b","at":%d%b%b%b' % (own.encode(), at, text, hit.text(item), end)
        for own, at, item, end in zip(ids, range(like.at, like.at + len(items)), items, ends[: len(items)], strict=True)
    ]
