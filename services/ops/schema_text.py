"""Puts lines into a schema file, whose own lines and comments stay as they are. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from services.shared import schema_yaml
from services.shared.schema import SchemaError

_EVERYTHING = "param.*"


class NoPlace(Exception):
    """The columns are written in a way that leaves no place for more; says which."""


def tables(text: str, file: str) -> dict[str, str]:
    """The file's tables that have a column of `param.*`: their names as written, `{tenant}` included, and its name."""
    return {name: column for name, (column, _, _) in _places(text, file).items()}


def insert(text: str, file: str, lines: Mapping[str, Sequence[str]]) -> str:
    """The file with lines before the column of each table that takes `param.*`, indented as that. Raises NoPlace."""
    places = _places(text, file)
    rows = text.split("\n")
    wanted: dict[int, list[str]] = {}
    for name, more in lines.items():
        if not more:
            continue
        _, key, is_flow = places[name]
        if is_flow:
            raise NoPlace(f"table {name}: its columns stand in {{…}}; write them a line each")
        indent = " " * key.start_mark.column
        # The same lines may be the columns of several tables, by an alias.
        wanted.setdefault(key.start_mark.line, [f"{indent}{one}" for one in more])
    for line, more in sorted(wanted.items(), reverse=True):
        rows[line:line] = more
    return "\n".join(rows)


def _places(text: str, file: str) -> dict[str, tuple[str, Any, bool]]:
    """By table: the name of the column, the node of that, and whether its columns stand in braces."""
    root = schema_yaml.compose(text, file)
    if root is None:
        raise SchemaError(f"{file}:1:1: the file is empty; it needs `tables:`")
    found = {}
    for table in _value(root, "tables").value:
        columns = _value(table[1], "columns")
        for key, spec in columns.value:
            if getattr(_value(spec, "from"), "value", None) == _EVERYTHING:
                found[str(table[0].value)] = (str(key.value), key, bool(columns.flow_style))
    return found


def _value(node: Any, name: str) -> Any:
    """The value of a mapping's key; None if it has none."""
    return next((value for key, value in node.value if key.value == name), None)
