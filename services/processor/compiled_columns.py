"""Makes one function of a table's columns, once per schema: what `column_readers` does, without a call for each column.

The function is generated as Python text, as `dataclasses` does it. Of the schema file only names go into it, as
literals; a column that needs more than a parameter, a header or an enrichment is a call of its reader.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from services.processor import column_readers, convert, sources
from services.processor.column_readers import Missing
from services.processor.event import Event
from services.shared.schema import ENRICHMENTS, IN_A_ZONE, STRUCT, Column, Source

Fill = Callable[[Event, list[Any]], None]

_HEAD = """\
def fill(event, values):
    add, hit, first, left, posted, enriched = (
        values.append, event.hit, event.first, event.left, event.posted, event.enriched
    )
    headers = hit.headers
"""
_INDENT = "    "
_MOST_SOURCES = 16  # of a column: each is a level deeper than the one before, and Python takes 100 levels


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

    def function(self) -> Fill:
        made: dict[str, Any] = {}
        exec(_HEAD + "\n".join(self._lines), self._objects, made)  # noqa: S102 - of our own text and quoted names
        fill: Fill = made["fill"]
        return fill

    def add(self, column: Column) -> None:
        simple = not (column.transforms or column.repeated or column.type == STRUCT)
        if not simple or not 0 < len(column.sources) <= _MOST_SOURCES:
            self._line(1, f"add({self._object(column_readers.reader(column))}(event))")
            return
        for depth, source in enumerate(column.sources, 1):
            if depth > 1:
                self._line(depth - 1, "if v is None:")
            self._read(depth, source, column)
        if column.required:
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
