"""A hit being parsed: its parameters, and which of them no column has taken yet."""

from __future__ import annotations

from typing import Any

from services.processor import convert, query
from services.processor.protocols import Unreadable, reading
from services.processor.protocols.readers import READERS
from services.shared import guard
from services.shared.hit import Hit

BAD_BODY = "bad_body"
_REASON = 200  # characters of why a body could not be cut; the collector wrote it, unless a stranger pretends to be it
_TOO_MUCH = guard.TOO_MUCH.decode()
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

    @property
    def client_time(self) -> Any:
        """When it happened by the client's own clock, as it was sent; None where that is not said."""
        raw = self.first.get("client_event_time")
        return self.first.get("event_time") if raw is None else raw


def gather(event: Event) -> None:
    """Read the parameters of the hit, by its protocol. Raises convert.Invalid for an item that is not an event."""
    if event.hit.text == _TOO_MUCH or bytes(event.hit.body) == guard.TOO_MUCH:
        raise convert.Invalid(BAD_BODY, f"its values were not kept: {guard.TOO_MUCH_SAID}")
    if event.hit.via:
        _by_protocol(event)
    else:
        _native(event)


def _by_protocol(event: Event) -> None:
    hit = event.hit
    read = READERS.get(hit.via.partition(".")[0])
    if read is None:
        raise convert.Invalid(BAD_BODY, "this processor does not know the protocol")
    if not bytes(hit.body) and (reason := _uncut(hit)):
        raise convert.Invalid(BAD_BODY, f"the body cannot be cut into items: {reason}")
    try:
        event.first = read(hit)
    except Unreadable as error:
        raise convert.Invalid(BAD_BODY, str(error)) from error
    # What was not JSON is text that may hold JSON, as the values of a query string are.
    event.posted = frozenset(
        event.first if hit.body else [name for name, value in event.first.items() if type(value) is not str]
    )
    event.left = event.first.copy()


def _uncut(hit: Hit) -> str:
    """Why the collector could not cut the body; "" where it could."""
    around = reading.envelope(hit)
    reason = around.get("uncut") if around.keys() == {"uncut", "bytes"} else None
    return reason[:_REASON] if isinstance(reason, str) else ""


def _native(event: Event) -> None:
    """Members of a posted object or fields of a form first, then the query string; repeated ones are kept too.

    A client that says when it sent an event has its clock corrected.
    """
    pairs = query.pairs(event.hit.query)
    if event.hit.text:
        pairs = [*query.pairs(event.hit.text), *pairs]
    body = bytes(event.hit.body)
    if body:
        event.first = _posted(body)
        event.posted = frozenset(event.first)
    elif len(first := dict(pairs)) == len(pairs):
        event.first = first
        if "sent_at" in first:
            _correct(event)
        event.left = first.copy()
        return
    first = event.first
    for name, value in pairs:
        if name in first:
            event.more.setdefault(name, []).append(value)
        else:
            first[name] = value
    if "sent_at" in first:
        _correct(event)
    event.left = first.copy()


def _correct(event: Event) -> None:
    first = event.first
    found = reading.times(event.hit.at, first.get("event_time"), first["sent_at"])
    if "client_event_time" in found:
        first["event_time"] = found["event_time"]
        first.setdefault("client_event_time", found["client_event_time"])


def _posted(body: bytes) -> dict[str, Any]:
    try:
        posted = convert.decode_json(body)
    except convert.Invalid as error:
        raise convert.Invalid(BAD_BODY, error.detail) from error
    if not isinstance(posted, dict):
        raise convert.Invalid(BAD_BODY, "the body is not a JSON object")
    return posted
