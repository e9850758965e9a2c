"""BigQuery's Storage Write API: appends one Arrow batch to a table's default stream and returns the answer.

The default stream is at least once: rows are visible once it answers, and an append whose answer is lost may be stored
all the same. Nothing is retried here; `writer.py` decides that.
"""

from __future__ import annotations

import asyncio
import os
from collections import OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import grpc
import pyarrow as pa
from google.api_core.exceptions import GoogleAPICallError
from google.auth.exceptions import GoogleAuthError
from google.cloud.bigquery_storage import BigQueryWriteAsyncClient
from google.cloud.bigquery_storage_v1.services.big_query_write.transports import BigQueryWriteGrpcAsyncIOTransport
from google.cloud.bigquery_storage_v1.types import AppendRowsRequest, AppendRowsResponse, StorageError

from services import __version__
from services.shared import log
from services.shared.fault import FAULT_LOG_SECONDS, fault
from services.shared.throttle import Throttle

STORAGE_EMULATOR = "BIGQUERY_STORAGE_EMULATOR_HOST"
# One HTTP/2 connection carries at most 100 streams at Google's front ends; one more would wait for ever.
MAX_STREAMS = 64
_TRANSIENT = frozenset({
    "ABORTED",
    "CANCELLED",
    "DEADLINE_EXCEEDED",
    "INTERNAL",  # gRPC says this too of a call that ended while a request was going out, whatever its status was
    "RESOURCE_EXHAUSTED",
    "UNAVAILABLE",
    "UNKNOWN",
})  # fmt: skip
_NEEDS_OPERATOR = frozenset({"NOT_FOUND", "PERMISSION_DENIED", "UNAUTHENTICATED"})
_EXTRA_FIELDS = "Input schema has more fields than BigQuery schema"
_CODES = {code.value[0]: code.name for code in grpc.StatusCode}
# gRPC waits up to two minutes between attempts to reach a server that was away; the loader has its own backoff.
_RECONNECT = [("grpc.initial_reconnect_backoff_ms", 500), ("grpc.max_reconnect_backoff_ms", 5_000)]
_NO_LIMIT = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]

_CLOSE_SECONDS = 5.0

_log = log.get("loader.write_api")
_faults = Throttle(FAULT_LOG_SECONDS)
_Request = AppendRowsRequest.pb()
_Response = AppendRowsResponse.pb


class AppendError(Exception):
    """An append that BigQuery did not take, as far as is known. `code` is the name of a gRPC status.

    It may pass when sent again if it is `transient`: by itself, or where it is `needs_operator`, after a human has made
    the table, granted the role or added the column; a column can be minutes old before BigQuery takes it here.
    `about_columns` says that the rows as such do not fit the table.
    """

    def __init__(self, code: str, text: str, *, extra_fields: bool = False) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code
        self.needs_operator = extra_fields or code in _NEEDS_OPERATOR
        self.transient = self.needs_operator or code in _TRANSIENT
        self.about_columns = extra_fields or not self.transient


class RowErrors(Exception):
    """BigQuery wrote no row of the batch, because of some: `rows` says by index what is wrong with each."""

    def __init__(self, rows: dict[int, str]) -> None:
        super().__init__(f"{len(rows)} rows refused")
        self.rows = rows


class WriteApi:
    """Appends to the tables of one dataset, over one connection a table and set of columns.

    `credentials` are those of google.auth; the official client looks for its own where there are none.
    """

    def __init__(self, project: str, dataset: str, *, timeout: float, credentials: Any = None) -> None:
        self._credentials = credentials
        self._dataset = f"projects/{project}/datasets/{dataset}"
        self._timeout = timeout
        self._connections: OrderedDict[tuple[str, bytes], _Connection] = OrderedDict()  # least recently used first
        self._slots = asyncio.Semaphore(MAX_STREAMS)  # so of MAX_STREAMS connections one is idle, when one more comes
        self._tasks: set[asyncio.Task[_Lost]] = set()

    async def __aenter__(self) -> WriteApi:
        self._client = _client(self._credentials)
        return self

    async def __aexit__(self, *_: object) -> None:
        for connection in self._connections.values():
            connection.close()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_CLOSE_SECONDS)
        with suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self._client.transport.close()

    async def append(self, table: str, batch: pa.RecordBatch) -> int:
        """Append all rows of the batch, or none, and return its bytes.

        Raises RowErrors when some rows are wrong, AppendError for anything else, also when no answer came in time.
        """
        schema = batch.schema.serialize().to_pybytes()
        request, size = _request(batch)
        connection: _Connection | None = None
        try:
            async with asyncio.timeout(self._timeout), self._slots:
                connection = self._connection(table, schema)
                response = await connection.append(request)
        except TimeoutError:
            if connection is None:
                raise AppendError("DEADLINE_EXCEEDED", f"no connection was free in {self._timeout} s") from None
            connection.close()
            raise AppendError("DEADLINE_EXCEEDED", f"no answer in {self._timeout} s") from None
        if isinstance(response, _Lost):
            raise AppendError(response.code, response.text, extra_fields=_EXTRA_FIELDS in response.text)
        if response.row_errors:
            raise RowErrors({error.index: error.message for error in response.row_errors})
        if response.HasField("error"):
            extra = _has_extra_fields(response.error)
            if extra:  # what this connection knows of the table is old; another may know more
                connection.retire()
            raise AppendError(_CODES.get(response.error.code, "UNKNOWN"), response.error.message, extra_fields=extra)
        return size

    def _connection(self, table: str, schema: bytes) -> _Connection:
        known = self._connections.get((table, schema))
        if known is not None and not known.closed:
            self._connections.move_to_end((table, schema))
            return known
        for key, other in list(self._connections.items()):
            if other.closed:
                del self._connections[key]
        while len(self._connections) >= MAX_STREAMS:
            idle = next(key for key, other in self._connections.items() if not other.pending)
            self._connections.pop(idle).close()
        connection = _Connection(self._client, f"{self._dataset}/tables/{table}/streams/_default", schema)
        connection.task.add_done_callback(self._tasks.discard)
        self._tasks.add(connection.task)
        self._connections[table, schema] = connection
        return connection


def _request(batch: pa.RecordBatch) -> tuple[Any, int]:
    """A request with these rows, and their bytes: megabytes, of which no second copy is kept while BigQuery works."""
    rows = batch.serialize().to_pybytes()
    request = _Request()
    request.arrow_rows.rows.serialized_record_batch = rows
    return request, len(rows)


def _has_extra_fields(error: Any) -> bool:
    """Whether a google.rpc.Status says that the rows have a column which the table has not: as a StorageError, in
    BigQuery's own answers, or in words.
    """
    for detail in error.details:
        found = StorageError.pb()()
        if detail.Is(found.DESCRIPTOR) and detail.Unpack(found):
            return bool(found.code == StorageError.StorageErrorCode.SCHEMA_MISMATCH_EXTRA_FIELDS)
    return _EXTRA_FIELDS in error.message


@dataclass(frozen=True)
class _Lost:
    """No answer will come. Not an exception: futures and tasks that keep one make a cycle of it and the frames it went
    through, and those hold megabytes of rows until the garbage collector happens to run.
    """

    code: str
    text: str


class _Connection:
    """One AppendRows call: requests go out in turn, answers come back in the same order.

    When it ends, whoever ends it, every append without an answer fails. BigQuery ends one that was idle for about ten
    minutes: that fails nothing, and the next append opens another.
    """

    def __init__(self, client: BigQueryWriteAsyncClient, stream: str, schema: bytes) -> None:
        self.closed = False
        self.pending: deque[asyncio.Future[Any]] = deque()  # no more than there are slots
        self._stream, self._schema = stream, schema
        self._requests: asyncio.Queue[Any] = asyncio.Queue()  # None ends the call
        self._first = True
        self.task = asyncio.create_task(self._receive(client), name=f"append {stream}")
        self.task.add_done_callback(self._ended)

    async def append(self, request: Any) -> Any:
        """The response to these rows, or _Lost."""
        if self._first:
            self._first = False
            request.write_stream = self._stream
            request.trace_id = f"pixelpipe:{__version__}"
            request.arrow_rows.writer_schema.serialized_schema = self._schema
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.pending.append(answer)
        self._requests.put_nowait(request)
        return await answer

    def close(self) -> None:
        self.closed = True
        self.task.cancel()

    def retire(self) -> None:
        """Take no more appends, and end once those under way have their answers."""
        if not self.closed:
            self.closed = True
            self._requests.put_nowait(None)

    async def _receive(self, client: BigQueryWriteAsyncClient) -> _Lost:
        routing = ("x-goog-request-params", f"write_stream={self._stream}")
        try:
            responses = await client.append_rows(self._outgoing(), retry=None, timeout=None, metadata=(routing,))
            async for response in responses:
                answer = self.pending.popleft()
                if not answer.done():
                    answer.set_result(_Response(response))
        except GoogleAPICallError as error:
            code = error.grpc_status_code
            return _Lost(code.name if code is not None else "UNKNOWN", error.message)
        except GoogleAuthError as error:
            return _Lost("UNAVAILABLE", str(error))
        except Exception as error:  # noqa: BLE001 - its appends fail, and may pass over another connection
            what = fault(error)
            if connections := _faults.add(1):
                _log.error("a connection failed", connections=connections, stream=self._stream, fault=what)
            return _Lost("UNKNOWN", what)
        return _Lost("UNAVAILABLE", "BigQuery closed the connection")

    async def _outgoing(self) -> AsyncIterator[Any]:
        while (request := await self._requests.get()) is not None:
            yield AppendRowsRequest.wrap(request)
            # It is on its way; gRPC and this frame would keep it until the next one comes.
            request.Clear()

    def _ended(self, task: asyncio.Task[_Lost]) -> None:
        self.closed = True
        lost = _Lost("CANCELLED", "the connection was given up") if task.cancelled() else task.result()
        for answer in self.pending:
            if not answer.done():
                answer.set_result(lost)
        self.pending.clear()
        while not self._requests.empty():
            self._requests.get_nowait()
        self._requests.put_nowait(None)


def _client(credentials: Any) -> BigQueryWriteAsyncClient:
    """The official client, of the emulator where BIGQUERY_STORAGE_EMULATOR_HOST is set (it does not look itself)."""
    if address := os.environ.get(STORAGE_EMULATOR):
        channel = grpc.aio.insecure_channel(address, options=[*_NO_LIMIT, *_RECONNECT])
        return BigQueryWriteAsyncClient(transport=BigQueryWriteGrpcAsyncIOTransport(channel=channel))
    return BigQueryWriteAsyncClient(
        credentials=credentials, transport=partial(BigQueryWriteGrpcAsyncIOTransport, channel=_channel)
    )


def _channel(host: str, *, options: list[tuple[str, int]], **settings: Any) -> grpc.aio.Channel:
    return BigQueryWriteGrpcAsyncIOTransport.create_channel(host, options=[*options, *_RECONNECT], **settings)
