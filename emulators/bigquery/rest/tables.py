"""tables.* and tabledata.list of the REST API."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
from aiohttp import web

from emulators.bigquery import partitions, query, row_policies, tables
from emulators.bigquery.catalog import Table
from emulators.bigquery.errors import ApiError, invalid
from emulators.bigquery.rest import results, rows
from emulators.bigquery.rest.shapes import TABLE
from emulators.bigquery.rest.state import STATE, body, flag, number, page
from emulators.bigquery.sql import nested
from emulators.bigquery.store import Store
from emulators.bigquery.table_schema import Column, of_type, quote
from emulators.bigquery.writer import Connection

MAX_ROWS = 100_000  # of one page
DEFAULT_ROWS = 10_000
LISTED = {
    "kind", "id", "tableReference", "type", "labels", "friendlyName", "creationTime", "timePartitioning", "clustering",
    "view", "requirePartitionFilter",
}  # fmt: skip


def _store(request: web.Request) -> Store:
    return request.app[STATE].store


def _key(request: web.Request) -> tuple[str, str, str]:
    return request.match_info["project"], request.match_info["dataset"], request.match_info["table"]


async def insert(request: web.Request) -> web.Response:
    given = await body(request, TABLE)
    project, dataset = request.match_info["project"], request.match_info["dataset"]
    name = (given.get("tableReference") or {}).get("tableId")
    if not name:
        raise ApiError(400, "required", "Required parameter is missing: tableReference.tableId")
    store = _store(request)
    store.catalog.dataset(project, dataset)
    made = await tables.create(store, tables.define(store, project, dataset, name, given))
    return web.json_response(await _resource(store, made))


async def get(request: web.Request) -> web.Response:
    store = _store(request)
    if (found := await results.find(request)) is not None:
        return web.json_response(results.resource(*found))
    if (partitioned := _partitioned(request)) is not None:
        return web.json_response(partitions.resource(partitioned))
    return web.json_response(await _resource(store, store.catalog.table(*_key(request))))


def _partitioned(request: web.Request) -> Table | None:
    """The table whose partitions are asked for, instead of its rows."""
    project, dataset, name = _key(request)
    if not name.endswith(partitions.SUFFIX):
        return None
    return _store(request).catalog.table(project, dataset, name.removesuffix(partitions.SUFFIX))


async def _resource(store: Store, table: Table) -> dict[str, Any]:
    found = tables.resource(table)
    if table.view is not None:
        return found

    def count(connection: Connection) -> tuple[int, float]:
        ((rows_,),) = connection.execute(f"SELECT count(*) FROM {table.rows}").fetchall()  # noqa: S608
        names = tuple(column.name for column in table.columns)
        return rows_, query.row_width(connection, table, names) if rows_ else 0.0

    number_of, width = await store.read(count)
    found["numRows"] = str(number_of)
    found["numBytes"] = str(round(number_of * width))
    return found


async def list_(request: web.Request) -> web.Response:
    project, dataset = request.match_info["project"], request.match_info["dataset"]
    store = _store(request)
    store.catalog.dataset(project, dataset)
    found = list(store.catalog.tables_of(project, dataset))
    items, following = page(request, found, 1_000)
    listed = [{key: value for key, value in tables.resource(item).items() if key in LISTED} for item in items]
    answer = {"kind": "bigquery#tableList", "tables": listed, "totalItems": len(found)}
    return web.json_response(answer | following)


async def change(request: web.Request) -> web.Response:
    store = _store(request)
    match = request.headers.get("If-Match")
    if flag(request, "autodetect_schema"):
        raise invalid("The local BigQuery emulator does not support autodetect_schema")
    changed = await tables.change(
        store, *_key(request), await body(request, TABLE), match, patch=request.method == "PATCH"
    )
    return web.json_response(await _resource(store, changed))


async def delete(request: web.Request) -> web.Response:
    await tables.delete(_store(request), *_key(request), request.headers.get("If-Match"))
    return web.Response(status=204)


async def data(request: web.Request) -> web.Response:
    """tabledata.list: rows in the order in which they were stored."""
    if (anonymous := await results.find(request)) is not None:
        job, result = anonymous
        given = tuple(of_type(field["name"], type_) for field, type_ in zip(result.schema, result.types, strict=True))
        columns = _chosen(request, job.id, given)
        every = result.rows.rename_columns([column.name for column in given])
        return _page(request, job.id, columns, every.num_rows, _some(request, every, columns))
    store = _store(request)
    partitioned = _partitioned(request)
    table = partitioned or store.catalog.table(*_key(request))
    tables.require_rows(table)
    columns = _chosen(request, table.title, table.columns if partitioned is None else partitions.COLUMNS)
    if partitioned is None:
        start, size = _range(request)
        total, found = await store.read(lambda connection: _fetch(connection, table, columns, size, start))
        return _page(request, table.etag, columns, total, found)
    partitions.resource(table)
    every = await store.read(lambda connection: partitions.read(connection, table))
    return _page(request, table.etag, columns, every.num_rows, _some(request, every, columns))


def _range(request: web.Request) -> tuple[int, int]:
    """The first row that is asked for, and how many."""
    start = number(request, "pageToken", number(request, "startIndex", 0, 2**62), 2**62)
    return start, number(request, "maxResults", DEFAULT_ROWS, MAX_ROWS)


def _some(request: web.Request, every: pa.Table, columns: tuple[Column, ...]) -> pa.Table:
    start, size = _range(request)
    return every.select([column.name for column in columns]).slice(start, size)


def _page(request: web.Request, etag: str, columns: tuple[Column, ...], total: int, found: pa.Table) -> web.Response:
    start, _ = _range(request)
    answer: dict[str, Any] = {"kind": "bigquery#tableDataList", "etag": etag, "totalRows": str(total)}
    types = [column.type for column in columns]
    answer["rows"] = rows.encode(found, types, int64_timestamps=flag(request, "formatOptions.useInt64Timestamp"))
    if start + found.num_rows < total:
        answer["pageToken"] = str(start + found.num_rows)
    return web.json_response(answer)


def _chosen(request: web.Request, title: str, columns: tuple[Column, ...]) -> tuple[Column, ...]:
    """The columns that selectedFields names, in the table's order; all without it."""
    chosen = request.query.get("selectedFields")
    if chosen:
        wanted = {name.strip().lower() for name in chosen.split(",")}
        columns = tuple(column for column in columns if column.name.lower() in wanted)
        if len(columns) != len(wanted):
            raise invalid(f"selectedFields names a field that {title} does not have: {chosen}")
    return columns


def _fetch(
    connection: Connection, table: Table, columns: tuple[Column, ...], size: int, start: int
) -> tuple[int, pa.Table]:
    """How many rows the table has, and some of them, from one snapshot."""
    listed = ", ".join(nested.shown(quote(column.name), column.type) for column in columns)
    connection.execute("BEGIN")
    ((total,),) = connection.execute(f"SELECT count(*) FROM {table.rows}").fetchall()  # noqa: S608
    text = f"SELECT {listed} FROM {table.rows} ORDER BY rowid LIMIT {size} OFFSET {start}"  # noqa: S608
    found = connection.sql(text).to_arrow_table()
    connection.execute("COMMIT")
    return total, found


async def policies(request: web.Request) -> web.Response:
    table = _store(request).catalog.table(*_key(request))
    items, following = page(request, list(table.policies), 100, "pageSize")
    answer: dict[str, Any] = {"rowAccessPolicies": [row_policies.resource(table, policy) for policy in items]}
    return web.json_response(answer | following)


async def policy_members(request: web.Request) -> web.Response:
    table = _store(request).catalog.table(*_key(request))
    return web.json_response(row_policies.iam_policy(table, request.match_info["policy"]))


METHODS = {
    "tables.insert": insert,
    "tables.list": list_,
    "tables.get": get,
    "tables.patch": change,
    "tables.update": change,
    "tables.delete": delete,
    "tabledata.list": data,
    "rowAccessPolicies.list": policies,
    "rowAccessPolicies.getIamPolicy": policy_members,
}
