"""Rows as a file that a load job takes: Parquet, or where a column is JSON newline-delimited JSON.

BigQuery's load jobs fill JSON columns from CSV, Avro or JSON only, not from Parquet.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from services.loader import texts
from services.shared.schema import Table

GROUP_ROWS = 100_000  # of Parquet; a group is compressed as a whole
SLICE_ROWS = 2_000  # of JSON made at a time: as Python objects rows take ten times their bytes
_GZIP = 31  # zlib's word for gzip's format, the only compression BigQuery reads JSON in
_LEVEL = 1


class Unfit(Exception):
    """A row cannot be said in the format, such as one whose JSON is none."""


@dataclass(frozen=True)
class LoadFile:
    """`format` is BigQuery's name of it; `digest` is the same for the same rows alone."""

    format: str
    data: bytes
    digest: str


def build(table: Table, batches: Sequence[pa.RecordBatch]) -> LoadFile:
    """The rows of batches with the same columns, in order. Takes a while: not for the event loop. Raises Unfit."""
    if any(table.column(name).type == "JSON" for name in batches[0].schema.names):
        kind, data = "NEWLINE_DELIMITED_JSON", _json(table, batches)
    else:
        kind, data = "PARQUET", _parquet(batches)
    return LoadFile(kind, data, hashlib.sha256(data).hexdigest()[:32])


def _parquet(batches: Sequence[pa.RecordBatch]) -> bytes:
    sink = pa.BufferOutputStream()
    rows = pa.Table.from_batches(batches)
    pq.write_table(rows, sink, compression="zstd", row_group_size=GROUP_ROWS, coerce_timestamps="us")
    return bytes(sink.getvalue())


def _json(table: Table, batches: Sequence[pa.RecordBatch]) -> bytes:
    encoder, packer = msgspec.json.Encoder(), zlib.compressobj(_LEVEL, wbits=_GZIP)
    packed = []
    for batch in batches:
        for first in range(0, batch.num_rows, SLICE_ROWS):
            lines = encoder.encode_lines(_objects(table, batch.slice(first, SLICE_ROWS)))
            packed.append(packer.compress(lines))
    packed.append(packer.flush())
    return b"".join(packed)


def _objects(table: Table, batch: pa.RecordBatch) -> list[dict[str, object]]:
    names = batch.schema.names
    columns = []
    for name in names:
        kind = table.column(name).type
        values = texts.of(batch.column(name), kind)
        columns.append([None if value is None else _raw(value) for value in values] if kind == "JSON" else values)
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def _raw(text: str) -> msgspec.Raw:
    """JSON as it is, on one line; msgspec holds it to the grammar, so that no text can end the row it is in."""
    try:
        return msgspec.Raw(msgspec.json.format(text, indent=-1))
    except (msgspec.DecodeError, RecursionError) as error:
        raise Unfit(f"a JSON column holds what is no JSON: {error}") from error
