"""Load jobs: an uploaded file goes into a table in the same commit that marks the job as done."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import duckdb
import pyarrow as pa

from emulators.bigquery import append, ndjson, parquet, table_schema, tables
from emulators.bigquery.catalog import Table
from emulators.bigquery.errors import ApiError, duplicate, invalid
from emulators.bigquery.jobs import Job, keep, now_ms
from emulators.bigquery.query import Result
from emulators.bigquery.store import Store, query_error
from emulators.bigquery.writer import Connection

KNOWN = {
    "sourceFormat", "schema", "destinationTable", "createDisposition", "writeDisposition", "timePartitioning",
    "clustering", "ignoreUnknownValues", "maxBadRecords", "autodetect", "encoding", "sourceUris", "parquetOptions",
}  # fmt: skip
FORMATS = ("NEWLINE_DELIMITED_JSON", "PARQUET")
CREATES = ("CREATE_IF_NEEDED", "CREATE_NEVER")
WRITES = ("WRITE_APPEND", "WRITE_TRUNCATE", "WRITE_EMPTY")


def check(configuration: Mapping[str, Any]) -> None:
    """Refuse a configuration that is not fully supported, before a job is created."""
    for key, value in configuration.items():
        if key not in KNOWN and value not in (None, False, [], {}, "", 0, "0"):
            raise invalid(f"The local BigQuery emulator does not support {key} of a load job")
    for key in ("autodetect", "maxBadRecords", "sourceUris"):
        if configuration.get(key) not in (None, False, 0, "0", []):
            raise invalid(f"The local BigQuery emulator does not support {key} of a load job")
    _choice(configuration, "sourceFormat", FORMATS, "CSV")
    _choice(configuration, "createDisposition", CREATES, CREATES[0])
    _choice(configuration, "writeDisposition", WRITES, WRITES[0])
    for key, value in (configuration.get("parquetOptions") or {}).items():
        if value not in (None, False) and key != "enableListInference":
            raise invalid(f"The local BigQuery emulator does not support parquetOptions.{key} of a load job")
    if configuration.get("encoding") not in (None, "", "UTF-8"):
        raise invalid("The local BigQuery emulator loads UTF-8 only")
    if not all((configuration.get("destinationTable") or {}).get(part) for part in ("datasetId", "tableId")):
        raise ApiError(400, "required", "Required parameter is missing: destinationTable")


def _choice(configuration: Mapping[str, Any], key: str, known: tuple[str, ...], default: str) -> str:
    value = str(configuration.get(key) or default)
    if value not in known:
        raise invalid(f"The local BigQuery emulator does not support {key} {value} of a load job, only {known}")
    return value


async def run(store: Store, job: Job, configuration: Mapping[str, Any], data: bytes) -> None:
    """Load the bytes; if they are invalid, the job fails with the reason and the table is unchanged."""
    try:
        await _load(store, job, configuration, data)
    except ApiError as error:
        job.error = error
        ended = now_ms()
        await store.write(lambda connection: keep(connection, job, job.known(ended)))
        job.ended = ended


async def _load(store: Store, job: Job, configuration: Mapping[str, Any], data: bytes) -> None:
    target = configuration["destinationTable"]
    key = (target.get("projectId") or job.project, target["datasetId"], target["tableId"])
    store.catalog.dataset(*key[:2])
    table = store.catalog.tables.get(key)
    rows, given = await asyncio.to_thread(_read, configuration, table, data)

    def apply(connection: Connection) -> tuple[Table, int]:
        made = _destination(connection, store, key, configuration, given, seen=table)
        try:
            append.check_rows_of(made, rows, dt.datetime.now(dt.UTC).date())
            append.insert(connection, made, rows)
        except append.BadRows as bad:
            raise invalid(f"Error while reading data, error message: {bad}") from bad
        except (append.SchemaMismatch, append.TableGone) as mismatch:
            raise invalid(f"Error while reading data, error message: {mismatch}") from mismatch
        except duckdb.Error as error:
            raise query_error(error) from error
        ended = now_ms()
        job.statistics = {
            "load": {
                "inputFiles": "1",
                "inputFileBytes": str(len(data)),
                "outputRows": str(rows.num_rows),
                "outputBytes": str(rows.nbytes),
                "badRecords": "0",
            }
        }
        keep(connection, job, job.known(ended))
        return made, ended

    try:
        _, ended = await store.write(apply, lambda done: store.catalog.set_table(done[0]))
    except ApiError:
        job.statistics = {}
        raise
    job.ended = ended  # only now: who sees that it is done looks for the rows


def _read(
    configuration: Mapping[str, Any], table: Table | None, data: bytes
) -> tuple[pa.Table, tuple[table_schema.Column, ...] | None]:
    """The rows, typed for the table they go to, and the schema that came with the job if one did."""
    fields = (configuration.get("schema") or {}).get("fields")
    given = table_schema.parse(fields) if fields else None
    ignore = bool(configuration.get("ignoreUnknownValues"))
    lists = bool((configuration.get("parquetOptions") or {}).get("enableListInference"))
    known = given or (table.columns if table is not None else None)
    try:
        if configuration.get("sourceFormat") == "PARQUET":
            file = parquet.read(data)
            if known is None:
                known = given = table_schema.parse(
                    [column.resource() for column in parquet.described(file, lists=lists)]
                )
            return parquet.fitted(file, known, ignore_unknown=ignore, lists=lists), given
        if known is None:
            raise invalid("Schema has no fields: the table does not exist and the job gives no schema")
        return ndjson.read(data, known, ignore_unknown=ignore), given
    except (ndjson.BadLine, parquet.BadFile) as bad:
        raise invalid(f"Error while reading data, error message: {bad}") from bad


def _destination(
    connection: Connection,
    store: Store,
    key: tuple[str, str, str],
    configuration: Mapping[str, Any],
    given: tuple[table_schema.Column, ...] | None,
    *,
    seen: Table | None,
) -> Table:
    """The table to insert into, created or truncated as the dispositions say. Runs on the writer thread."""
    store.catalog.dataset(*key[:2])
    table = store.catalog.tables.get(key)
    if (table is None) != (seen is None) or (table and seen and (table.id, table.columns) != (seen.id, seen.columns)):
        raise ApiError(400, "invalid", f"Table {':'.join(key[:1])}:{key[1]}.{key[2]} changed while it was loaded")
    if table is None:
        if configuration.get("createDisposition") == "CREATE_NEVER":
            raise ApiError(404, "notFound", f"Not found: Table {key[0]}:{key[1]}.{key[2]}")
        body = {name: configuration[name] for name in ("timePartitioning", "clustering") if configuration.get(name)}
        body["schema"] = {"fields": [column.resource() for column in given or ()]}
        return tables.create_now(connection, store, tables.define(store, *key, body))
    tables.require_rows(table)
    how = configuration.get("writeDisposition") or WRITES[0]
    if how == "WRITE_EMPTY" and connection.execute(f"SELECT 1 FROM {table.rows} LIMIT 1").fetchone():  # noqa: S608
        raise duplicate(f"Table {table.title}")
    if how == "WRITE_TRUNCATE":
        return _emptied(connection, table, given)
    for column in given or ():
        there = table.column(column.name)
        if there is None or there.type != column.type:
            raise invalid(
                f"Provided Schema does not match Table {table.title}. "
                + (f"Cannot add fields (field: {column.name})" if there is None else f"Field {column.name} differs")
            )
    return table


async def store_result(store: Store, project: str, configuration: Mapping[str, Any], result: Result) -> None:
    """The rows of a query into its destination table, in one commit."""
    target = configuration["destinationTable"]
    key = (target.get("projectId") or project, target["datasetId"], target["tableId"])
    wanted = {
        "createDisposition": _choice(configuration, "createDisposition", CREATES, CREATES[0]),
        "writeDisposition": _choice(configuration, "writeDisposition", WRITES, "WRITE_EMPTY"),
    }
    given = table_schema.parse(result.schema)
    rows = append.stored_rows(given, result.rows)

    def apply(connection: Connection) -> Table:
        made = _destination(connection, store, key, wanted, given, seen=store.catalog.tables.get(key))
        try:
            append.insert(connection, made, rows)
        except duckdb.Error as error:
            raise query_error(error) from error
        return made

    await store.write(apply, store.catalog.set_table)


def _emptied(connection: Connection, table: Table, given: tuple[table_schema.Column, ...] | None) -> Table:
    """The table without its rows, and with the schema of the job where that has one."""
    if given is None or given == table.columns:
        connection.execute(f"DELETE FROM {table.rows}")  # noqa: S608
        return table
    names = {column.name for column in given}
    for name in (*table.clustering, *([table.partition] if table.partition else [])):
        if name not in names:
            raise invalid(
                f"The schema of the job lacks {name}, by which table {table.title} is partitioned or clustered"
            )
    connection.execute(f"DROP TABLE {table.rows}")
    changed = replace(table, columns=given, revision=table.revision + 1, modified=max(table.modified + 1, now_ms()))
    return tables.build(connection, changed)
