"""Reads a form posted to our own path, such as the beacon of a URLSearchParams or FormData: native parameters."""

from __future__ import annotations

from typing import Any

from services.processor import query
from services.processor.protocols import CANONICAL, Unreadable, reading
from services.shared.hit import Hit

NAME = "form"
FIELDS: tuple[tuple[str, str], ...] = (
    ("properties, context", "the object in it where its text is JSON of one, else as it is"),
    ("(all others)", "parameters of the same names"),
    (
        "(a name that comes again, in the form or the query string)",
        "a list of its values; of a canonical name the first counts, others are lists in `repeated`",
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
    found: dict[str, Any] = {}
    repeated: dict[str, list[str]] = {}
    for name, (first, *more) in values.items():
        found[name] = first if not more or name in _CANONICAL else [first, *more]
        if more and name in _CANONICAL:
            repeated[name] = more
    for name in _OBJECTS:
        found |= _object(name, found.get(name))
    if repeated:
        if reading.REPEATED in found:
            repeated[reading.REPEATED] = values[reading.REPEATED]
        found[reading.REPEATED] = repeated
    return found


def _object(name: str, value: str | None) -> dict[str, Any]:
    if value is not None:
        try:
            decoded = reading.from_json(value)
        except Unreadable:
            return {}
        if isinstance(decoded, dict):
            return {name: decoded}
    return {}
