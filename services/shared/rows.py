"""The second wire format: a batch of typed rows of one table, as Arrow, is one Pub/Sub message.

The payload is an Arrow IPC stream (schema and one record batch) in one zstd frame, so a reader knows the writer's
columns even while a schema change rolls through the pods.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import pyarrow as pa

from services.shared import format_version, identity, zstd_frame
from services.shared.errors import Poison
from services.shared.schema import STRUCT, Column, Table

SCHEMA = "rows/1"
MAX_BATCH_BYTES = 3_500_000  # of Arrow buffers in one message: below the 4 MiB that gRPC clients accept by default

_ARROW = {
    "STRING": pa.string(),
    "INT64": pa.int64(),
    "FLOAT64": pa.float64(),
    "BOOL": pa.bool_(),
    "TIMESTAMP": pa.timestamp("us", tz="UTC"),
    "DATE": pa.date32(),
    "DATETIME": pa.timestamp("us"),
    "TIME": pa.time64("us"),
    "NUMERIC": pa.decimal128(38, 9),
    "BIGNUMERIC": pa.decimal256(76, 38),
    "BYTES": pa.binary(),
    "JSON": pa.string(),
}


def arrow_schema(table: Table) -> pa.Schema:
    """The Arrow schema of a table: TIMESTAMP in µs UTC, DATE in days, NUMERIC decimal(38, 9), JSON as text."""
    return pa.schema([_field(column) for column in table.columns])


def _field(column: Column) -> pa.Field:
    """A REPEATED column is a list, which may be empty but not NULL."""
    kind = pa.struct([_field(field) for field in column.fields]) if column.type == STRUCT else _ARROW[column.type]
    if column.repeated:
        return pa.field(column.name, pa.list_(pa.field("item", kind, nullable=False)), nullable=False)
    return pa.field(column.name, kind, nullable=not column.required)


def fingerprint(schema: pa.Schema) -> str:
    """Sixteen hexadecimal digits that change with any column's name, type, mode or place."""
    text = "\n".join(f"{field.name} {field.type} {field.nullable}" for field in schema)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def pack_id(source: str, table: str, part: int) -> str:
    """The id of the rows pack made of one table's share of the hits pack `source`.

    The same hits pack delivered twice yields rows packs with the same ids, so the loader can drop the second.
    """
    entropy = hashlib.sha256(f"{source}/{table}/{part}".encode()).digest()[:10]
    return identity.uuid7((identity.time_of(source) or 0) * 1000, entropy)


def pack(batch: pa.RecordBatch, table: str, pack: str) -> tuple[bytes, dict[str, str]]:
    """The data and attributes of one message of `rows`."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as stream:
        stream.write_batch(batch)
    attributes = {
        "schema": SCHEMA,
        "table": table,
        "fingerprint": fingerprint(batch.schema),
        "count": str(batch.num_rows),
        "pack": pack,
    }
    return zstd_frame.compress(sink.getvalue()), attributes


def split(batch: pa.RecordBatch, limit: int = MAX_BATCH_BYTES) -> list[pa.RecordBatch]:
    """The rows in order, in batches of at most `limit` bytes; one row alone may be larger."""
    if batch.num_rows <= 1 or batch.nbytes <= limit:
        return [batch]
    half = batch.num_rows // 2
    return [*split(batch.slice(0, half), limit), *split(batch.slice(half), limit)]


def unpack(data: bytes, attributes: Mapping[str, str]) -> pa.RecordBatch:
    """The batch of one message, with the columns its writer gave it.

    Raises Poison, saying what is wrong, for anything but exactly one; NewerFormat for a version after this one.
    """
    format_version.check(attributes.get("schema"), SCHEMA)
    try:
        with pa.ipc.open_stream(zstd_frame.decompress(data)) as stream:
            batches = list(stream)
        if len(batches) != 1:
            raise Poison(f"{len(batches)} record batches, one is wanted")
        batch = batches[0]
        batch.validate(full=True)
        found = fingerprint(batch.schema)  # reads the columns' names, which damage can make other than UTF-8
    except (pa.ArrowException, OSError, ValueError) as error:
        raise Poison(f"arrow: {error}") from error
    if not 0 < len(set(batch.schema.names)) == len(batch.schema.names):
        raise Poison("there is no column, or one is there twice")
    if found != attributes.get("fingerprint"):
        raise Poison(f"fingerprint is {attributes.get('fingerprint')!r}, the batch has {found!r}")
    if str(batch.num_rows) != attributes.get("count"):
        raise Poison(f"count is {attributes.get('count')!r}, the batch holds {batch.num_rows} rows")
    return batch
