from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.shared import identity, rows, schema, zstd_frame
from services.shared.errors import Poison
from tests.schemas import SCHEMA

EVENTS = SCHEMA.tables["events"]


def _batch(count: int = 3) -> pa.RecordBatch:
    arrow = pa.schema([pa.field("n", pa.int64(), nullable=False), pa.field("s", pa.string())])
    return pa.record_batch([list(range(count)), ["x" * 10] * count], schema=arrow)


def test_every_type_has_its_arrow_type() -> None:
    source = (schema.Source("param", "a"),)
    inner = (schema.Column("s", "STRING", source), schema.Column("n", "INT64", source, repeated=True))
    columns = tuple(
        schema.Column(kind, kind, source, fields=inner if kind == schema.STRUCT else ()) for kind in schema.TYPES
    )
    arrow = rows.arrow_schema(schema.Table("t", columns, "DATE"))
    assert [str(field.type) for field in arrow] == [
        "string",
        "int64",
        "double",
        "bool",
        "timestamp[us, tz=UTC]",
        "date32[day]",
        "timestamp[us]",
        "time64[us]",
        "decimal128(38, 9)",
        "decimal256(76, 38)",
        "binary",
        "string",
        "struct<s: string, n: list<item: int64 not null> not null>",
    ]


def test_a_packed_batch_comes_back() -> None:
    data, attributes = rows.pack(_batch(), "events", "some-pack")
    assert rows.unpack(data, attributes).equals(_batch())
    assert attributes["table"] == "events"
    assert attributes["count"] == "3"
    assert attributes["pack"] == "some-pack"


def test_the_fingerprint_changes_with_name_type_mode_and_order() -> None:
    base = rows.arrow_schema(EVENTS)
    changed = [
        base.set(1, base.field(1).with_name("other")),
        base.set(1, base.field(1).with_type(pa.int64())),
        base.set(1, base.field(1).with_nullable(True)),
        pa.schema([base.field(1), base.field(0), *list(base)[2:]]),
    ]
    assert len({rows.fingerprint(one) for one in [base, *changed]}) == 5
    assert rows.fingerprint(pa.schema(list(base))) == rows.fingerprint(base)


def test_pack_ids_repeat_for_the_same_source_and_differ_otherwise() -> None:
    source = identity.uuid7(1_700_000_000_000_000)
    same = {rows.pack_id(source, "events", 0) for _ in range(3)}
    others = {rows.pack_id(source, "events", 1), rows.pack_id(source, "rejects", 0), rows.pack_id("x", "events", 0)}
    assert len(same) == 1
    assert len(same | others) == 4
    assert identity.time_of(same.pop()) == identity.time_of(source)


@given(st.integers(1, 300), st.integers(50, 3000))
def test_splitting_keeps_all_rows_in_order_and_within_the_limit(count: int, limit: int) -> None:
    parts = rows.split(_batch(count), limit)
    assert [n for part in parts for n in part.column("n").to_pylist()] == list(range(count))
    assert all(part.nbytes <= limit or part.num_rows == 1 for part in parts)


def _stream(*batches: pa.RecordBatch) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, _batch().schema) as stream:
        for batch in batches:
            stream.write_batch(batch)
    return zstd_frame.compress(sink.getvalue())


GOOD, ATTRIBUTES = rows.pack(_batch(), "events", "p")


@pytest.mark.parametrize(
    ("data", "attributes", "says"),
    [
        (GOOD, {}, "schema is None"),
        (GOOD, {**ATTRIBUTES, "fingerprint": "0" * 16}, "fingerprint is '0000000000000000'"),
        (GOOD, {**ATTRIBUTES, "count": "4"}, "count is '4', the batch holds 3"),
        (_stream(), ATTRIBUTES, "0 record batches"),
        (_stream(_batch(), _batch()), ATTRIBUTES, "2 record batches"),
        (zstd_frame.compress(b"not arrow at all"), ATTRIBUTES, "arrow: "),
        (zstd_frame.compress(b""), ATTRIBUTES, "arrow: "),
        (b"not zstd", ATTRIBUTES, "zstd: "),
        (GOOD[:-4], ATTRIBUTES, "zstd: "),
    ],
)
def test_a_message_that_is_not_one_batch_is_poison_with_a_reason(
    data: bytes, attributes: dict[str, str], says: str
) -> None:
    with pytest.raises(Poison) as caught:
        rows.unpack(data, attributes)
    assert says in str(caught.value)


@given(st.data())
def test_a_damaged_stream_is_poison_or_another_batch_and_never_a_crash(data: st.DataObject) -> None:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, _batch().schema) as stream:
        stream.write_batch(_batch())
    damaged = bytearray(sink.getvalue().to_pybytes())
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    try:
        batch = rows.unpack(zstd_frame.compress(bytes(damaged)), ATTRIBUTES)
    except Poison:
        return
    assert batch.num_rows == 3
