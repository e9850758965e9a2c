"""Table functions: made, changed and dropped, in the catalog and in the file, in one commit. BigQuery's other routines
are refused.
"""

from __future__ import annotations

import datetime as dt
import re
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from emulators.bigquery import catalog
from emulators.bigquery.catalog import TableFunction, TableKey, check_etag
from emulators.bigquery.errors import ApiError, duplicate, invalid, invalid_query, not_found
from emulators.bigquery.execute import Publish
from emulators.bigquery.nested_types import array_of, element, is_array, is_struct, members, struct_of
from emulators.bigquery.sql import table_calls
from emulators.bigquery.sql.casts import named_type
from emulators.bigquery.sql.expr import null
from emulators.bigquery.sql.scope import Context
from emulators.bigquery.sql.table_functions import FunctionChange
from emulators.bigquery.store import Store
from emulators.bigquery.writer import Connection

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,255}")
KIND = "TABLE_VALUED_FUNCTION"
IGNORED = {"etag", "creationTime", "lastModifiedTime", "routineReference", "strictMode"}
READ = {"routineType", "language", "arguments", "definitionBody", "description"}


def resource(function: TableFunction) -> dict[str, Any]:
    """The Routine of the REST API. It has no returnTableType: the columns are those of the query."""
    found: dict[str, Any] = {
        "etag": function.etag,
        "routineReference": {
            "projectId": function.project,
            "datasetId": function.dataset,
            "routineId": function.name,
        },
        "routineType": KIND,
        "language": "SQL",
        "creationTime": str(function.created),
        "lastModifiedTime": str(function.modified),
        "arguments": [{"name": name, "dataType": _data_type(type_)} for name, type_ in function.arguments],
        "definitionBody": function.body,
    }
    return found | ({"description": function.description} if function.description is not None else {})


def _data_type(type_: str) -> dict[str, Any]:
    """A type as StandardSqlDataType."""
    if is_array(type_):
        return {"typeKind": "ARRAY", "arrayElementType": _data_type(element(type_))}
    if is_struct(type_):
        fields = [{"name": name, "type": _data_type(member)} for name, member in members(type_)]
        return {"typeKind": "STRUCT", "structType": {"fields": fields}}
    return {"typeKind": type_}


def _type(given: Mapping[str, Any]) -> str:
    """A StandardSqlDataType as a type; ApiError 400 for one that is none, or is not known here."""
    kind = str(given.get("typeKind") or "")
    if kind == "ARRAY":
        return array_of(_type(given.get("arrayElementType") or {}))
    if kind == "STRUCT":
        fields = (given.get("structType") or {}).get("fields") or []
        return struct_of((str(field.get("name") or ""), _type(field.get("type") or {})) for field in fields)
    if not kind:
        raise invalid("Invalid value for dataType: typeKind is missing")
    return named_type(kind)


def define(store: Store, key: TableKey, body: Mapping[str, Any]) -> TableFunction:
    """What a request describes; ApiError 400 for what it describes wrongly, or is no table function."""
    for name, value in body.items():
        if name not in READ | IGNORED and value not in (None, {}, [], "", False):
            raise invalid(f"The local BigQuery emulator does not support {name} of a routine")
    if body.get("routineType") != KIND:
        raise invalid(f"The local BigQuery emulator has routines of type {KIND} only, not {body.get('routineType')}")
    if body.get("language") not in (None, "", "SQL"):
        raise invalid(f"Invalid language for a table function: {body['language']}")
    text = body.get("definitionBody")
    if not isinstance(text, str) or not text.strip():
        raise ApiError(400, "required", "Required parameter is missing: definitionBody")
    arguments = tuple((_parameter(item), _type(item.get("dataType") or {})) for item in body.get("arguments") or ())
    return checked(store, key, arguments, text, body.get("description"))


def _parameter(item: Mapping[str, Any]) -> str:
    if item.get("argumentKind") not in (None, "", "ARGUMENT_KIND_UNSPECIFIED", "FIXED_TYPE"):
        raise invalid(f"The local BigQuery emulator does not support argumentKind {item['argumentKind']}")
    return str(item.get("name") or "")


def checked(
    store: Store, key: TableKey, arguments: tuple[tuple[str, str], ...], text: str, description: str | None
) -> TableFunction:
    """The function, whose query BigQuery would take; ApiError 400 for any other."""
    if not NAME.fullmatch(key[2]):
        raise invalid(f'Invalid routine ID "{key[2]}".')
    names = [name.lower() for name, _ in arguments]
    for name in names:
        if not NAME.fullmatch(name) or names.count(name) > 1:
            raise invalid_query(f"Invalid or duplicate parameter name: {name[:100]}")
    now = time.time_ns() // 1_000_000
    function = TableFunction(*key, now, now, arguments, text, description=description)
    given = {name.lower(): replace(null(type_), name=name) for name, type_ in arguments}
    context = Context(store.catalog, key[0], None, {}, [], dt.datetime.now(dt.UTC), filters_required=False)
    outputs = table_calls.relation(function, context, given).outputs
    for place, output in enumerate(outputs, 1):
        if output.name is None:
            raise invalid_query(f"Table function columns must be named, but column {place} has no name")
    return replace(function, columns=tuple((output.name or "", output.type) for output in outputs))


async def create(store: Store, function: TableFunction) -> TableFunction:
    """ApiError 404 without its dataset, 409 where there is one of its name."""

    def apply(connection: Connection) -> TableFunction:
        store.catalog.dataset(function.project, function.dataset)
        if function.key in store.catalog.functions:
            raise duplicate(f"Routine {function.title}")
        catalog.put_function(connection, function)
        return function

    return await store.write(apply, store.catalog.set_function)


async def change(store: Store, wanted: TableFunction, match: str | None) -> TableFunction:
    """Put it in the place of the one that is there; ApiError 412 for a stale etag."""

    def apply(connection: Connection) -> TableFunction:
        old = store.catalog.function(*wanted.key)
        check_etag(match, old.etag)
        new = _after(old, wanted)
        catalog.put_function(connection, new)
        return new

    return await store.write(apply, store.catalog.set_function)


def _after(old: TableFunction, new: TableFunction) -> TableFunction:
    return replace(new, created=old.created, modified=max(old.modified + 1, new.modified))


async def delete(store: Store, key: TableKey, match: str | None) -> None:
    def apply(connection: Connection) -> None:
        check_etag(match, store.catalog.function(*key).etag)
        catalog.drop_function(connection, key)

    await store.write(apply, lambda _: store.catalog.forget_function(key))


def apply_change(connection: Connection, store: Store, wanted: FunctionChange) -> tuple[str, Publish]:
    """Carry out a statement; return BigQuery's ddlOperationPerformed, and what makes it visible."""
    store.catalog.dataset(*wanted.key[:2])
    old = store.catalog.functions.get(wanted.key)
    if wanted.kind == "DROP_TABLE_FUNCTION":
        if old is None and wanted.unless:
            return "SKIP", lambda: None
        if old is None:
            raise not_found("Routine {}:{}.{}".format(*wanted.key))
        catalog.drop_function(connection, wanted.key)
        return "DROP", lambda: store.catalog.forget_function(wanted.key)
    if old is not None and wanted.unless:
        return "SKIP", lambda: None
    if old is not None and not wanted.replace:
        raise duplicate(f"Routine {old.title}")
    made = checked(store, wanted.key, wanted.arguments, wanted.body, wanted.description)
    made = made if old is None else _after(old, made)
    catalog.put_function(connection, made)
    return "CREATE" if old is None else "REPLACE", lambda: store.catalog.set_function(made)
