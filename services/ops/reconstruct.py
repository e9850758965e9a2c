"""Turns a reject back into what it was: the processor's rejects hold a hit, the loader's a typed row. Pure."""

from __future__ import annotations

import dataclasses
from typing import Any

import msgspec
import pyarrow as pa

from services.loader import reject_rows
from services.ops.rejects import Reject
from services.processor import convert, parse
from services.shared import hit, rows
from services.shared.errors import Poison
from services.shared.hit import Hit
from services.shared.schema import REJECTS, STRUCT, Column, Schema

# What the processor says of a body that is JSON and no object; any other bad body stands in the reject as a text.
NOT_AN_OBJECT = "the body is not a JSON object"
_FLOATS = {"nan": float("nan"), "inf": float("inf"), "-inf": float("-inf")}  # not JSON: the loader writes their names


class NotReplayable(Exception):
    """The original cannot be restored from this reject, or not without doubt; says why."""


def hit_of(reject: Reject, tenant: str = "") -> bytes:
    """The hit of a reject of the processor, with its id, as a line of a pack. Raises NotReplayable.

    `tenant` is whose it is if it has none.
    """
    try:
        found = msgspec.json.decode(_text(reject), type=Hit)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise NotReplayable(f"its hit cannot be read: {error}") from error
    body = bytes(found.body)
    if body:
        if reject.reason == parse.BAD_BODY and body[:1] == b'"' and reject.detail != NOT_AN_OBJECT:
            body = _item(body) if found.via else _unwrapped(body)
        # Between tokens a line end means nothing to JSON; a pack has one hit a line.
        found = msgspec.structs.replace(found, body=msgspec.Raw(body.replace(b"\n", b" ").replace(b"\r", b" ")))
    # It was over its tenant's rate then; to replay it is to take it now.
    found = msgspec.structs.replace(found, tenant=found.tenant or tenant, limited=False)
    line = hit.encode(found)
    try:
        hit.unpack(*hit.pack([line], found.id))
    except Poison as error:  # its whole pack would be dead-lettered
        raise NotReplayable(f"its hit does not travel: {error}") from error
    return line


def _item(body: bytes) -> bytes:
    """An item of another protocol, from the string it stands as; unless a string is what was sent."""
    text = msgspec.json.decode(body, type=str)
    try:
        convert.decode_json(text)
    except convert.Invalid:
        try:
            return _unwrapped(body)
        except NotReplayable:
            return body
    return body  # what this text says would not stand as a string


def _unwrapped(body: bytes) -> bytes:
    """A body that the processor took for invalid JSON, from the text that the reject holds.

    Packs carry JSON only, so a body from the collector is JSON all the same, such as one nested too deeply. Bytes that
    were not UTF-8 come back as the UTF-8 of their reading as Latin-1, which is how the pipeline reads them everywhere.
    """
    text = msgspec.json.decode(body, type=str)
    try:
        msgspec.json.decode(text, type=msgspec.Raw)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise NotReplayable(f"its body was never JSON, and no pack can carry it: {error}") from error
    return text.encode()


def row_of(reject: Reject, schema: Schema) -> tuple[str, pa.RecordBatch]:
    """The table and the one row of a reject of the loader, by the schema file of today. Raises NotReplayable."""
    table = schema.tables.get(reject.table or "")
    if table is None or table.name == REJECTS:
        raise NotReplayable(f"the schema file has no table {reject.table!r} for its row")
    try:
        found = convert.decode_json(_text(reject))
    except convert.Invalid as error:
        raise NotReplayable(f"its row cannot be read: {error}") from error
    if not isinstance(found, dict):
        raise NotReplayable("its row is not a JSON object")
    _check_whole(found)
    if unknown := [name for name in found if all(column.name != name for column in table.columns)]:
        raise NotReplayable(f"the schema file has no column {', '.join(map(repr, unknown))} in table {table.name}")
    arrow = rows.arrow_schema(table)
    arrays = []
    for column in table.columns:
        value = _value(column, found.get(column.name), column.name)
        try:
            arrays.append(pa.array([value], arrow.field(column.name).type))
        except (pa.ArrowException, ValueError, TypeError, OverflowError) as error:
            raise NotReplayable(f"column {column.name}: {error}") from error
    return table.name, pa.RecordBatch.from_arrays(arrays, schema=arrow)


def _text(reject: Reject) -> str:
    # TO_JSON_STRING makes the text `null` of NULL.
    if reject.hit is None or reject.hit == "null":
        raise NotReplayable("the reject holds no original")
    return reject.hit


def _check_whole(row: dict[str, Any]) -> None:
    """The loader cuts the texts of a very long row, and then none is longer: that is no longer the original."""
    longest = max((len(value) for value in row.values() if isinstance(value, str)), default=0)
    if longest == reject_rows.CUT:
        raise NotReplayable(f"its row seems to be cut: its longest text has exactly {reject_rows.CUT} characters")


def _value(column: Column, value: Any, name: str) -> Any:
    if column.repeated:
        if not isinstance(value, list | None):
            raise NotReplayable(f"column {name}: {value!r} is not a list")
        one = dataclasses.replace(column, repeated=False)
        return [_value(one, element, name) for element in value or ()]
    if value is None:
        if column.required:
            raise NotReplayable(f"column {name} is REQUIRED, and the row has no value")
        return None
    if column.type == STRUCT:
        if not isinstance(value, dict):
            raise NotReplayable(f"column {name}: {value!r} is not an object")
        return {field.name: _value(field, value.get(field.name), f"{name}.{field.name}") for field in column.fields}
    if column.type == "FLOAT64" and isinstance(value, str) and value in _FLOATS:
        return _FLOATS[value]
    if column.type in ("STRING", "JSON"):  # JSON stays the text it was
        if not isinstance(value, str):
            raise NotReplayable(f"column {name}: {value!r} is not a text")
        return value
    try:
        return convert.CONVERTERS[column.type](value)
    except convert.Invalid as error:
        raise NotReplayable(f"column {name}: {error}") from error
