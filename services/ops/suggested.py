"""Columns for what events bring and no column takes, as lines of a schema file. Pure."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from services.ops import observed
from services.ops.observed import Observed, Shape
from services.shared import schema
from services.shared.schema import Table

AGREE = 0.99  # of the values must fit a type; what does not costs only itself
LEAST_ROWS = 2  # in which a name must have come, however few rows there are
MOST_FIELDS = 30  # of a STRUCT

# Digits that are names and not amounts, and numbers that are times, by the last word of what they are called.
_LABELS = frozenset({"id", "ids", "code", "zip", "sku", "phone", "uuid", "key", "ref", "number", "no", "postcode"})
_TIMES = frozenset({"at", "time", "ts", "timestamp", "date"})
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_AROUND = ("properties", "context")  # where trackers keep what is told; a column needs no such word before it
_ORDER = (observed.BOOL, observed.INT64, observed.NUMERIC, observed.FLOAT64, observed.TIMESTAMP, observed.DATE,
          observed.DATETIME)  # fmt: skip
# What YAML takes for something else than a text.
_YAML_WORDS = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})


@dataclass(frozen=True)
class Suggestion:
    """One column; `path` is its parameter, `count` the rows that have it, `misfits` the values of another type."""

    name: str
    path: str
    type: str
    count: int
    misfits: int = 0
    repeated: bool = False
    fields: tuple[tuple[str, str], ...] = ()

    def line(self, rows: int) -> str:
        keys = [f"type: {self.type}", *(["mode: REPEATED"] if self.repeated else []), f"from: param.{self.path}"]
        if self.fields:
            inner = ", ".join(f"{_key(name)}: {{type: {kind}}}" for name, kind in self.fields)
            keys.append(f"fields: {{{inner}}}")
        said = f"{self.count:,} of {rows:,} rows, {100 * self.count / rows:.1f} %"
        said += f"; {self.misfits:,} values do not fit" if self.misfits else ""
        return f"{_key(self.name)}: {{{', '.join(keys)}}}  # {said}"


@dataclass
class Suggestions:
    """`columns`, the most frequent first; `left_out` counts names by why they are no column."""

    columns: list[Suggestion] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)


def suggest(
    found: Observed, table: Table, *, least_share: float, most: int, is_secret: Callable[[str], bool]
) -> Suggestions:
    """At most `most` columns, for names that a share of the rows has; none that the table has already."""
    made = Suggestions()
    if found.unsafe:
        made.left_out["values under names that are not plain"] = found.unsafe
    least = max(LEAST_ROWS, found.rows * least_share)
    sources = {source.name for column in table.columns for source in column.sources if source.namespace == "param"}
    names = {column.name.lower() for column in table.columns}
    wanted = list(_walk(found.root, "", least, made.left_out))
    wanted.sort(key=lambda item: (-item[1].count, item[0]))
    for path, shape in wanted:
        if path in sources:  # a value that did not fit its column
            continue
        if is_secret(path):
            made.left_out["secrets"] += 1
        elif len(made.columns) == most:
            made.left_out[f"over the {most} most frequent"] += 1
        elif (name := _name(path, names)) is None:
            made.left_out["without a free name for a column"] += 1
        else:
            names.add(name.lower())
            made.columns.append(_column(name, path, shape))
    return made


def _walk(shape: Shape, above: str, least: float, left_out: Counter[str]) -> Iterator[tuple[str, Shape]]:
    """The paths that may be columns: plain values, lists, and objects that no path leads into."""
    for name, inner in shape.members.items():
        path = f"{above}{name}"
        if inner.count < least:
            left_out["too rare"] += 1
        elif _mostly(inner.objects, inner) and _is_open(inner, path):
            yield from _walk(inner, f"{path}.", least, left_out)
        else:
            yield path, inner


def _is_open(shape: Shape, path: str) -> bool:
    """Whether the members of these objects can be columns of their own."""
    reached = shape.texts <= (1 - AGREE) * shape.objects
    return bool(shape.members) and not shape.is_map and reached and path.count(".") + 1 < observed.DEEPEST


def _mostly(count: int, shape: Shape) -> bool:
    return count >= AGREE * shape.count


def _name(path: str, taken: set[str]) -> str | None:
    parts = path.split(".")
    short = parts[1:] if parts[0] in _AROUND and len(parts) > 1 else parts
    for words in (short, parts, ["param", *parts]):
        name = "_".join(words)
        if name.lower() not in taken and schema.valid_name(name) is None:
            return name
    return None


def _column(name: str, path: str, shape: Shape) -> Suggestion:
    if _mostly(shape.plain, shape):
        kind, misfits = _type(shape, path)
        return Suggestion(name, path, kind, shape.count, shape.count - shape.plain + misfits)
    if _mostly(shape.lists, shape) and (elements := shape.elements) is not None and elements.count:
        if _mostly(elements.plain, elements):
            kind, misfits = _type(elements, path)
            misfits += elements.count - elements.plain
            return Suggestion(name, path, kind, shape.count, misfits, repeated=True)
        fields = _fields(elements)
        if _mostly(elements.objects, elements) and fields:
            misfits = elements.count - elements.objects
            return Suggestion(name, path, schema.STRUCT, shape.count, misfits, repeated=True, fields=fields)
    return Suggestion(name, path, "JSON", shape.count)


def _fields(elements: Shape) -> tuple[tuple[str, str], ...]:
    """Of the objects in a list; none where they are not simple."""
    members = elements.members
    if len(members) > MOST_FIELDS or any(not _mostly(inner.plain, inner) for inner in members.values()):
        return ()
    if len({name.lower() for name in members}) < len(members):
        return ()
    if any(schema.valid_name(name) is not None for name in members):
        return ()
    return tuple((name, _type(inner, name)[0]) for name, inner in members.items())


def _type(shape: Shape, path: str) -> tuple[str, int]:
    """The narrowest type that nearly all plain values fit, and how many do not."""
    words = [word.lower() for word in _WORD.findall(path.rpartition(".")[2])] or [""]
    last = words[-1]
    for kind in _ORDER:
        fits = shape.fits[kind]
        if not fits or fits < AGREE * shape.plain:
            continue
        if kind == observed.INT64:
            if last in _LABELS:
                break
            if last in _TIMES and shape.fits[observed.UNIX] == shape.plain:
                return observed.TIMESTAMP, 0
        return kind, shape.plain - fits
    return "STRING", 0


def _key(name: str) -> str:
    return json.dumps(name) if name.lower() in _YAML_WORDS else name
