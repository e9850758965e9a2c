"""Tables and views: made, changed and dropped, in the catalog and in DuckDB, in one commit."""

from __future__ import annotations

import datetime as dt
import re
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from emulators.bigquery import catalog, table_schema
from emulators.bigquery.catalog import Table, check_etag
from emulators.bigquery.errors import ApiError, duplicate, invalid
from emulators.bigquery.nested_types import duckdb_type, is_array
from emulators.bigquery.sql import dialect, nested, statement
from emulators.bigquery.sql.scope import Context
from emulators.bigquery.store import Store
from emulators.bigquery.table_schema import Column, quote
from emulators.bigquery.writer import Connection

NAME = re.compile(r"[A-Za-z0-9_\- ]{1,1024}")
PLAIN = ("description", "friendlyName", "labels")
IGNORED = {
    "kind", "id", "etag", "selfLink", "tableReference", "creationTime", "lastModifiedTime", "numRows", "numBytes",
    "type",
    "numLongTermBytes", "location", "numActiveLogicalBytes", "numTotalLogicalBytes", "numPartitions",
}  # fmt: skip
EXPIRATION = "partitionExpirationMs"  # how the catalog keeps timePartitioning.expirationMs; nothing expires here
SHAPING = {"schema", "timePartitioning", "requirePartitionFilter", "clustering", "view"}
CLUSTERABLE = {"STRING", "INT64", "NUMERIC", "BOOL", "DATE", "DATETIME", "TIMESTAMP"}


def resource(table: Table) -> dict[str, Any]:
    """The Table of the REST API without the counts of its rows."""
    found: dict[str, Any] = {
        "kind": "bigquery#table",
        "etag": table.etag,
        "id": table.title,
        "tableReference": {"projectId": table.project, "datasetId": table.dataset, "tableId": table.name},
        "type": "TABLE" if table.view is None else "VIEW",
        "location": "US",
        "creationTime": str(table.created),
        "lastModifiedTime": str(table.modified),
        "schema": {"fields": [column.resource() for column in table.columns]},
        **{name: value for name, value in table.fields.items() if value is not None and name != EXPIRATION},
    }
    if table.view is not None:
        found["view"] = {"query": table.view, "useLegacySql": False}
    if table.partition is not None:
        found["timePartitioning"] = {"type": "DAY", "field": table.partition}
        if EXPIRATION in table.fields:
            found["timePartitioning"]["expirationMs"] = table.fields[EXPIRATION]
        if table.require_filter:
            found["timePartitioning"]["requirePartitionFilter"] = True
            found["requirePartitionFilter"] = True
    if table.clustering:
        found["clustering"] = {"fields": list(table.clustering)}
    return found


def define(store: Store, project: str, dataset: str, name: str, body: Mapping[str, Any]) -> Table:
    """The table a request describes, without an id; ApiError 400 for what it describes wrongly or cannot have."""
    if not NAME.fullmatch(name):
        raise invalid(f'Invalid table ID "{name}".')
    for key, value in body.items():
        if key not in SHAPING | IGNORED | set(PLAIN) and value not in (None, {}, [], "", False):
            raise invalid(f"The local BigQuery emulator does not support {key} of a table")
    now = time.time_ns() // 1_000_000
    fields = {key: body[key] for key in PLAIN if body.get(key) is not None}
    if expiration := (body.get("timePartitioning") or {}).get("expirationMs"):
        fields[EXPIRATION] = str(expiration)
    if not isinstance(fields.get("labels", {}), dict):
        raise invalid("labels must be an object")
    described = table_schema.parse((body.get("schema") or {}).get("fields") or [])
    table = Table(project, dataset, name, 0, now, now, 0, described, fields=fields)
    if body.get("view") is not None:
        return _define_view(store, table, body["view"])
    partition, required = _partitioning(table, body)
    table = replace(table, partition=partition, require_filter=required)
    return replace(table, clustering=_clustering(table, body))


def _partitioning(table: Table, body: Mapping[str, Any]) -> tuple[str | None, bool]:
    given = body.get("timePartitioning")
    required = bool(body.get("requirePartitionFilter"))
    if not given:
        if required:
            raise invalid("requirePartitionFilter needs timePartitioning")
        return None, False
    if given.get("type", "DAY") != "DAY":
        raise invalid(f"The local BigQuery emulator does not support timePartitioning of type {given.get('type')}")
    if not given.get("field"):
        raise invalid("The local BigQuery emulator partitions by a column only: timePartitioning.field is missing")
    column = table.column(str(given["field"]))
    if column is None:
        raise invalid(f"The field specified for partitioning cannot be found in the schema: {given['field']}")
    if column.type not in ("DATE", "TIMESTAMP"):
        raise invalid(f"The field specified for partitioning must be of type DATE or TIMESTAMP, not {column.type}")
    return column.name, required or bool(given.get("requirePartitionFilter"))


def _clustering(table: Table, body: Mapping[str, Any]) -> tuple[str, ...]:
    names = (body.get("clustering") or {}).get("fields") or []
    if len(names) > 4:
        raise invalid(f"Too many clustering fields: {len(names)}. At most 4 are allowed.")
    found: list[str] = []
    for name in names:
        column = table.column(str(name))
        if column is None:
            raise invalid(f"The field specified for clustering cannot be found in the schema: {name}")
        if column.type not in CLUSTERABLE:
            raise invalid(f"Field {name} has type {column.type}, which cannot be used for clustering")
        if column.name in found:
            raise invalid(f"Duplicate clustering field: {name}")
        found.append(column.name)
    return tuple(found)


def _define_view(store: Store, table: Table, view: Mapping[str, Any]) -> Table:
    if view.get("useLegacySql", True) is not False:
        raise invalid("The local BigQuery emulator does not support legacy SQL: set view.useLegacySql to false")
    if view.get("userDefinedFunctionResources"):
        raise invalid("The local BigQuery emulator does not support userDefinedFunctionResources of a view")
    text = view.get("query")
    if not isinstance(text, str) or not text.strip():
        raise invalid("Required parameter is missing: view.query")
    return replace(table, view=text, columns=view_columns(store, table, text))


def view_columns(store: Store, view: Table, text: str) -> tuple[Column, ...]:
    """The columns a view's query gives now; ApiError when the query is wrong."""
    now = dt.datetime.now(dt.UTC)
    context = Context(store.catalog, view.project, None, {}, [], now, filters_required=False, views=(view.title,))
    read = statement.read(dialect.parse(text), context)
    if read.kind != "SELECT":
        raise invalid(f"A view must be a query, not {read.kind}")
    described = {column.name.lower(): column.description for column in view.columns}
    found: list[Column] = []
    for output in read.query.outputs:
        name = output.name or ""
        found.append(table_schema.of_type(name, output.type, described.get(name.lower())))
    return tuple(found)


async def create(store: Store, table: Table) -> Table:
    """Make a defined table; ApiError 404 without its dataset, 409 when there is one of its name."""
    return await store.write(lambda connection: create_now(connection, store, table), store.catalog.set_table)


def create_now(connection: Connection, store: Store, table: Table) -> Table:
    """The part of `create` that runs on the writer thread."""
    store.catalog.dataset(table.project, table.dataset)
    if table.key in store.catalog.tables:
        raise duplicate(f"Table {table.title}")
    return build(connection, table)


def build(connection: Connection, table: Table) -> Table:
    """Give the table an id, a DuckDB table and its place in the file's catalog."""
    table = replace(table, id=catalog.next_id(connection))
    if table.view is None:
        listed = ", ".join(f"{_declared(column)}{' NOT NULL' if column.required else ''}" for column in table.columns)
        # DuckDB has no table without columns, BigQuery does: rows go in once a schema is set.
        written = f"{catalog.WRITTEN} {catalog.WRITTEN_TYPE}"
        connection.execute(f"CREATE TABLE {table.rows} ({listed or f'{quote(HOLLOW)} BOOLEAN'}, {written})")
    catalog.put_table(connection, table)
    return table


HOLLOW = "no column yet"


def _declared(column: Column) -> str:
    """The column in DuckDB's DDL: an array is empty where it is not given, never NULL."""
    return f"{quote(column.name)} {duckdb_type(column.type)}{' DEFAULT []' if is_array(column.type) else ''}"


async def change(
    store: Store, project: str, dataset: str, name: str, body: Mapping[str, Any], match: str | None, *, patch: bool
) -> Table:
    """Update or patch; ApiError 412 for a stale etag, 400 for a change BigQuery does not allow."""

    def apply(connection: Connection) -> Table:
        old = store.catalog.table(project, dataset, name)
        check_etag(match, old.etag)
        new = _changed(store, old, body, patch)
        alter(connection, old, new)
        return new

    return await store.write(apply, store.catalog.set_table)


def _changed(store: Store, old: Table, body: Mapping[str, Any], patch: bool) -> Table:
    # A client that knows no schema sends null for it, which means: leave it.
    body = {key: value for key, value in body.items() if value is not None or key != "schema"}
    wanted = dict(body)
    if patch:
        merged = {key: value for key, value in old.fields.items() if key not in (*body, EXPIRATION)}
        labels = body.get("labels")
        if isinstance(labels, dict):
            both = {**(old.fields.get("labels") or {}), **labels}
            wanted["labels"] = {key: value for key, value in both.items() if value is not None}
        known = resource(old)
        for key in SHAPING:
            if key not in body and key in known:
                wanted[key] = known[key]
        wanted = {**merged, **wanted}
        if "timePartitioning" in body and "requirePartitionFilter" not in body:
            wanted.pop("requirePartitionFilter", None)
        if body.get("requirePartitionFilter") is False and isinstance(wanted.get("timePartitioning"), dict):
            wanted["timePartitioning"] = {**wanted["timePartitioning"], "requirePartitionFilter": False}
    elif "schema" not in wanted and old.view is None:
        wanted["schema"] = resource(old)["schema"]
    if old.view is not None and wanted.get("view") is None:
        wanted["view"] = resource(old)["view"]
    new = define(store, old.project, old.dataset, old.name, wanted)
    if (new.view is None) != (old.view is None):
        raise invalid(f"Cannot change {old.title} from a {'table' if old.view is None else 'view'} into the other")
    if new.partition != old.partition:
        raise invalid(f"Cannot change partitioning of table {old.title} from {old.partition} to {new.partition}")
    shaped = new.columns if old.view is not None else table_schema.evolved(old.title, old.columns, new.columns)
    modified = max(old.modified + 1, new.modified)
    new = replace(new, modified=modified, revision=old.revision + 1, columns=shaped)
    return replace(new, id=old.id, created=old.created, policies=old.policies)


def alter(connection: Connection, old: Table, new: Table) -> None:
    """Bring the DuckDB table from the old columns to the evolved ones, and the file's catalog with it."""
    if old.view is None:
        for before, after in zip(old.columns, new.columns, strict=False):
            if before.required and not after.required:
                connection.execute(f"ALTER TABLE {old.rows} ALTER COLUMN {quote(before.name)} DROP NOT NULL")
            if before.type != after.type:
                connection.execute(_widened(old, after))
        for column in new.columns[len(old.columns) :]:
            connection.execute(f"ALTER TABLE {old.rows} ADD COLUMN {_declared(column)}")
        if not old.columns and new.columns:
            connection.execute(f"ALTER TABLE {old.rows} DROP COLUMN {quote(HOLLOW)}")
    catalog.put_table(connection, new)


def _widened(old: Table, column: Column) -> str:
    """A RECORD gains fields: NULL in the rows that are there, arrays empty."""
    name, type_ = quote(column.name), duckdb_type(column.type)
    whole = nested.stored(f"CAST({name} AS {type_})", column)
    return f"ALTER TABLE {old.rows} ALTER COLUMN {name} SET DATA TYPE {type_} USING {whole}"


async def delete(store: Store, project: str, dataset: str, name: str, match: str | None = None) -> None:
    def apply(connection: Connection) -> None:
        table = store.catalog.table(project, dataset, name)
        check_etag(match, table.etag)
        drop_now(connection, table)

    await store.write(apply, lambda _: store.catalog.forget_table((project, dataset, name)))


def drop_now(connection: Connection, table: Table) -> None:
    if table.view is None:
        connection.execute(f"DROP TABLE {table.rows}")
    catalog.drop_table(connection, table.key)


def require_rows(table: Table) -> None:
    if table.view is not None:
        raise ApiError(400, "invalid", f"Cannot list or write the rows of the view {table.title}")
