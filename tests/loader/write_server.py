"""A BigQueryWrite server over real gRPC whose answers a test scripts: for the errors a healthy emulator never gives."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import grpc
import pyarrow as pa
from google.cloud.bigquery_storage_v1.types import AppendRowsRequest, AppendRowsResponse, StorageError

from tests.process import free_port

Request, Response, Detail = AppendRowsRequest.pb(), AppendRowsResponse.pb(), StorageError.pb()
OK = "ok"


@dataclass(frozen=True)
class Error:
    """An answer with a status; the call goes on."""

    code: grpc.StatusCode
    text: str = "as scripted"


@dataclass(frozen=True)
class ExtraFields:
    """INVALID_ARGUMENT as BigQuery says it of rows with a column that the table has not: by a StorageError."""

    column: str
    worded: bool = True  # whether the message says it as well


@dataclass(frozen=True)
class RowErrors:
    """INVALID_ARGUMENT and an error for each row that `bad` says is wrong; ok when none is."""

    bad: Callable[[dict[str, Any]], bool]


@dataclass(frozen=True)
class Abort:
    """The call ends with a status, its append unanswered."""

    code: grpc.StatusCode


@dataclass(frozen=True)
class Close:
    """The call ends with OK, its append unanswered, as for an idle connection; after an answer where `answer`."""

    answer: bool = False


@dataclass(frozen=True)
class Hold:
    """No answer until the event is set."""

    until: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass
class WriteServer:
    """`script` holds what to answer to the next appends; `by_table` answers all after those, or else `otherwise`."""

    script: deque[Any] = field(default_factory=deque)
    by_table: dict[str, Any] = field(default_factory=dict)
    otherwise: Any = OK
    refuse: Callable[[dict[str, Any]], bool] = lambda _row: False  # one such row spoils its request
    missing: str | None = None  # a column that no table has
    written: list[tuple[str, dict[str, Any]]] = field(default_factory=list)  # (table, row), in order
    appends: list[tuple[str, int]] = field(default_factory=list)  # (table, rows) of every request, refused ones too
    calls: list[str] = field(default_factory=list)  # the routing header of every call
    address: str = ""
    most_open: int = 0  # calls open at a time
    _open: int = 0

    async def __aenter__(self) -> WriteServer:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen, on the same port as before where there was one: no client may have been given it meanwhile."""
        self._server = grpc.aio.server(options=[("grpc.max_receive_message_length", -1), ("grpc.so_reuseport", 0)])
        handler = grpc.stream_stream_rpc_method_handler(
            self._append_rows, request_deserializer=Request.FromString, response_serializer=Response.SerializeToString
        )
        service = "google.cloud.bigquery.storage.v1.BigQueryWrite"
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {"AppendRows": handler}),))
        self.address = self.address or f"127.0.0.1:{free_port()}"
        self._server.add_insecure_port(self.address)
        await self._server.start()

    async def stop(self) -> None:
        await self._server.stop(0)

    def rows(self, table: str) -> list[dict[str, Any]]:
        return [row for name, row in self.written if name == table]

    async def _append_rows(self, requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        self._open += 1
        self.most_open = max(self.most_open, self._open)
        try:
            async for response in self._answers(requests, context):
                yield response
        finally:
            self._open -= 1

    async def _answers(self, requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        routing = [value for name, value in context.invocation_metadata() if name == "x-goog-request-params"]
        self.calls.append(",".join(filter(None, routing)))
        stream = schema = None
        async for request in requests:
            if stream is None:
                stream = request.write_stream
                schema = pa.ipc.read_schema(pa.py_buffer(request.arrow_rows.writer_schema.serialized_schema))
            batch = pa.ipc.read_record_batch(pa.py_buffer(request.arrow_rows.rows.serialized_record_batch), schema)
            table = stream.split("/")[5]
            self.appends.append((table, batch.num_rows))
            answer = self.script.popleft() if self.script else self.by_table.get(table, self.otherwise)
            if isinstance(answer, Hold):
                await answer.until.wait()
                answer = OK
            if any(self.refuse(row) for row in batch.to_pylist()):
                answer = Error(grpc.StatusCode.INVALID_ARGUMENT)
            if self.missing in batch.schema.names:
                answer = ExtraFields(self.missing)
            response = Response()
            match answer:
                case Error(code, text):
                    response.error.code, response.error.message = code.value[0], text
                case ExtraFields(column, worded):
                    text = f"Input schema has more fields than BigQuery schema, extra fields: '{column}'"
                    response.error.code = grpc.StatusCode.INVALID_ARGUMENT.value[0]
                    response.error.message = text if worded else f"refused for '{column}'"
                    response.error.details.add().Pack(
                        Detail(code=StorageError.StorageErrorCode.SCHEMA_MISMATCH_EXTRA_FIELDS)
                    )
                case Abort(code):
                    await context.abort(code, "as scripted")
                case Close(answer=False):
                    return
                case RowErrors(bad):
                    for index, row in enumerate(batch.to_pylist()):
                        if bad(row):
                            response.row_errors.add(index=index, code=1, message=f"row {index} is as bad as scripted")
                    if response.row_errors:
                        response.error.code = grpc.StatusCode.INVALID_ARGUMENT.value[0]
            if not response.HasField("error"):
                response.append_result.SetInParent()
                self.written.extend((table, row) for row in batch.to_pylist())
            yield response
            if isinstance(answer, Close):
                return
