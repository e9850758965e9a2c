"""The Storage Read API over gRPC: tables and results of queries as Arrow, one stream a session."""

from __future__ import annotations

import re
import uuid
from collections import OrderedDict
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import duckdb
import grpc
import pyarrow as pa
from google.cloud.bigquery_storage_v1 import types

from emulators.bigquery import grpc_calls, query
from emulators.bigquery.catalog import Table
from emulators.bigquery.errors import ApiError
from emulators.bigquery.grpc_calls import CallError, abort
from emulators.bigquery.jobs import Jobs
from emulators.bigquery.nested_types import arrow_type
from emulators.bigquery.query_job import RESULTS_DATASET, RESULTS_PREFIX
from emulators.bigquery.sql import nested
from emulators.bigquery.store import Store, first_line
from emulators.bigquery.table_schema import Column, of_type, quote
from emulators.bigquery.writer import Connection as Cursor
from emulators.bigquery.writer import WriterBusy

SERVICE = "google.cloud.bigquery.storage.v1.BigQueryRead"
TABLE = re.compile(r"projects/([^/]+)/datasets/([^/]+)/tables/([^/]+)")
MAX_SESSIONS = 256  # remembered; the oldest are forgotten
BATCH_ROWS = 8_192  # of one answer

CreateReadSessionRequest = types.CreateReadSessionRequest.pb()
ReadRowsRequest = types.ReadRowsRequest.pb()
ReadRowsResponse = types.ReadRowsResponse.pb()
ReadSession = types.ReadSession.pb()
STATUS = {404: grpc.StatusCode.NOT_FOUND, 400: grpc.StatusCode.INVALID_ARGUMENT, 403: grpc.StatusCode.OUT_OF_RANGE}


@dataclass(frozen=True)
class Session:
    """What a session reads: the columns of a table, or of the result of a query."""

    columns: tuple[Column, ...]
    source: Table | pa.Table


class BigQueryRead:
    """The servicer; a session is of the rows there are when its stream is read."""

    def __init__(self, store: Store, jobs: Jobs) -> None:
        self._store = store
        self._jobs = jobs
        self._sessions: OrderedDict[str, Session] = OrderedDict()

    def handlers(self) -> grpc.GenericRpcHandler:
        calls = {
            "CreateReadSession": grpc_calls.unary(self.create_read_session, CreateReadSessionRequest, ReadSession),
            "ReadRows": grpc_calls.server_stream(self.read_rows, ReadRowsRequest, ReadRowsResponse),
        }
        return grpc.method_handlers_generic_handler(SERVICE, calls)

    async def create_read_session(self, request: Any, context: Any) -> Any:
        try:
            session = await self._session(request.read_session)
        except ApiError as error:
            await abort(context, STATUS.get(error.status, grpc.StatusCode.INTERNAL), error.message)
        name = f"{request.parent}/locations/us/sessions/{uuid.uuid4().hex}"
        self._sessions[f"{name}/streams/0"] = session
        while len(self._sessions) > MAX_SESSIONS:
            self._sessions.popitem(last=False)
        answer = ReadSession(name=name, table=request.read_session.table, data_format=types.DataFormat.ARROW)
        answer.arrow_schema.serialized_schema = _schema(session.columns).serialize().to_pybytes()
        answer.streams.add(name=f"{name}/streams/0")
        return answer

    async def _session(self, wanted: Any) -> Session:
        matched = TABLE.fullmatch(wanted.table)
        if matched is None:
            raise CallError(grpc.StatusCode.INVALID_ARGUMENT, f"Invalid table name: {wanted.table}")
        if wanted.data_format != types.DataFormat.ARROW:
            raise CallError(grpc.StatusCode.UNIMPLEMENTED, "the local BigQuery emulator reads rows as ARROW only")
        options = wanted.read_options
        if options.row_restriction or options.HasField("sample_percentage") or wanted.HasField("table_modifiers"):
            raise CallError(
                grpc.StatusCode.UNIMPLEMENTED,
                "the local BigQuery emulator does not support row_restriction, sample_percentage or table_modifiers",
            )
        session = await self._source(matched[1], matched[2], matched[3])
        if not options.selected_fields:
            return session
        chosen = {name.lower() for name in options.selected_fields}
        columns = tuple(column for column in session.columns if column.name.lower() in chosen)
        if len(columns) != len(chosen):
            raise CallError(grpc.StatusCode.INVALID_ARGUMENT, f"{wanted.table} lacks a field of selected_fields")
        return Session(columns, session.source)

    async def _source(self, project: str, dataset: str, name: str) -> Session:
        if dataset != RESULTS_DATASET or not name.startswith(RESULTS_PREFIX):
            table = self._store.catalog.table(project, dataset, name)
            if table.view is not None:
                raise CallError(grpc.StatusCode.INVALID_ARGUMENT, f"{table.title} is a view, which cannot be read so")
            return Session(table.columns, table)
        result = (await self._jobs.get(project, name.removeprefix(RESULTS_PREFIX))).result
        if result is None:
            raise CallError(grpc.StatusCode.NOT_FOUND, f"Not found: the result {name}, which is no longer kept")
        columns = tuple(of_type(f["name"], type_) for f, type_ in zip(result.schema, result.types, strict=True))
        return Session(columns, result.rows.rename_columns([column.name for column in columns]))

    async def read_rows(self, request: Any, context: Any) -> AsyncIterator[Any]:
        session = self._sessions.get(request.read_stream)
        if session is None:
            raise CallError(grpc.StatusCode.NOT_FOUND, f"Not found: read stream {request.read_stream}")
        try:
            rows = await self._rows(session)
        except WriterBusy as busy:
            await abort(context, grpc.StatusCode.RESOURCE_EXHAUSTED, str(busy))
        except ApiError as error:
            await abort(context, STATUS.get(error.status, grpc.StatusCode.INTERNAL), error.message)
        except (duckdb.Error, OSError) as error:
            await abort(context, grpc.StatusCode.NOT_FOUND, first_line(error))
        batches = rows.slice(max(request.offset, 0)).to_batches(max_chunksize=BATCH_ROWS)
        for place, batch in enumerate(batches):
            answer = ReadRowsResponse(row_count=batch.num_rows)
            if place == 0:
                answer.arrow_schema.serialized_schema = rows.schema.serialize().to_pybytes()
            answer.arrow_record_batch.serialized_record_batch = batch.serialize().to_pybytes()
            yield answer

    async def _rows(self, session: Session) -> pa.Table:
        source = session.source
        if isinstance(source, Table):
            rows = await self._store.read(lambda cursor: _read(cursor, source, session.columns))
        else:
            rows = source.select([column.name for column in session.columns])
        return rows.cast(_schema(session.columns))


def _schema(columns: tuple[Column, ...]) -> pa.Schema:
    return pa.schema([(column.name, arrow_type(column.type)) for column in columns])


def _read(cursor: Cursor, table: Table, columns: tuple[Column, ...]) -> pa.Table:
    listed = ", ".join(f"{nested.shown(quote(column.name), column.type)} AS {quote(column.name)}" for column in columns)
    return query.bounded(cursor.sql(f"SELECT {listed} FROM {table.rows} ORDER BY rowid").to_arrow_reader(100_000))  # noqa: S608
