"""What events bring that no column takes: names, counts and types, and no value. Pure, and bounded in names.

Names are a stranger's too, so only plain ones are kept, and only those that come often are worth a column.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from typing import Any

from services.processor import convert

MOST_NAMES = 5_000  # that are counted, of one table
MOST_MEMBERS = 100  # of one object; one that has more is a map, whose names are values
DEEPEST = 5  # names of a path
MOST_ELEMENTS = 20  # of a list that are looked at
BOOL, INT64, NUMERIC, FLOAT64, TIMESTAMP, UNIX, DATE, DATETIME = (
    "BOOL", "INT64", "NUMERIC", "FLOAT64", "TIMESTAMP", "UNIX", "DATE", "DATETIME",
)  # fmt: skip

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}", re.ASCII)
_LONGEST = 100  # characters of a text that may be anything but a text
_ZERO_FIRST = re.compile(r"[+-]?0[0-9]")
_MONEY = re.compile(r"[+-]?[0-9]{1,20}(\.[0-9]{1,4})?")  # what is exact; a measure has more decimals


class Shape:
    """All values of one name: how many of them are of which kind, and which types the plain ones fit."""

    __slots__ = ("elements", "fits", "lists", "members", "objects", "plain", "texts")

    def __init__(self) -> None:
        self.plain = self.objects = self.lists = 0
        self.texts = 0  # of objects: those that came as text, whose members no path reaches
        self.fits: Counter[str] = Counter()
        self.members: dict[str, Shape] = {}
        self.elements: Shape | None = None

    @property
    def count(self) -> int:
        return self.plain + self.objects + self.lists

    @property
    def is_map(self) -> bool:
        return len(self.members) >= MOST_MEMBERS


class Observed:
    """What the rows of one table bring; `rows` counts them, `unsafe` the names that are not plain."""

    def __init__(self) -> None:
        self.rows = 0
        self.unsafe = 0
        self.root = Shape()
        self._names = 0

    @property
    def is_full(self) -> bool:
        return self._names >= MOST_NAMES

    def add(self, params: str | None) -> None:
        """One row, with its parameters as JSON, or none."""
        self.rows += 1
        if params is None:
            return
        try:
            found = convert.decode_json(params)
        except convert.Invalid:
            return
        if isinstance(found, dict):
            self._members(self.root, found, 1)

    def _members(self, shape: Shape, members: dict[str, Any], depth: int) -> None:
        for name, value in members.items():
            if value is None or value == "":
                continue
            inner = shape.members.get(name)
            if inner is None:
                if not _NAME.fullmatch(name):
                    self.unsafe += 1
                    continue
                if self.is_full or (shape is not self.root and shape.is_map):
                    continue
                self._names += 1
                inner = shape.members[name] = Shape()
            self._value(inner, value, depth)

    def _value(self, shape: Shape, value: Any, depth: int) -> None:
        if type(value) is str and value.lstrip()[:1] in ("[", "{"):
            value = _from_text(value, shape)
        if type(value) is dict:
            shape.objects += 1
            if depth < DEEPEST:
                self._members(shape, value, depth + 1)
        elif type(value) is list:
            shape.lists += 1
            shape.elements = shape.elements or Shape()
            for element in value[:MOST_ELEMENTS]:
                if element is not None and element != "":
                    self._value(shape.elements, element, depth + 1)
        else:
            shape.plain += 1
            shape.fits.update(_fitting(value))


def _from_text(text: str, shape: Shape) -> Any:
    """A list or an object that came in a query string."""
    try:
        found = convert.decode_json(text)
    except convert.Invalid:
        return text
    if type(found) is dict:
        shape.texts += 1
    return found


def _fitting(value: Any) -> list[str]:
    if type(value) is str and len(value) > _LONGEST:
        return []
    return [kind for kind, fits in _FITS.items() if fits(value)]


def _converts(kind: str) -> Callable[[Any], bool]:
    converter = convert.CONVERTERS[kind]

    def fits(value: Any) -> bool:
        try:
            converter(value)
        except convert.Invalid:
            return False
        return True

    return fits


_integer, _float, _timestamp = _converts("INT64"), _converts("FLOAT64"), _converts("TIMESTAMP")


def _is_number(value: Any) -> bool:
    return not isinstance(value, bool) and (type(value) is not str or not _ZERO_FIRST.match(value.strip()))


def _plain_number(value: Any) -> str:
    try:
        return convert.string(value).strip()
    except convert.Invalid:
        return ""


# Stricter than the converters: 1 is no BOOL here, and 007 no number, though columns of these types take them.
_FITS: dict[str, Callable[[Any], bool]] = {
    BOOL: lambda value: isinstance(value, bool) or (type(value) is str and value.lower() in ("true", "false")),
    INT64: lambda value: _is_number(value) and _integer(value),
    NUMERIC: lambda value: _is_number(value) and _MONEY.fullmatch(_plain_number(value)) is not None,
    FLOAT64: lambda value: _is_number(value) and _float(value),
    TIMESTAMP: lambda value: type(value) is str and "-" in value and _timestamp(value),
    UNIX: lambda value: _is_number(value) and _timestamp(value),
    DATE: _converts("DATE"),
    DATETIME: lambda value: type(value) is str and ":" in value and _converts("DATETIME")(value),
}
