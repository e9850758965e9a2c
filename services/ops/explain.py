"""Says what the processor makes of a hit, column by column: from which source, changed how, and what is left. Pure."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Iterator
from typing import Any

import msgspec
import pyarrow as pa

from services.loader.json_values import to_json_values
from services.processor import column_readers, convert, event, sources
from services.processor.event import Event
from services.processor.parse import Parser, Reject, Row
from services.shared import rows
from services.shared.hit import Hit
from services.shared.schema import LOOKUP, OPEN_SOURCES, Column, Schema, Source, Table

_SHOWN = 256  # characters of what was sent
_MOST_NAMES, _DEEPEST = 200, 5  # of what no column took


def explain(parser: Parser, schema: Schema, hit: Hit, now: int) -> dict[str, Any]:
    """What becomes of one hit, as JSON has it; `now` is in microseconds since 1970.

    `row` holds the columns with a value; `changed` what was sent, where it is stored otherwise; `from` the source that
    filled a column, where it has several; `empty` the ways to what has a column and was sent without a value;
    `unknown` those to what no column took, and `kept_in` the column that has both. Of a reject `row` is that of
    `rejects`, `reject` says why, and `known` has the columns of the table that it was meant for. `computed` are the
    expressions of the view. `sampled_out`: a sample leaves the row out. `copies` say the same of the event's rows in
    other tables.
    """
    found = parser.parse(hit, now)
    said: dict[str, Any] = {"protocol": hit.via or hit.protocol, "id": hit.id}
    for name, value in (("tenant", hit.tenant), ("opt_out", hit.opt_out), ("anonymized", hit.anonymized)):
        if value:
            said[name] = value
    if isinstance(found, Reject):
        said |= {
            "outcome": "reject",
            "reject": _reasons(found),
            "row": _values(schema.rejects, refused := parser.reject_row(hit, found, now)),
        }
        if found.table is None:
            return said
        table = schema.tables[found.table]
        said["known"] = _known(table, parser, hit, _key(schema.rejects, refused))
        kept = schema.rejects.column_from("reject.hit")
        return said | _origins(table, parser, hit, said["known"]) | {"kept_in": kept and kept.name}
    table = schema.tables[found.table]
    said |= _row(table, found)
    if found.copies:
        said["copies"] = [_copy(schema, copy) for copy in found.copies]
    return said | _origins(table, parser, hit, said["row"])


def _key(rejects: Table, row: Row) -> tuple[str, int]:
    """Event id and day of a reject."""
    values = dict(zip((column.name for column in rejects.columns), row.values, strict=True))
    return values[rejects.filled_by("event.id").name], values[rejects.filled_by("event.day").name]


def _known(table: Table, parser: Parser, hit: Hit, key: tuple[str, int]) -> dict[str, Any]:
    """The columns that would have a value, had the event not been refused."""
    values: list[Any] = []
    for column in table.columns:
        one = _gathered(hit, parser.event)
        one.id, one.day = key
        try:
            values.append(column_readers.reader(dataclasses.replace(column, required=False))(one))
        except convert.Invalid:
            values.append(None)
    return _values(table, Row(table.name, values))


def _row(table: Table, found: Row) -> dict[str, Any]:
    said: dict[str, Any] = {"outcome": "row", "table": table.name, "row": _values(table, found)}
    said["problems"] = [msgspec.to_builtins(problem) for problem in found.problems]
    if table.expressions:
        said["computed"] = {column.name: column.expression for column in table.expressions}
    if found.sampled_out:
        said["sampled_out"] = True
    return said


def _copy(schema: Schema, copy: Row | Reject) -> dict[str, Any]:
    if isinstance(copy, Row):
        return _row(schema.tables[copy.table], copy)
    return {"outcome": "left_out", "table": copy.table, "reject": _reasons(copy)}


def _reasons(found: Reject) -> dict[str, Any]:
    return {name: value for name, value in msgspec.structs.asdict(found).items() if value is not None}


def _values(table: Table, row: Row) -> dict[str, Any]:
    arrow = rows.arrow_schema(table)
    found = {}
    for column, field, value in zip(table.columns, arrow, row.values, strict=True):
        if value is None or value == []:
            continue
        (shown,) = to_json_values(pa.array([value], field.type))
        found[column.name] = _parsed(shown) if column.type == "JSON" and not column.repeated else shown
    return found


def _parsed(text: str) -> Any:
    """A JSON column's value as it stands in BigQuery."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _origins(table: Table, parser: Parser, hit: Hit, row: dict[str, Any]) -> dict[str, Any]:
    try:
        whole = _gathered(hit, parser.event)
    except convert.Invalid:
        return {}
    came: dict[str, str] = {}
    changed: dict[str, Any] = {}
    misfits: set[str] = set()  # parameters of columns that they do not fit: problems name them
    columned: set[str] = set()
    for column in table.columns:
        if column.sources[0].name == "*":
            continue
        names = {source.name for source in column.sources if source.namespace == "param"}
        columned |= names
        if not _take(column, whole):
            misfits |= names
        source, sent = _filled(column, parser, hit)
        if source is None:
            continue
        if len(column.sources) > 1:
            came[column.name] = str(source)
        if column.name in row and sent is not None and sent != _text(row[column.name]):
            changed[column.name] = sent[:_SHOWN]
    event.rest(whole)
    kept_in = next((column.name for column in table.columns if column.sources[0].name == "*"), None)
    left = dict(itertools.islice(_leaves(whole.left), _MOST_NAMES))
    empty = [way for way, value in left.items() if way in columned and value in ("", None)]
    apart = {way for way in left if any(f"{way}.".startswith(f"{name}.") for name in misfits)}.union(empty)
    unknown = [way for way in left if way not in apart]
    return {"from": came, "changed": changed, "empty": empty, "unknown": unknown, "kept_in": kept_in}


def parameters(hit: Hit) -> dict[str, Any]:
    """The parameters of a hit by name, as its protocol is read; none of an item that is no event."""
    try:
        return _gathered(hit).first
    except convert.Invalid:
        return {}


def protected(before: Hit, after: Hit) -> dict[str, list[str]]:
    """What `privacy` took from a hit, and what it changed: parameters, headers and the address, by their sources.

    Secrets are in neither of the two.
    """
    old, new = _said(before), _said(after)
    return {
        "removed": sorted(old.keys() - new.keys())[:_MOST_NAMES],
        "changed": sorted(name for name in old.keys() & new.keys() if old[name] != new[name])[:_MOST_NAMES],
    }


def _said(hit: Hit) -> dict[str, Any]:
    found: dict[str, Any] = {f"header.{name}": value for name, value in hit.headers.items()}
    if hit.ip:
        found["hit.ip"] = hit.ip
    try:
        members = _gathered(hit).first
    except convert.Invalid:
        return found
    return found | {f"param.{way}": value for way, value in _leaves(members)}


def _leaves(members: dict[str, Any], above: str = "", depth: int = 1) -> Iterator[tuple[str, Any]]:
    """The ways to the values inside objects, and the values."""
    for name, value in members.items():
        if type(value) is dict and value and depth < _DEEPEST:
            yield from _leaves(value, f"{above}{name}.", depth + 1)
        else:
            yield f"{above}{name}", value


def _gathered(hit: Hit, made: type[Event] = Event) -> Event:
    found = made(hit)
    event.gather(found)
    found.left.pop("event_id", None)
    return found


def _take(column: Column, whole: Event) -> bool:
    """Let a column take its parameters; False where they do not fit, and are left."""
    try:
        column_readers.reader(dataclasses.replace(column, required=False))(whole)
    except convert.Invalid:
        return False
    return True


def _filled(column: Column, parser: Parser, hit: Hit) -> tuple[Source | None, str | None]:
    """The source that has the column's value, and what was sent there, if a client sent it."""
    for source in column.sources:
        if str(source) == "event.problems" or source.namespace == "reject":
            continue
        one = _gathered(hit, parser.event)
        read = column_readers.reader(dataclasses.replace(column, sources=(source,), required=False))
        try:
            value = read(one)
        except convert.Invalid:
            pass  # it does not fit, and the column looks no further
        else:
            if value is None or value == []:
                continue
        sent = sources.raw(source)(one)[1] if source.namespace in (*OPEN_SOURCES, LOOKUP) else None
        return source, None if sent is None else _text(sent)
    return None, None


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    try:
        return convert.encode_json(value)
    except (convert.Invalid, TypeError):
        return str(value)
