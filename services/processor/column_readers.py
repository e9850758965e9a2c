"""Makes a function of each column, once per schema: it reads a column's typed value from an event."""

from __future__ import annotations

from typing import Any

from services.processor import convert, nested_columns, sources, transforms
from services.processor.event import Event
from services.processor.sources import Read
from services.shared.schema import STRUCT, Column, Source


class Missing(Exception):
    """A required column has no value."""


def reader(column: Column) -> Read:
    """A function that returns the column's typed value, or None; it raises convert.Invalid, or Missing if REQUIRED."""
    read = nested_columns.reader(column) if column.repeated or column.type == STRUCT else _scalar(column)
    return _required(read) if column.required else read


def _scalar(column: Column) -> Read:
    if not column.transforms and all(_is_plain(source) for source in column.sources):
        return _parameter([source.name for source in column.sources], column.type)
    readers = [
        transformed(source, column) if column.transforms else of_source(source, column.type, column.time_zone)
        for source in column.sources
    ]
    if len(readers) == 1:
        return readers[0]

    def first_of(event: Event) -> Any:
        for read in readers:
            value = read(event)
            if value is not None:
                return value
        return None

    return first_of


def _required(read: Read) -> Read:
    def required(event: Event) -> Any:
        value = read(event)
        if value is None:
            raise Missing
        return value

    return required


def _is_plain(source: Source) -> bool:
    return source.namespace == "param" and source.name != "*" and "." not in source.name


def of_source(source: Source, kind: str, time_zone: str = "UTC") -> Read:
    """A reader of one source of a column of that type, without a transformation."""
    name = source.name
    match source.namespace:
        case "param" if name == "*":
            return lambda event: None  # filled once all other columns have taken theirs
        case "param" if "." in name:
            return _path(name, kind)
        case "param":
            return _parameter([name], kind)
        case "header" | "lookup":  # text
            converter = convert.json_from_text if kind == "JSON" else convert.CONVERTERS[kind]
            get = sources.raw(source)
            return lambda event: converter(value) if (value := get(event)[1]) else None
    return sources.own(source, time_zone)


def _parameter(names: list[str], kind: str) -> Read:
    """A reader of the first of several parameters that has a value."""
    converter = convert.CONVERTERS[kind]
    from_text = convert.json_from_text if kind == "JSON" else converter
    is_text = kind == "STRING"

    def read(event: Event) -> Any:
        first = event.first
        for name in names:
            value = first.get(name)
            if value is not None and (type(value) is not str or value):
                if not is_text or type(value) is not str:  # a text is a STRING as is
                    value = converter(value) if name in event.posted else from_text(value)
                event.left.pop(name, None)
                return value
        return None

    return read


def _path(name: str, kind: str) -> Read:
    """A reader of a value inside the objects of a parameter, or of a parameter whose name has dots."""
    of_parameter, find = _parameter([name], kind), sources.finder(name)
    converter = convert.CONVERTERS[kind]

    def read(event: Event) -> Any:
        value = of_parameter(event)
        if value is None and (found := find(event.first)) is not None:
            path, raw = found
            value = converter(raw)
            event.taken.append(path)
        return value

    return read


def transformed(source: Source, column: Column) -> Read:
    """A reader of one source of a column with transformations."""
    get = sources.raw(source, column.time_zone)
    steps, after = transforms.text_steps(column), transforms.value_steps(column)
    converter = convert.CONVERTERS[column.type]
    typed = source.namespace not in ("param", "header", "lookup")
    changes = transforms.changes(column)

    def read(event: Event) -> Any:
        path, raw = get(event)
        if type(raw) is str and changes is not None:
            value = raw
            for change in changes:
                value = change(value)
                if value is None:
                    return None
        else:
            value = transforms.apply(steps, raw)
        if value is None or (type(value) is str and not value):
            return None
        if not typed or value is not raw:
            value = converter(value)
        for step in after:
            value = step(value)
        if path:
            event.take(path)
        return value

    return read
