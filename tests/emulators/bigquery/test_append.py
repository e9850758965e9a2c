"""AppendRows through the official clients: what is committed, what is refused, and how it is said."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncIterator, Iterator
from decimal import Decimal
from typing import Any

import grpc
import pyarrow as pa
import pytest
from google.api_core.exceptions import InvalidArgument, MethodNotImplemented, NotFound
from google.cloud import bigquery
from google.cloud.bigquery_storage import BigQueryWriteAsyncClient
from google.cloud.bigquery_storage_v1 import types
from google.cloud.bigquery_storage_v1.services.big_query_write.transports import BigQueryWriteGrpcAsyncIOTransport

from tests import process
from tests.conftest import BigQueryAddress
from tests.emulators import bigquery_client as desk
from tests.emulators.bigquery_client import TODAY, rows, stream

INVALID = grpc.StatusCode.INVALID_ARGUMENT.value[0]


def count(client: bigquery.Client, name: str = "t") -> int:
    return int(desk.one(client, f"SELECT COUNT(*) FROM d.{name}"))


def test_values_come_back_as_they_were_sent(client: bigquery.Client, writer: desk.Writer) -> None:
    desk.table(client)
    full = {
        "at": desk.NOW,
        "n": -(2**63),
        "f": 0.1,
        "ok": True,
        "amount": Decimal("-12345678901234567890123456789.123456789"),
        "params": '{"ä": [1, {"b": null}], "a": "x"}',
        "raw": b"\x00\xff",
    }
    (answer,) = writer.append(stream(client.project), rows(full, {}))
    assert answer.write_stream == stream(client.project)
    assert not answer.error.code and not answer.row_errors
    found = [dict(row) for row in client.query_and_wait("SELECT * FROM d.t ORDER BY id")]
    assert found[0] == {**full, "day": TODAY, "id": "r0", "params": {"ä": [1, {"b": None}], "a": "x"}}
    assert found[1] == {**dict.fromkeys(full), "day": TODAY, "id": "r1"}


def test_missing_nullable_columns_are_null_and_order_does_not_matter(
    client: bigquery.Client, writer: desk.Writer
) -> None:
    desk.table(client)
    batch = pa.record_batch({"ID": pa.array(["a"]), "n": pa.array([1]), "day": pa.array([TODAY])})
    (answer,) = writer.append(stream(client.project), batch)
    assert not answer.error.code, answer
    (row,) = client.query_and_wait("SELECT id, n, f FROM d.t")
    assert tuple(row) == ("a", 1, None)


def test_large_types_are_taken(client: bigquery.Client, writer: desk.Writer) -> None:
    desk.table(client)
    batch = pa.record_batch(
        {
            "day": pa.array([TODAY]),
            "id": pa.array(["a"], pa.large_string()),
            "params": pa.array(["[1]"], pa.large_string()),
            "raw": pa.array([b"x"], pa.large_binary()),
        }
    )
    (answer,) = writer.append(stream(client.project), batch)
    assert not answer.error.code, answer
    assert desk.one(client, "SELECT params FROM d.t") == [1]


BAD_ROWS: list[tuple[dict[str, Any], str]] = [
    ({"id": None}, "Required field id cannot be null"),
    ({"params": "{not json"}, "not valid JSON"),
    ({"params": ""}, "not valid JSON"),
    ({"params": '{"a": NaN}'}, "not valid JSON"),
    ({"params": '{"a": 1,}'}, "not valid JSON"),
    ({"params": "1 2"}, "not valid JSON"),
    ({"day": TODAY - dt.timedelta(days=6 * 365)}, "outside the allowed bounds"),
    ({"day": TODAY + dt.timedelta(days=400)}, "outside the allowed bounds"),
]


@pytest.mark.parametrize(("bad", "reason"), BAD_ROWS, ids=[f"{next(iter(row))}-{why}" for row, why in BAD_ROWS])
def test_bad_rows_are_named_by_index_and_nothing_is_written(
    client: bigquery.Client, writer: desk.Writer, bad: dict[str, Any], reason: str
) -> None:
    desk.table(client)
    name = stream(client.project)
    schema = pa.schema([field.with_nullable(True) for field in desk.ARROW])
    batch = pa.RecordBatch.from_pylist([{"day": TODAY, "id": "x", **row} for row in ({}, bad, {}, bad)], schema=schema)
    first, second = writer.append(name, batch, rows({}))
    assert first.error.code == INVALID
    assert [error.index for error in first.row_errors] == [1, 3]
    assert all(reason in error.message for error in first.row_errors)
    assert all(error.code == types.RowError.RowErrorCode.FIELDS_ERROR for error in first.row_errors)
    assert not second.error.code, "the stream stays open"
    assert count(client) == 1


def test_dates_and_timestamps_out_of_bigquerys_range_are_row_errors(
    client: bigquery.Client, writer: desk.Writer
) -> None:
    fields = [
        bigquery.SchemaField("day", "DATE", "REQUIRED"),
        bigquery.SchemaField("when", "DATE"),
        bigquery.SchemaField("at", "TIMESTAMP"),
    ]
    desk.table(client, fields=fields)
    batch = pa.record_batch(
        {
            "day": pa.array([TODAY] * 5),
            "when": pa.array([-719_162, 2_932_896, 2_932_897, None, -719_163], pa.int32()).cast(pa.date32()),
            "at": pa.array([-62_135_596_800_000_000, 253_402_300_799_999_999, None, 253_402_300_800_000_000, 0]).cast(
                pa.timestamp("us", tz="UTC")
            ),
        }
    )
    (answer,) = writer.append(stream(client.project), batch)
    assert [error.index for error in answer.row_errors] == [2, 3, 4]
    (answer,) = writer.append(stream(client.project), batch.slice(0, 2))
    assert not answer.error.code, answer
    assert desk.one(client, "SELECT MAX(`at`) FROM d.t") == dt.datetime(9999, 12, 31, 23, 59, 59, 999999, dt.UTC)


def test_numeric_beyond_its_digits_is_a_row_error(client: bigquery.Client, writer: desk.Writer) -> None:
    desk.table(client)
    beyond = (10**38).to_bytes(16, "little", signed=True)
    fits = (10**38 - 1).to_bytes(16, "little", signed=True)
    amounts = pa.Array.from_buffers(pa.decimal128(38, 9), 2, [None, pa.py_buffer(fits + beyond)])
    batch = pa.record_batch({"day": pa.array([TODAY] * 2), "id": pa.array(["a", "b"]), "amount": amounts})
    (answer,) = writer.append(stream(client.project), batch)
    assert [(error.index, "NUMERIC" in error.message) for error in answer.row_errors] == [(1, True)]
    assert count(client) == 0


MISFITS = {
    "extra fields: 'nope'": {"day": pa.array([TODAY]), "id": pa.array(["a"]), "nope": pa.array([1])},
    "'n' has BigQuery type INT64": {"day": pa.array([TODAY]), "id": pa.array(["a"]), "n": pa.array(["1"])},
    "'n' has BigQuery type": {"day": pa.array([TODAY]), "id": pa.array(["a"]), "n": pa.array([1], pa.int32())},
    "'at' has BigQuery type TIMESTAMP": {
        "day": pa.array([TODAY]),
        "id": pa.array(["a"]),
        "at": pa.array([0], pa.timestamp("us")),
    },
    "required field 'id' is missing": {"day": pa.array([TODAY])},
}


@pytest.mark.parametrize("reason", MISFITS)
def test_batch_that_does_not_fit_the_table_is_refused_as_a_whole(
    client: bigquery.Client, writer: desk.Writer, reason: str
) -> None:
    desk.table(client)
    (answer,) = writer.append(stream(client.project), pa.record_batch(MISFITS[reason]))
    assert (answer.error.code, len(answer.row_errors)) == (INVALID, 0)
    assert reason in answer.error.message
    assert count(client) == 0


def test_bytes_that_are_no_batch_are_refused_and_the_stream_goes_on(
    client: bigquery.Client, writer: desk.Writer
) -> None:
    desk.table(client)
    good = desk.request(rows({}), stream(client.project))
    bad = types.AppendRowsRequest()
    bad.arrow_rows.rows.serialized_record_batch = b"not arrow at all"
    lying = desk.request(rows({"params": '"x"'}), first=False)
    data = lying.arrow_rows.rows.serialized_record_batch
    lying.arrow_rows.rows.serialized_record_batch = data.replace(b'"x"', b'"\xff"')
    answers = list(writer.call([good, bad, lying, desk.request(rows({}), first=False)]))
    assert [answer.error.code for answer in answers] == [0, INVALID, INVALID, 0]
    assert count(client) == 2


def test_unknown_table_or_dataset_ends_the_call_with_not_found(client: bigquery.Client, writer: desk.Writer) -> None:
    with pytest.raises(NotFound, match="Dataset"):
        writer.append(stream(client.project), rows({}))
    desk.table(client)
    with pytest.raises(NotFound, match="Table"):
        writer.append(stream(client.project, "nope"), rows({}))


def test_earlier_appends_of_a_call_that_ends_badly_stay(client: bigquery.Client, writer: desk.Writer) -> None:
    desk.table(client)
    call = writer.call(
        [desk.request(rows({}), stream(client.project)), desk.request(rows({}), stream(client.project, "nope"))]
    )
    assert not next(call).error.code
    with pytest.raises(NotFound):
        next(call)
    assert count(client) == 1


def test_schema_change_is_told_once_and_new_columns_can_be_written(
    client: bigquery.Client, writer: desk.Writer
) -> None:
    table = desk.table(client)

    def requests() -> Iterator[types.AppendRowsRequest]:
        yield desk.request(rows({}), stream(client.project))
        process.wait_for(lambda: len(seen) == 1, what="the first answer")
        assert not seen[0].updated_schema.fields
        table.schema = [*table.schema, bigquery.SchemaField("more", "STRING")]
        client.update_table(table, ["schema"])
        yield desk.request(rows({}), first=False)
        process.wait_for(lambda: len(seen) == 2, what="the second answer")
        assert [field.name for field in seen[1].updated_schema.fields][-1] == "more"
        grown = rows({}).append_column("more", pa.array(["x"]))
        yield desk.request(grown)

    seen: list[types.AppendRowsResponse] = []
    for answer in writer.call(requests()):
        seen.append(answer)
    assert len(seen) == 3
    assert not seen[2].updated_schema.fields
    assert desk.one(client, "SELECT COUNTIF(more = 'x') FROM d.t") == 1


def test_request_over_the_limit_is_refused_in_words(client: bigquery.Client, writer: desk.Writer) -> None:
    desk.table(client)
    huge = rows({"params": '"' + "x" * 20_000_000 + '"'})
    first, second = writer.append(stream(client.project), huge, rows({}))
    assert first.error.code == INVALID
    assert "exceeds the limit" in first.error.message
    assert not second.error.code
    assert count(client) == 1


def test_two_tables_may_share_a_connection(client: bigquery.Client, writer: desk.Writer) -> None:
    desk.table(client)
    desk.table(client, "u")
    requests = [
        desk.request(rows({}), stream(client.project)),
        desk.request(rows({}, {}), stream(client.project, "u")),
        desk.request(rows({}), first=False),
    ]
    assert [answer.error.code for answer in writer.call(requests)] == [0, 0, 0]
    assert (count(client), count(client, "u")) == (1, 3)


def test_what_is_not_supported_says_so(client: bigquery.Client, writer: desk.Writer) -> None:
    desk.table(client)
    parent = f"projects/{client.project}/datasets/d/tables/t"
    with pytest.raises(MethodNotImplemented, match="default streams only"):
        writer.client.create_write_stream(
            parent=parent, write_stream=types.WriteStream(type_=types.WriteStream.Type.PENDING)
        )
    with pytest.raises(MethodNotImplemented, match="default stream"):
        writer.append(f"{parent}/streams/mine", rows({}))
    proto = types.AppendRowsRequest(write_stream=stream(client.project))
    proto.proto_rows.rows.serialized_rows = [b""]
    with pytest.raises(MethodNotImplemented, match="proto_rows"):
        list(writer.call([proto]))
    with pytest.raises(InvalidArgument, match="Invalid stream name"):
        writer.append("nonsense", rows({}))
    view = bigquery.Table(f"{client.project}.d.v")
    view.view_query = "SELECT 1 AS a"
    client.create_table(view)
    with pytest.raises(InvalidArgument, match="is a view"):
        writer.append(stream(client.project, "v"), rows({}))


def test_default_stream_can_be_looked_up(client: bigquery.Client, writer: desk.Writer) -> None:
    desk.table(client)
    request = types.GetWriteStreamRequest(name=stream(client.project), view=types.WriteStreamView.FULL)
    found = writer.client.get_write_stream(request=request)
    assert found.type_ == types.WriteStream.Type.COMMITTED
    kinds = types.TableFieldSchema
    assert [(f.name, f.type_, f.mode) for f in found.table_schema.fields][:2] == [
        ("day", kinds.Type.DATE, kinds.Mode.REQUIRED),
        ("id", kinds.Type.STRING, kinds.Mode.REQUIRED),
    ]
    short = writer.client.get_write_stream(name=f"projects/{client.project}/datasets/d/tables/t/_default")
    assert not short.table_schema.fields
    with pytest.raises(NotFound):
        writer.client.get_write_stream(name=stream(client.project, "nope"))


async def test_async_client_keeps_many_appends_in_flight_in_order(
    client: bigquery.Client, bigquery_host: BigQueryAddress
) -> None:
    await asyncio.to_thread(desk.table, client)
    channel = grpc.aio.insecure_channel(bigquery_host.grpc)
    writer = BigQueryWriteAsyncClient(transport=BigQueryWriteGrpcAsyncIOTransport(channel=channel))
    name = stream(client.project)

    async def requests() -> AsyncIterator[types.AppendRowsRequest]:
        for n in range(100):
            bad = {"params": "{"} if n % 10 == 3 else {}
            yield desk.request(rows({"n": n, **bad}), name, first=n == 0)

    metadata = [("x-goog-request-params", f"write_stream={name}")]
    answers = await writer.append_rows(requests(), metadata=metadata, retry=None, timeout=60)
    refused = [index async for index, answer in _numbered(answers) if answer.error.code]
    await channel.close()
    assert refused == list(range(3, 100, 10))
    listed = await asyncio.to_thread(lambda: [row["n"] for row in client.list_rows("d.t")])
    assert listed == [n for n in range(100) if n % 10 != 3]


async def _numbered(answers: Any) -> AsyncIterator[tuple[int, Any]]:
    index = 0
    async for answer in answers:
        yield index, answer
        index += 1
