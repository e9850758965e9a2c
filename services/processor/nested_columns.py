"""Columns that hold more than one value: REPEATED ones, and STRUCTs. Linear in what was sent.

What a column does not take of an object, or what does not fit, stays among the parameters with all around it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from services.processor import convert, sources, transforms
from services.processor.event import Event
from services.processor.sources import Path, Read
from services.shared.schema import STRUCT, Column

MISSING, NULL_ELEMENT = "missing", "null_element"  # reasons beside those of conversion
MOST_ELEMENTS = 10_000  # of a REPEATED column in one row


def reader(column: Column) -> Read:
    """A reader of a REPEATED column or a STRUCT; a REPEATED one without a value is an empty list."""
    places, fill = [sources.raw(source) for source in column.sources], filler(column)

    def read(event: Event) -> Any:
        for get in places:
            made = fill(event, *get(event))
            if made is not None:
                return made
        return [] if column.repeated else None

    return read


def filler(column: Column) -> Callable[[Event, Path, Any], Any]:
    """What makes the column's value of what was sent at a path, or None where that is no value."""
    steps, repeated = transforms.text_steps(column), column.repeated
    make = _elements(column, "") if repeated else _element(column, "")

    def fill(event: Event, path: Path, raw: Any) -> Any:
        if raw is None:
            path = ()
        if repeated and event.more and len(path) == 1 and (more := event.more.get(path[0])):
            raw = [*(raw if type(raw) is list else [raw]), *more]
        value = transforms.apply(steps, raw) if steps else raw
        if value is None or (type(value) is str and not value):
            return None
        if type(value) is str and path and path[0] not in event.posted:
            value = _from_text(value, column)
        whole = _Whole()
        made = make(value, event, whole)
        if path and whole.taken:
            event.take(path)
            if repeated and event.more and len(path) == 1:
                event.more.pop(path[0], None)
        return made

    return fill


class _Whole:
    """Whether all of a nested value went into its column; else it stays among the parameters as well."""

    __slots__ = ("taken",)

    def __init__(self) -> None:
        self.taken = True


_Make = Callable[[Any, Event, _Whole], Any]


def _from_text(text: str, column: Column) -> Any:
    """A query string's value is text, in which an object or a list is JSON."""
    if column.type != STRUCT and text.lstrip()[:1] != "[":
        return text
    return convert.decode_json(text)


def _elements(column: Column, parent: str) -> _Make:
    """A list of what `_element` makes; one value alone is a list of one, nulls go, and what does not fit is noted."""
    one, name = _element(column, parent), f"{parent}{column.name}"

    def make(value: Any, event: Event, whole: _Whole) -> list[Any]:
        if type(value) is not list:
            value = [value]
        if len(value) > MOST_ELEMENTS:
            raise convert.Invalid(convert.OUT_OF_RANGE, f"more than {MOST_ELEMENTS:,} elements")
        made = []
        for index, raw in enumerate(value):
            try:
                found = None if raw is None or (type(raw) is str and not raw) else one(raw, event, whole)
            except convert.Invalid as error:
                if not column.lenient:
                    raise
                whole.taken = False
                event.note(f"{name}[{index}]", error.reason, error.detail, raw)
                continue
            if found is None:
                event.note(f"{name}[{index}]", NULL_ELEMENT, "BigQuery keeps no NULL in an array", raw)
            else:
                made.append(found)
        return made

    return make


def _element(column: Column, parent: str) -> _Make:
    """What makes one value of the column's type of one that was sent."""
    if column.type == STRUCT:
        return _struct(column, parent)
    change = _changed(column)
    return lambda value, event, whole: change(value)


def _changed(column: Column) -> Callable[[Any], Any]:
    """What was sent, as a value of the column's type after its steps on the value."""
    converter, after = convert.CONVERTERS[column.type], transforms.value_steps(column)
    if not after:
        return converter
    if len(after) == 1:
        only = after[0]
        return lambda value: only(converter(value))

    def change(value: Any) -> Any:
        value = converter(value)
        for step in after:
            value = step(value)
        return value

    return change


def _struct(column: Column, parent: str) -> _Make:
    name = f"{parent}{column.name}"
    made = [_Field(field, f"{name}.") for field in column.fields]
    fields = [(field.name, field.key, field.change, field.read) for field in made]

    def make(value: Any, event: Event, whole: _Whole) -> dict[str, Any]:
        if type(value) is not dict:
            raise convert.Invalid(convert.WRONG_TYPE, f"{convert.kind(value)} is not an object")
        found: dict[str, Any] = {}
        used: set[str] = set()
        for name, key, change, read in fields:
            if change is not None and (raw := value.get(key)) is not None and (type(raw) is not str or raw):
                try:
                    found[name] = change(raw)
                    used.add(key)
                    continue
                except convert.Invalid:
                    pass  # once more, with what becomes of it
            found[name] = read(value, event, whole, used)
        if len(used) < len(value):
            whole.taken = False
        return found

    return make


class _Field:
    """A field of a STRUCT: where in the object its value is, and what is made of it."""

    def __init__(self, column: Column, parent: str) -> None:
        self.name = column.name
        self._column, self._parent = column, parent
        self._names = [(source.name, sources.finder(source.name)) for source in column.sources]
        self._steps = transforms.text_steps(column)
        self._make = _elements(column, parent) if column.repeated else _element(column, parent)
        # Of a field that needs no more than a conversion: where its value is by default, and what makes it.
        self.key = self._names[0][0]
        self.change = None if self._steps or not column.scalar else _changed(column)

    def read(self, members: dict[str, Any], event: Event, whole: _Whole, used: set[str]) -> Any:
        """Raises convert.Invalid where the field says so, or is REQUIRED and has no value."""
        raw = None
        try:
            for name, find in self._names:
                raw, top = members.get(name), name
                if raw is None and "." in name and (found := find(members)) is not None:
                    (top, *_), raw = found
                value = transforms.apply(self._steps, raw)
                if value is not None and (type(value) is not str or value):
                    if top == name:  # of an object inside, other members may be left
                        used.add(top)
                    return self._make(value, event, whole)
                if top in members and top == name:
                    used.add(top)
        except convert.Invalid as error:
            if not self._column.lenient:
                raise convert.Invalid(error.reason, f"{self._parent}{self.name}: {error.detail}") from error
            whole.taken = False
            event.note(f"{self._parent}{self.name}", error.reason, error.detail, raw)
            return [] if self._column.repeated else None
        if self._column.required:
            raise convert.Invalid(MISSING, f"{self._parent}{self.name} has no value")
        return [] if self._column.repeated else None
