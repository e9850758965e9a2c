"""Encodes the hits of one posted batch, with the same result as `hit.encode` for each: shared fields are encoded once.

A line takes 0.35 µs this way; encoding a Hit for each event takes 1.3.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from services.collector.body import MAX_EVENTS, BadBody
from services.shared import hit

MAX_SHARED = 134_217_728  # bytes
_END = b',"index":%d}'
_ENDS = (b"}", *(_END % index for index in range(1, MAX_EVENTS)))
_OWN = b'{"id":"","at":0'  # the start of a line, which is not shared


def encode(likes: Sequence[hit.Hit | None], ids: Sequence[str], items: Sequence[bytes | str]) -> list[bytes]:
    """One line per item, JSON or text: each with its own id, index, and time, 1 µs apart.

    `likes` are the hits the items are like, of the same time; most are one object. An item without one has no line.
    Raises BadBody where what they share comes to over MAX_SHARED bytes in all lines: hashed parameters are up to twenty
    times as long as they came.
    """
    ends = _ENDS if len(items) <= MAX_EVENTS else (*_ENDS, *(_END % index for index in range(MAX_EVENTS, len(items))))
    lines = []
    last: hit.Hit | None = None
    body = text = b""
    shared = 0
    for index, (like, own, item, end) in enumerate(zip(likes, ids, items, ends[: len(items)], strict=True)):
        if like is None:
            continue
        if like is not last:
            last, (body, text) = like, _shared(like)
        shared += len(body)
        if shared > MAX_SHARED:
            raise BadBody(413, "so large a query string or envelope for so many items")
        if isinstance(item, bytes):
            lines.append(b'{"id":"%b","at":%d%b%b%b' % (own.encode(), like.at + index, body, item, end))
        else:
            lines.append(b'{"id":"%b","at":%d%b%b%b' % (own.encode(), like.at + index, text, hit.text(item), end))
    return lines


def _shared(like: hit.Hit) -> tuple[bytes, bytes]:
    """What the lines of hits like this share, up to the value of `body`, or of `text`."""
    line = hit.encode(msgspec.structs.replace(like, id="", at=0, body=hit.NO_BODY))
    shared = line.removeprefix(_OWN).removesuffix(b"}")
    return shared + b',"body":', shared + b',"text":'
