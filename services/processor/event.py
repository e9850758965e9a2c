"""A hit being parsed: its parameters, and which of them no column has taken yet."""

from __future__ import annotations

from typing import Any

from services.processor import convert, query
from services.shared.hit import Hit

BAD_BODY = "bad_body"
_NONE_POSTED: frozenset[str] = frozenset()


class Event:
    """`first` has each parameter's value, `posted` the names from the body, `more` repeats, `left` those not taken."""

    __slots__ = ("day", "enriched", "first", "hit", "id", "left", "more", "posted", "reject")

    def __init__(self, hit: Hit, reject: Any = None) -> None:
        self.hit, self.id, self.day, self.reject = hit, hit.id, 0, reject
        self.first: dict[str, Any] = {}
        self.more: dict[str, list[Any]] = {}
        self.posted: frozenset[str] = _NONE_POSTED
        self.left: dict[str, Any] = {}
        self.enriched: dict[str, tuple[Any, ...]] = {}


def gather(event: Event) -> None:
    """Read the parameters: members of a posted object first, then the query string; repeats are kept too.

    Raises convert.Invalid for a body that is not a JSON object.
    """
    pairs = query.pairs(event.hit.query)
    body = bytes(event.hit.body)
    if body:
        event.first = _posted(body)
        event.posted = frozenset(event.first)
    elif len(first := dict(pairs)) == len(pairs):
        event.first, event.left = first, first.copy()
        return
    first = event.first
    for name, value in pairs:
        if name in first:
            event.more.setdefault(name, []).append(value)
        else:
            first[name] = value
    event.left = first.copy()


def _posted(body: bytes) -> dict[str, Any]:
    try:
        posted = convert.decode_json(body)
    except convert.Invalid as error:
        raise convert.Invalid(BAD_BODY, error.detail) from error
    if not isinstance(posted, dict):
        raise convert.Invalid(BAD_BODY, "the body is not a JSON object")
    return posted
