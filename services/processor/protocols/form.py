"""Reads a form posted to our own path, such as the beacon of a URLSearchParams or FormData: native parameters."""

from __future__ import annotations

from typing import Any

from services.processor import query
from services.processor.protocols import CANONICAL, Unreadable, reading
from services.shared.hit import Hit

NAME = "form"
FIELDS: tuple[tuple[str, str], ...] = (
    ("properties, context", "the object in it; a text that is not JSON of one is in `form` under its name"),
    ("(all others)", "parameters of the same names"),
    (
        "(a name that comes again, in the form or the query string)",
        "a list of its values; of a canonical name the first counts, a list of the others is in `form` under its name",
    ),
)

_CANONICAL = frozenset(CANONICAL)
_OBJECTS = ("properties", "context")


def read(hit: Hit) -> dict[str, Any]:
    """The parameters of one form: those of its text come before those of the query string. Raises Unreadable."""
    if not (given := query.pairs(hit.text)):
        raise Unreadable("the form is empty")
    values: dict[str, list[str]] = {}
    for name, value in (*given, *query.pairs(hit.query)):
        if value or name not in _CANONICAL:
            values.setdefault(name, []).append(value)
    canonical: dict[str, Any] = {}
    others: dict[str, Any] = {}
    for name, (first, *more) in values.items():
        if name not in _CANONICAL:
            others[name] = [first, *more] if more else first
            continue
        canonical[name] = _object(first) if name in _OBJECTS else first
        if canonical[name] is None:
            more = [first, *more]
        if more:
            others[name] = more
    return reading.event(NAME, canonical, others)


def _object(text: str) -> dict[str, Any] | None:
    try:
        found = reading.from_json(text)
    except Unreadable:
        return None
    return found if isinstance(found, dict) else None
