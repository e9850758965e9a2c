"""The Storage Write API over gRPC: AppendRows of Arrow rows on default streams, and GetWriteStream for them."""

from __future__ import annotations

import asyncio
import datetime as dt
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import duckdb
import grpc
import pyarrow as pa
from google.cloud.bigquery_storage_v1 import types
from google.rpc import code_pb2, status_pb2

from emulators.bigquery import append, fault_effects, grpc_calls
from emulators.bigquery.catalog import Table
from emulators.bigquery.errors import ApiError
from emulators.bigquery.grpc_calls import CallError, abort
from emulators.bigquery.nested_types import element, is_array
from emulators.bigquery.store import Store, first_line
from emulators.bigquery.table_schema import Column
from emulators.bigquery.writer import WriterBusy
from emulators.faults.active_faults import Call
from emulators.faults.fault import AppendError, RowErrors
from emulators.faults.fault_runtime import FaultRuntime, InjectedError, InjectedSilence, Watch

SERVICE = "google.cloud.bigquery.storage.v1.BigQueryWrite"
MAX_REQUEST = 10_000_000  # bytes, BigQuery's limit for one AppendRowsRequest
MAX_RECEIVED = 32 * 1024 * 1024  # so that a request over BigQuery's limit is refused in words, not by the transport
IN_FLIGHT = 16  # appends of one connection that may wait for their commit
SMALL = 64 * 1024  # bytes of a batch that takes longer to hand to a thread than to read
READER_SECONDS = 1.0
STREAM = re.compile(r"projects/([^/]+)/datasets/([^/]+)/tables/([^/]+)/(?:streams/)?_default")
ANY_STREAM = re.compile(r"projects/[^/]+/datasets/[^/]+/tables/[^/]+/streams/[^/]+")

AppendRowsRequest = types.AppendRowsRequest.pb()
AppendRowsResponse = types.AppendRowsResponse.pb()
GetWriteStreamRequest = types.GetWriteStreamRequest.pb()
WriteStream = types.WriteStream.pb()
TableSchema = types.TableSchema.pb()
TableFieldSchema = types.TableFieldSchema.pb()
StorageError = types.StorageError.pb()
RowErrorMessage = types.RowError.pb()

OTHER_CALLS = ("CreateWriteStream", "FinalizeWriteStream", "BatchCommitWriteStreams", "FlushRows")


@dataclass
class Connection:
    """What one AppendRows call remembers between requests."""

    name: str = ""
    key: tuple[str, str, str] = ("", "", "")
    schema: pa.Schema | None = None
    columns: tuple[Column, ...] = ()  # of the table, as last reported to the client


class BigQueryWrite:
    """The servicer; `append` is the one place every append passes."""

    def __init__(self, store: Store, runtime: FaultRuntime) -> None:
        self._store = store
        self._runtime = runtime

    def handlers(self) -> grpc.GenericRpcHandler:
        calls = {
            "AppendRows": grpc_calls.both_stream(self.append_rows, AppendRowsRequest, AppendRowsResponse),
            "GetWriteStream": grpc_calls.unary(self.get_write_stream, GetWriteStreamRequest, WriteStream),
        }
        for name in OTHER_CALLS:
            calls[name] = grpc.unary_unary_rpc_method_handler(_application_stream)
        return grpc.method_handlers_generic_handler(SERVICE, calls)

    async def append_rows(self, requests: AsyncIterator[Any], context: Any) -> None:
        """Serve one stream until the client ends it, or something here does."""
        # gRPC sends the headers with the first answer. A drop that cancels that write would leave them sent and not
        # marked so; sent once more with the status, they fail it, and the client waits for ever.
        await context.send_initial_metadata(())
        with self._runtime.watch(fault_effects.APPEND) as watch:
            answering = asyncio.create_task(self._answer_all(requests, context, watch))
            dropping = asyncio.create_task(watch.dropped())
            try:
                await asyncio.wait({answering, dropping}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                answering.cancel()
                dropping.cancel()
                outcome, dropped = await asyncio.gather(answering, dropping, return_exceptions=True)
        end: object = dropped if isinstance(dropped, InjectedError) else outcome
        if isinstance(end, CallError):
            await abort(context, end.code, str(end))
        elif isinstance(end, InjectedError):
            await self._break(context, end)
        elif isinstance(end, Exception):
            raise end

    async def _answer_all(self, requests: AsyncIterator[Any], context: Any, watch: Watch) -> None:
        """Take requests as they come, commit several at a time, and answer them in their order."""
        answers: asyncio.Queue[asyncio.Future[Any] | CallError | None] = asyncio.Queue(IN_FLIGHT)
        taking = asyncio.create_task(self._take(requests, answers, watch))
        try:
            while (answer := await answers.get()) is not None:
                if isinstance(answer, CallError):
                    raise answer
                response = await answer
                watch.sending(1)
                await context.write(response)
                watch.sent(1)
        finally:
            taking.cancel()
            # gRPC may take long to notice that nobody reads any more: the client must not wait for that.
            await asyncio.wait({taking}, timeout=READER_SECONDS)

    async def _break(self, context: Any, injected: InjectedError) -> None:
        if isinstance(injected, InjectedSilence):
            await self._runtime.sit_out(injected)
        await abort(context, grpc.StatusCode[injected.code], injected.text)

    async def _take(self, requests: AsyncIterator[Any], answers: asyncio.Queue[Any], watch: Watch) -> None:
        connection = Connection()
        turn = asyncio.Event()
        turn.set()
        pending: set[asyncio.Task[Any]] = set()
        try:
            async for request in requests:
                before, turn = turn, asyncio.Event()
                try:
                    table = self._destination(connection, request)
                except CallError as ended:
                    turn.set()
                    await answers.put(ended)
                    return
                call = fault_effects.table_call(fault_effects.APPEND, connection.key)
                watch.names(call)
                task = asyncio.create_task(self._answer(call, connection, table, request, before, turn))
                pending.add(task)
                task.add_done_callback(pending.discard)
                await answers.put(task)
            await answers.put(None)
        except CallError as error:
            await answers.put(error)
        except Exception as error:  # noqa: BLE001 - a call whose reader has died must end, not wait for ever
            await answers.put(CallError(grpc.StatusCode.INTERNAL, f"{type(error).__name__}: {error}"))
        finally:
            # A client that hung up still gets its accepted appends committed; nobody waits for the answers.
            await asyncio.gather(*pending, return_exceptions=True)

    def _destination(self, connection: Connection, request: Any) -> Table:
        """The table a request goes to; `CallError` for what ends the call in the real service."""
        name = request.write_stream or connection.name
        if not name:
            raise CallError(grpc.StatusCode.INVALID_ARGUMENT, "write_stream is required in the first request")
        matched = STREAM.fullmatch(name)
        if matched is None:
            if ANY_STREAM.fullmatch(name):
                raise CallError(grpc.StatusCode.UNIMPLEMENTED, f"only the default stream is supported, not {name}")
            raise CallError(grpc.StatusCode.INVALID_ARGUMENT, f"Invalid stream name: {name}")
        if request.WhichOneof("rows") == "proto_rows":
            raise CallError(grpc.StatusCode.UNIMPLEMENTED, "only arrow_rows are supported locally, not proto_rows")
        if request.HasField("offset"):
            raise CallError(
                grpc.StatusCode.INVALID_ARGUMENT, "offset is not allowed when appending to the default stream"
            )
        key = (matched[1], matched[2], matched[3])
        try:
            table = self._store.catalog.table(*key)
        except ApiError as error:
            raise CallError(grpc.StatusCode.NOT_FOUND, f"Requested entity was not found. {error.message}") from error
        if table.view is not None:
            raise CallError(grpc.StatusCode.INVALID_ARGUMENT, f"{table.title} is a view; rows can only go into tables")
        if key != connection.key:
            connection.name, connection.key, connection.schema = name, key, None
            connection.columns = table.columns
        return table

    async def _answer(
        self,
        call: Call,
        connection: Connection,
        table: Table,
        request: Any,
        before: asyncio.Event,
        turn: asyncio.Event,
    ) -> Any:
        response = AppendRowsResponse(write_stream=connection.name)
        try:
            try:
                try:
                    if self._runtime.on:
                        await self._runtime.before(call)
                finally:
                    # One request at a time is read, so rows are committed in the order in which they were sent.
                    await before.wait()
                batch = await self._batch(connection, table, request)
                if self._runtime.on:
                    await self._apply_faults(call, batch, request.ByteSize())
                commit = asyncio.ensure_future(self.append(table, batch))
                await asyncio.sleep(0)
            finally:
                turn.set()
            await commit
            if self._runtime.on:
                await self._runtime.after(call)
        except fault_effects.AppendRefused as refused:
            code = getattr(code_pb2, refused.code)
            response.error.CopyFrom(status_pb2.Status(code=code, message=str(refused)))
        except append.BadRows as bad:
            message = f"Errors found while processing rows. Please refer to the row_errors field for details. {bad}"
            response.error.CopyFrom(status_pb2.Status(code=code_pb2.INVALID_ARGUMENT, message=message))
            for row in bad.errors:
                code = RowErrorMessage.RowErrorCode.FIELDS_ERROR
                response.row_errors.append(RowErrorMessage(index=row.index, code=code, message=row.message))
        except append.SchemaMismatch as mismatch:
            response.error.CopyFrom(status_pb2.Status(code=code_pb2.INVALID_ARGUMENT, message=str(mismatch)))
            if isinstance(mismatch, append.ExtraFields):
                extra = StorageError(code=StorageError.StorageErrorCode.SCHEMA_MISMATCH_EXTRA_FIELDS)
                extra.entity, extra.error_message = connection.name, str(mismatch)
                response.error.details.add().Pack(extra)
        except append.TableGone as gone:
            response.error.CopyFrom(status_pb2.Status(code=code_pb2.NOT_FOUND, message=f"Table not found: {gone}"))
        except WriterBusy as busy:
            response.error.CopyFrom(status_pb2.Status(code=code_pb2.RESOURCE_EXHAUSTED, message=str(busy)))
        except duckdb.Error as error:
            response.error.CopyFrom(status_pb2.Status(code=code_pb2.INTERNAL, message=first_line(error)))
        else:
            response.append_result.SetInParent()
        if table.columns != connection.columns:
            connection.columns = table.columns
            response.updated_schema.CopyFrom(table_schema(table))
        return response

    async def _batch(self, connection: Connection, table: Table, request: Any) -> pa.RecordBatch:
        arrow = request.arrow_rows
        if arrow.HasField("writer_schema"):
            connection.schema = append.decode_schema(arrow.writer_schema.serialized_schema)
        size = request.ByteSize()
        if size > MAX_REQUEST:
            raise append.SchemaMismatch(
                f"Message size {size} exceeds the limit of {MAX_REQUEST} bytes for one AppendRows request"
            )
        if connection.schema is None:
            raise append.SchemaMismatch("arrow_rows.writer_schema is required in the first request to a table")
        data = arrow.rows.serialized_record_batch
        if len(data) <= SMALL:
            return _checked(table, connection.schema, data)
        return await asyncio.to_thread(_checked, table, connection.schema, data)

    async def append(self, table: Table, batch: pa.RecordBatch) -> None:
        """Commit one batch of checked rows, or none of it."""
        if batch.num_rows:
            key = (table.id, batch.schema)
            await self._store.append(key, batch, batch.nbytes, partial(append.insert_all, table))

    async def _apply_faults(self, call: Call, batch: pa.RecordBatch, size: int) -> None:
        """Inject faults into a parsed append: raises `InjectedError`, `AppendRefused` or `append.BadRows`."""
        self._runtime.admit(call, size, batch.num_rows)
        if (refused := self._runtime.first(AppendError, call)) is not None:
            fault_effects.refuse_append(refused)
        for active in self._runtime.about(RowErrors, call):
            bad = await asyncio.to_thread(fault_effects.bad_rows, active, batch)
            if bad is not None and self._runtime.spend(active):
                raise bad

    async def get_write_stream(self, request: Any, context: Any) -> Any:
        matched = STREAM.fullmatch(request.name)
        try:
            if matched is None:
                raise CallError(grpc.StatusCode.UNIMPLEMENTED, f"only the default stream is supported: {request.name}")
            key = (matched[1], matched[2], matched[3])
            if not self._runtime.on:
                return self._write_stream(key, request)
            call = fault_effects.table_call(fault_effects.STREAM, key)
            await self._runtime.before(call)
            stream = self._write_stream(key, request)
            await self._runtime.after(call)
            return stream
        except ApiError as error:
            await abort(context, grpc.StatusCode.NOT_FOUND, error.message)
        except InjectedError as injected:
            await self._break(context, injected)

    def _write_stream(self, key: tuple[str, str, str], request: Any) -> Any:
        table = self._store.catalog.table(*key)
        stream = WriteStream(name=request.name, type_=WriteStream.Type.COMMITTED, location="US")
        stream.create_time.FromMilliseconds(table.created)
        stream.write_mode = WriteStream.WriteMode.INSERT
        if request.view == types.WriteStreamView.FULL:
            stream.table_schema.CopyFrom(table_schema(table))
        return stream


def _checked(table: Table, schema: pa.Schema, data: bytes) -> pa.RecordBatch:
    append.check_schema(table, schema)
    batch = append.decode(schema, data)
    append.check_rows(table, batch, dt.datetime.now(dt.UTC).date())
    return append.conformed(table, batch)


SPELLING = {"FLOAT64": "DOUBLE"}


def table_schema(table: Table) -> Any:
    """The table's columns as the Storage API spells them."""
    return TableSchema(fields=[_field_schema(column) for column in table.columns])


def _field_schema(column: Column) -> Any:
    type_ = element(column.type) if is_array(column.type) else column.type
    return TableFieldSchema(
        name=column.name,
        type_=TableFieldSchema.Type.Value("STRUCT" if column.fields else SPELLING.get(type_, type_)),
        mode=TableFieldSchema.Mode.Value(column.resource()["mode"]),
        description=column.description or "",
        fields=[_field_schema(field) for field in column.fields],
    )


async def _application_stream(request: bytes, context: Any) -> bytes:
    await context.abort(
        grpc.StatusCode.UNIMPLEMENTED,
        "the local BigQuery emulator has default streams only: no streams created by applications",
    )
    return b""
