"""What the BigQuery emulator's tests share: the official clients, pointed at the child process, and small tables."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator
from typing import Any

import grpc
import pyarrow as pa
from google.api_core.client_options import ClientOptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery
from google.cloud.bigquery_storage_v1 import BigQueryWriteClient, types
from google.cloud.bigquery_storage_v1.services.big_query_write.transports import BigQueryWriteGrpcTransport

TODAY = dt.datetime.now(dt.UTC).date()
NOW = dt.datetime.now(dt.UTC).replace(microsecond=123456)

FIELDS = [
    bigquery.SchemaField("day", "DATE", "REQUIRED"),
    bigquery.SchemaField("id", "STRING", "REQUIRED"),
    bigquery.SchemaField("at", "TIMESTAMP"),
    bigquery.SchemaField("n", "INTEGER"),
    bigquery.SchemaField("f", "FLOAT"),
    bigquery.SchemaField("ok", "BOOLEAN"),
    bigquery.SchemaField("amount", "NUMERIC"),
    bigquery.SchemaField("params", "JSON"),
    bigquery.SchemaField("raw", "BYTES"),
]
ARROW = pa.schema(
    [
        ("day", pa.date32()),
        ("id", pa.string()),
        ("at", pa.timestamp("us", tz="UTC")),
        ("n", pa.int64()),
        ("f", pa.float64()),
        ("ok", pa.bool_()),
        ("amount", pa.decimal128(38, 9)),
        ("params", pa.string()),
        ("raw", pa.binary()),
    ]
)


def client(rest: str, project: str) -> bigquery.Client:
    options = ClientOptions(api_endpoint=rest)
    return bigquery.Client(project=project, credentials=AnonymousCredentials(), client_options=options)


def table(
    client_: bigquery.Client, name: str = "t", *, filtered: bool = False, fields: list[Any] | None = None
) -> bigquery.Table:
    """A table partitioned by its `day` in the dataset `d`."""
    client_.create_dataset("d", exists_ok=True)
    wanted = bigquery.Table(f"{client_.project}.d.{name}", schema=fields or FIELDS)
    wanted.time_partitioning = bigquery.TimePartitioning(field="day")
    wanted.require_partition_filter = filtered
    return client_.create_table(wanted)


def rows(*given: dict[str, Any]) -> pa.RecordBatch:
    """Rows of `table`, today's unless they say another day."""
    full = [{"day": TODAY, "id": f"r{index}", **row} for index, row in enumerate(given)]
    return pa.RecordBatch.from_pylist(full, schema=ARROW)


def stream(project: str, name: str = "t") -> str:
    return f"projects/{project}/datasets/d/tables/{name}/streams/_default"


def request(batch: pa.RecordBatch, name: str = "", *, first: bool = True) -> types.AppendRowsRequest:
    found = types.AppendRowsRequest(write_stream=name)
    if first:
        found.arrow_rows.writer_schema.serialized_schema = batch.schema.serialize().to_pybytes()
    found.arrow_rows.rows.serialized_record_batch = batch.serialize().to_pybytes()
    return found


class Writer:
    """The official synchronous write client over an insecure channel."""

    def __init__(self, address: str) -> None:
        self._channel = grpc.insecure_channel(address)
        self.client = BigQueryWriteClient(transport=BigQueryWriteGrpcTransport(channel=self._channel))

    def call(self, requests: Iterable[types.AppendRowsRequest]) -> Iterator[types.AppendRowsResponse]:
        return iter(self.client.append_rows(iter(requests), timeout=60))

    def append(self, name: str, *batches: pa.RecordBatch) -> list[types.AppendRowsResponse]:
        """One connection, one request a batch."""
        return list(self.call(request(b, name if i == 0 else "", first=i == 0) for i, b in enumerate(batches)))

    def close(self) -> None:
        self._channel.close()


def one(client_: bigquery.Client, sql: str, **settings: Any) -> Any:
    """The only value a query gives."""
    (row,) = client_.query_and_wait(sql, job_config=bigquery.QueryJobConfig(**settings))
    (value,) = row.values()
    return value
