"""Makes one function of a table's columns, once per schema: what `column_readers` does, without a call for each column.

The function is generated as Python text, as `dataclasses` does it. Of the schema file only names go into it, as
literals; what is more than a parameter, a header, an enrichment or a transformation is a call.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from services.processor import column_readers, convert, nested_columns, sources, transforms
from services.processor.column_readers import Missing
from services.processor.event import Event
from services.shared.schema import ENRICHMENTS, IN_A_ZONE, STRUCT, Column, Source

Fill = Callable[[Event, list[Any]], None]

_HEAD = """\
def fill(event, values):
    add, take, hit, first, left, posted, enriched = (
        values.append, event.take, event.hit, event.first, event.left, event.posted, event.enriched
    )
    headers = hit.headers
"""
_INDENT = "    "
_EMPTY = "(type(v) is str and not v)"  # `v == ""` would take a Decimal a microsecond


def compiled(columns: Sequence[Column]) -> Fill:
    """A function that appends each column's value to a list.

    What it raises is as a reader raises it, for the column that the list is too short for.
    """
    code = _Code()
    for column in columns:
        code.add(column)
    return code.function()


class _Code:
    """The text of a function, and the objects that it names."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._objects: dict[str, Any] = {"Missing": Missing}
        self._names: dict[int, str] = {}  # of objects, by their identity
        self._found: set[str] = set()  # enrichments that are local variables by now
        self._inner: dict[str, str] = {}  # local variables of the objects that paths lead into, by parameter

    def function(self) -> Fill:
        made: dict[str, Any] = {}
        inner = [
            f"{_INDENT}if type({name} := first.get({outer!r})) is not dict:\n{_INDENT * 2}{name} = {{}}"
            for outer, name in self._inner.items()
        ]
        exec(_HEAD + "\n".join([*inner, *self._lines]), self._objects, made)  # noqa: S102 - our own text, quoted names
        fill: Fill = made["fill"]
        return fill

    def add(self, column: Column) -> None:
        nested = column.repeated or column.type == STRUCT
        read = self._nested if nested else self._transformed if column.transforms else self._read
        first, *others = column.sources
        read(1, first, column)
        for source in others:  # one after the other, not one in the other: Python takes 100 levels
            self._line(1, "if v is None:")
            read(2, source, column)
        if column.repeated:
            self._line(1, "if v is None:")
            self._line(2, "v = []")
        elif column.required:
            self._line(1, "if v is None:")
            self._line(2, "raise Missing")
        self._line(1, "add(v)")

    def _read(self, depth: int, source: Source, column: Column) -> None:
        """Let `v` be the source's value, or None."""
        name, kind = source.name, column.type
        match source.namespace:
            case "param" if name == "*":
                self._line(depth, "v = None")  # filled once all other columns have taken theirs
            case "param" if "." not in name:
                self._parameter(depth, repr(name), kind)
            case "param" if name.count(".") == 1:
                self._parameter(depth, repr(name), kind)
                self._line(depth, "if v is None:")
                self._member(depth + 1, name)
                self._line(depth + 1, "if v is not None:")
                self._line(depth + 2, f"v = {self._object(convert.CONVERTERS[kind])}(v)")
                self._line(depth + 2, "take(way)")
            case "header" if kind == "STRING":
                self._line(depth, f"v = headers.get({name!r}) or None")
            case "hit":
                self._line(depth, f"v = hit.{'at' if name == 'received_at' else name} or None")
            case "event" if str(source) not in IN_A_ZONE:
                self._line(depth, "v = None" if name == "problems" else f"v = event.{name}")
            case namespace if namespace in ENRICHMENTS:
                self._enrichment(depth, namespace)
                self._line(depth, f"v = {namespace}[{sources.place(source)}]")
            case _:
                self._line(
                    depth, f"v = {self._object(column_readers.of_source(source, kind, column.time_zone))}(event)"
                )

    def _sent(self, depth: int, source: Source, time_zone: str) -> None:
        """Let `v` be what was sent, or None, and `way` the way to it."""
        name = source.name
        if source.namespace != "param" or name.count(".") > 1:
            self._line(depth, f"way, v = {self._object(sources.raw(source, time_zone))}(event)")
            return
        self._line(depth, f"way, v = {(name,)!r}, first.get({name!r})")
        self._line(depth, f"if v is None or {_EMPTY}:")
        if "." in name:
            self._member(depth + 1, name)
        else:
            self._line(depth + 1, "v = None")

    def _member(self, depth: int, name: str) -> None:
        """The same of a value in a parameter's object, if that is one."""
        outer, _, rest = name.partition(".")
        inner = self._inner.setdefault(outer, f"inner{len(self._inner)}")
        self._line(depth, f"way, v = {(outer, rest)!r}, {inner}.get({rest!r})")
        self._line(depth, f"if {_EMPTY}:")
        self._line(depth + 1, "v = None")

    def _nested(self, depth: int, source: Source, column: Column) -> None:
        self._sent(depth, source, "UTC")
        self._line(depth, f"v = {self._object(nested_columns.filler(column))}(event, way, v)")

    def _transformed(self, depth: int, source: Source, column: Column) -> None:
        changes = transforms.changes(column)
        if changes is None or source.namespace != "param":
            self._line(depth, f"v = {self._object(column_readers.transformed(source, column))}(event)")
            return
        self._sent(depth, source, column.time_zone)
        if changes:
            self._line(depth, "if type(v) is str:")
            for change in changes:
                self._line(depth + 1, "if v is not None:")
                self._line(depth + 2, f"v = {self._object(change)}(v)")
            steps = self._object(transforms.text_steps(column))
            self._line(depth, "elif type(v) is list:")
            self._line(depth + 1, f"v = {self._object(transforms.apply)}({steps}, v)")
        self._line(depth, f"if v is None or {_EMPTY}:")
        self._line(depth + 1, "v = None")
        self._line(depth, "else:")
        for step in (convert.CONVERTERS[column.type], *transforms.value_steps(column)):
            self._line(depth + 1, f"v = {self._object(step)}(v)")
        self._line(depth + 1, "take(way)")

    def _parameter(self, depth: int, name: str, kind: str) -> None:
        change = from_text = f"v = {self._object(convert.CONVERTERS[kind])}(v)"
        if kind == "JSON":
            from_text += f" if {name} in posted else {self._object(convert.json_from_text)}(v)"
        self._line(depth, f"v = first.get({name})")
        self._line(depth, "if type(v) is str:")
        self._line(depth + 1, "if v:")
        if kind != "STRING":  # a text is one as it is
            self._line(depth + 2, from_text)
        self._line(depth + 2, f"left.pop({name}, None)")
        self._line(depth + 1, "else:")
        self._line(depth + 2, "v = None")
        self._line(depth, "elif v is not None:")
        self._line(depth + 1, change)
        self._line(depth + 1, f"left.pop({name}, None)")

    def _enrichment(self, depth: int, namespace: str) -> None:
        if namespace in self._found:
            return
        self._line(depth, f"{namespace} = enriched.get({namespace!r})")
        self._line(depth, f"if {namespace} is None:")
        self._line(depth + 1, f"{namespace} = {self._object(sources.enriched(namespace))}(event)")
        if depth == 1:  # else only where no source before has a value
            self._found.add(namespace)

    def _object(self, value: Any) -> str:
        name = self._names.setdefault(id(value), f"o{len(self._names)}")
        self._objects[name] = value
        return name

    def _line(self, depth: int, text: str) -> None:
        self._lines.append(_INDENT * depth + text)
