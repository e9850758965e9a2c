"""Running a translated query: on a cursor of its own, bounded in size, with an honest estimate of what it read."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from emulators.bigquery import asked
from emulators.bigquery.catalog import Table
from emulators.bigquery.errors import ApiError, invalid, invalid_query, unsupported
from emulators.bigquery.sql import parameters, statement
from emulators.bigquery.sql.scope import Context
from emulators.bigquery.sql.translate import Query, ScanPlan
from emulators.bigquery.store import FAILURES, Store, query_error
from emulators.bigquery.table_schema import FIXED_WIDTHS, variable_width
from emulators.bigquery.writer import Connection

MAX_RESULT = 256 * 1024 * 1024  # bytes of Arrow that one result may have
SAMPLE = 10_000  # rows from which the average width of a column is taken
DATES = (-719_162, 2_932_896)  # the years 1 to 9999 in days since 1970
TIMESTAMPS = (-62_135_596_800_000_000, 253_402_300_799_999_999)  # and in microseconds

KNOWN = {
    "query", "useLegacySql", "defaultDataset", "queryParameters", "parameterMode", "useQueryCache", "priority",
    "maximumBytesBilled", "destinationTable", "writeDisposition", "createDisposition", "flattenResults",
    "allowLargeResults",
}  # fmt: skip


@dataclass(frozen=True)
class Result:
    """The result of a query: `rows` has the columns c0, c1 … in the order of `schema`."""

    schema: list[dict[str, str]]
    types: tuple[str, ...]
    rows: pa.Table
    affected: int | None = None

    @property
    def size(self) -> int:
        return int(self.rows.nbytes)


@dataclass(frozen=True)
class Prepared:
    """A statement that has been translated and not yet run."""

    statement: statement.Statement
    query: Query
    configuration: Mapping[str, Any] = field(default_factory=dict)
    asked: str | None = None  # what is kept of it once it is answered


def prepare(store: Store, project: str, configuration: Mapping[str, Any], now: dt.datetime) -> Prepared:
    """Translate the query of a job configuration; ApiError for what is wrong with it."""
    for key, value in configuration.items():
        if key not in KNOWN and value not in (None, False, [], {}, ""):
            raise invalid(f"The local BigQuery emulator does not support {key} in a query configuration")
    if configuration.get("useLegacySql") is not False:
        raise unsupported("legacy SQL: set useLegacySql to false")
    text = configuration.get("query")
    if not isinstance(text, str) or not text.strip():
        raise ApiError(400, "required", "Required parameter is missing: query")
    named, positional = parameters.read(configuration.get("queryParameters") or [])
    default = configuration.get("defaultDataset") or {}
    dataset = (default.get("projectId") or project, default["datasetId"]) if default.get("datasetId") else None
    context = Context(store.catalog, project, dataset, named, positional, now)
    read = statement.read_text(text, context)
    return Prepared(read, read.query, configuration, asked.described(text, read, context))


async def estimate(store: Store, query: Query) -> int:
    """Bytes the query reads: for every table, the rows in the partitions that its conditions leave, times the
    average width of the columns it names."""
    return await store.read(lambda connection: sum(_scan_bytes(connection, scan) for scan in query.scans))


def _scan_bytes(connection: Connection, scan: ScanPlan) -> int:
    if not scan.columns:
        return 0
    where = f" WHERE {scan.probe}" if scan.probe else ""
    try:
        ((rows,),) = connection.execute(f"SELECT count(*) FROM {scan.table.rows}{where}").fetchall()  # noqa: S608
        return round(rows * row_width(connection, scan.table, scan.columns)) if rows else 0
    except duckdb.CatalogException:
        return 0  # dropped since; the query itself will say so
    except FAILURES as error:
        raise query_error(error) from error


def row_width(connection: Connection, table: Table, names: tuple[str, ...]) -> float:
    """Average bytes of these columns in a row, as BigQuery counts them."""
    columns = [column for column in table.columns if column.name in names]
    fixed = sum(FIXED_WIDTHS.get(column.type, 2) for column in columns)
    widths = variable_width(columns)
    if not widths:
        return float(fixed)
    sample = f"SELECT avg({widths}) FROM (SELECT * FROM {table.rows} LIMIT {SAMPLE})"  # noqa: S608
    ((average,),) = connection.execute(sample).fetchall()
    return fixed + float(average or 0)


def fetch(connection: Connection, query: Query) -> Result:
    """Run the query and keep its result; ApiError if it fails or the result is too large."""
    stopped = ApiError(499, "stopped", "Job execution was cancelled: User requested cancellation")
    try:
        rows = bounded(connection.sql(query.sql).to_arrow_reader(100_000))
    except (*FAILURES, OSError) as error:
        # Arrow's reader wraps what fails after the first row into an OSError of the same text.
        if str(error).startswith("INTERRUPT"):
            raise stopped from error
        raise query_error(error) from error
    check_range(rows)
    return Result(query.schema(), tuple(output.type for output in query.outputs), rows)


def bounded(reader: pa.RecordBatchReader) -> pa.Table:
    """Everything the reader returns; ApiError 403 if that is more than a result may hold."""
    batches: list[pa.RecordBatch] = []
    size = 0
    for batch in reader:
        batches.append(batch)
        size += batch.nbytes
        if size > MAX_RESULT:
            raise ApiError(
                403, "responseTooLarge", f"Response too large to return: over {MAX_RESULT} bytes. Consider a LIMIT."
            )
    return pa.Table.from_batches(batches, reader.schema)


def check_range(rows: pa.Table) -> None:
    """ApiError where a DATE or TIMESTAMP is outside the years 1 to 9999: no client could read it."""
    for values in (leaf for column in rows.columns for leaf in _leaves(column)):
        if pa.types.is_date(values.type):
            numbers, ends = values.cast(pa.int32()), DATES
        elif pa.types.is_timestamp(values.type):
            numbers, ends = values.cast(pa.int64()), TIMESTAMPS
        else:
            continue
        found = pc.min_max(numbers)
        if found["min"].is_valid and not ends[0] <= found["min"].as_py() <= found["max"].as_py() <= ends[1]:
            raise invalid_query("A value of the result is out of the range of DATE or TIMESTAMP")


def _leaves(values: pa.ChunkedArray) -> Iterator[pa.ChunkedArray]:
    """The values without structure that the values are made of."""
    if pa.types.is_list(values.type):
        yield from _leaves(pc.list_flatten(values))
    elif pa.types.is_struct(values.type):
        for place in range(values.type.num_fields):
            yield from _leaves(pc.struct_field(values, [place]))
    else:
        yield values


def nothing(affected: int | None) -> Result:
    """The result of a statement that returns no rows."""
    return Result([], (), pa.table({}), affected)
