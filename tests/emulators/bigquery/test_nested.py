"""RECORD and REPEATED columns: made, appended to, loaded, changed and queried through the official clients."""

from __future__ import annotations

import datetime as dt
import io
import json
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from google.api_core.exceptions import BadRequest
from google.cloud import bigquery
from google.cloud.bigquery import SchemaField

from tests.conftest import BigQueryAddress
from tests.emulators import bigquery_client as desk

ITEM = [
    SchemaField("sku", "STRING", "REQUIRED"),
    SchemaField("n", "INTEGER"),
    SchemaField("at", "TIMESTAMP"),
    SchemaField("params", "JSON"),
    SchemaField("tags", "STRING", "REPEATED"),
]
FIELDS = [
    SchemaField("id", "STRING", "REQUIRED"),
    SchemaField("items", "RECORD", "REPEATED", description="what was bought", fields=ITEM),
    SchemaField("geo", "RECORD", fields=[SchemaField("city", "STRING"), SchemaField("lat", "NUMERIC")]),
    SchemaField("tags", "STRING", "REPEATED"),
]
ARROW_ITEM = pa.struct(
    {
        "sku": pa.string(),
        "n": pa.int64(),
        "at": pa.timestamp("us", "UTC"),
        "params": pa.string(),
        "tags": pa.list_(pa.string()),
    }
)
ARROW = pa.schema(
    {
        "id": pa.string(),
        "items": pa.list_(ARROW_ITEM),
        "geo": pa.struct({"city": pa.string(), "lat": pa.decimal128(38, 9)}),
        "tags": pa.list_(pa.string()),
    }
)
AT = dt.datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=dt.UTC)
FULL = {"sku": "s", "n": 2, "at": AT, "params": '{"k": [1]}', "tags": ["x", "y"]}
SHOWN = {**FULL, "params": {"k": [1]}}
EMPTY = {"sku": "t", "n": None, "at": None, "params": None, "tags": []}


@pytest.fixture
def client(bigquery_host: BigQueryAddress, project: str) -> Iterator[bigquery.Client]:
    made = desk.client(bigquery_host.rest, project)
    made.create_dataset("d")
    made.create_table(bigquery.Table(f"{project}.d.orders", schema=FIELDS))
    yield made
    made.close()


def ask(client: bigquery.Client, sql: str) -> list[tuple[Any, ...]]:
    return [tuple(row.values()) for row in client.query_and_wait(sql)]


def append(writer: desk.Writer, client: bigquery.Client, rows: list[dict[str, Any]], schema: pa.Schema = ARROW) -> Any:
    batch = pa.RecordBatch.from_pylist(rows, schema=schema)
    (answer,) = writer.append(desk.stream(client.project, "orders"), batch)
    return answer


def test_table_keeps_its_nested_schema(client: bigquery.Client) -> None:
    table = client.get_table("d.orders")
    assert table.schema == FIELDS
    assert table.schema[1].description == "what was bought"


def test_appended_values_come_back_in_queries_lists_and_views(client: bigquery.Client, writer: desk.Writer) -> None:
    rows = [
        {"id": "a", "items": [FULL, EMPTY], "geo": {"city": "Ulm", "lat": None}, "tags": ["p"]},
        {"id": "b", "items": None, "geo": None, "tags": []},
    ]
    assert not append(writer, client, rows).error.code
    stored = [("a", [SHOWN, EMPTY], {"city": "Ulm", "lat": None}, ["p"]), ("b", [], None, [])]
    assert ask(client, "SELECT * FROM d.orders ORDER BY id") == stored
    assert [tuple(row.values()) for row in client.list_rows(client.get_table("d.orders"))] == stored
    view = bigquery.Table(f"{client.project}.d.v")
    view.view_query = f"SELECT id, items, geo FROM `{client.project}.d.orders`"
    assert [field.field_type for field in client.create_table(view).schema] == ["STRING", "RECORD", "RECORD"]
    assert ask(client, "SELECT items[0].tags[SAFE_OFFSET(1)], geo.city FROM d.v WHERE id = 'a'") == [("y", "Ulm")]


def test_fields_may_be_left_out_and_stand_in_any_order(client: bigquery.Client, writer: desk.Writer) -> None:
    item = pa.struct({"n": pa.int64(), "SKU": pa.large_string()})
    schema = pa.schema({"items": pa.list_(item), "id": pa.string()})
    assert not append(writer, client, [{"id": "a", "items": [{"n": 1, "SKU": "s"}]}], schema).error.code
    expected = {"sku": "s", "n": 1, "at": None, "params": None, "tags": []}
    assert ask(client, "SELECT items, tags FROM d.orders") == [([expected], [])]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"items": [{**FULL, "sku": None}]}, "Required field items.sku cannot be null"),
        ({"items": [None]}, "cannot have a NULL element"),
        ({"tags": ["x", None]}, "cannot have a NULL element"),
        ({"items": [{**FULL, "params": "{"}]}, "items.params: value is not valid JSON"),
    ],
)
def test_bad_row_inside_a_batch_is_named(
    client: bigquery.Client, writer: desk.Writer, row: dict[str, Any], message: str
) -> None:
    answer = append(writer, client, [{"id": "good"}, {"id": "bad", **row}, {"id": "good"}])
    assert [error.index for error in answer.row_errors] == [1]
    assert message in answer.row_errors[0].message
    assert ask(client, "SELECT COUNT(*) FROM d.orders") == [(0,)]


@pytest.mark.parametrize(
    ("field", "message"),
    [
        (("items", pa.list_(pa.struct({"sku": pa.string(), "x": pa.int64()}))), "extra fields: 'items.x'"),
        (("items", pa.list_(pa.struct({"n": pa.int64()}))), "required field 'items.sku' is missing"),
        (("items", pa.list_(pa.struct({"sku": pa.int64()}))), "'items.sku' has BigQuery type STRING"),
        (("tags", pa.string()), "'tags' has BigQuery type ARRAY<STRING>"),
        (("geo", pa.list_(pa.string())), "'geo' has BigQuery type STRUCT"),
        (("tags", pa.list_(pa.list_(pa.string()))), "'tags' has BigQuery type STRING"),
    ],
)
def test_batch_of_other_types_is_refused(
    client: bigquery.Client, writer: desk.Writer, field: tuple[str, pa.DataType], message: str
) -> None:
    schema = pa.schema([("id", pa.string()), field])
    answer = append(writer, client, [{"id": "a"}], schema)
    assert answer.error.code == 3
    assert message in answer.error.message


def test_records_gain_fields_and_rows_that_are_there_keep_theirs(client: bigquery.Client, writer: desk.Writer) -> None:
    append(writer, client, [{"id": "a", "items": [FULL], "geo": {"city": "Ulm", "lat": None}}])
    table = client.get_table("d.orders")
    more = [SchemaField("new", "INTEGER"), SchemaField("list", "DATE", "REPEATED")]
    items = SchemaField("items", "RECORD", "REPEATED", fields=[*ITEM, *more])
    table.schema = [FIELDS[0], items, *FIELDS[2:], SchemaField("dates", "DATE", "REPEATED")]
    changed = client.update_table(table, ["schema"])
    assert changed.schema == table.schema
    assert ask(client, "SELECT items, dates FROM d.orders") == [([{**SHOWN, "new": None, "list": []}], [])]
    changed.schema = FIELDS
    with pytest.raises(BadRequest, match="is missing in new schema"):
        client.update_table(changed, ["schema"])


LINE_ITEM = {"sku": "s", "n": "2", "at": "2026-01-02T03:04:05.678901Z", "params": {"k": [1]}, "tags": ["x", "y"]}
ROWS = [
    {"id": "a", "items": [LINE_ITEM]},
    {"id": "b", "geo": {"lat": 1.5}, "tags": ["p"], "items": None},
]


def load(client: bigquery.Client, data: bytes, **settings: Any) -> bigquery.LoadJob:
    config = bigquery.LoadJobConfig(**settings)
    return client.load_table_from_file(io.BytesIO(data), f"{client.project}.d.orders", job_config=config)


def test_json_lines_are_loaded(client: bigquery.Client) -> None:
    lines = "\n".join(json.dumps(row) for row in ROWS).encode()
    load(client, lines, source_format="NEWLINE_DELIMITED_JSON").result()
    assert ask(client, "SELECT items, geo.lat, tags FROM d.orders ORDER BY id") == [
        ([SHOWN], None, []),
        ([], ask(client, "SELECT NUMERIC '1.5'")[0][0], ["p"]),
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ({"id": "a", "items": [{"n": 1}]}, "Missing required field: items.sku"),
        ({"id": "a", "items": [{"sku": "s", "x": 1}]}, "No such field: items.x"),
        ({"id": "a", "items": {"sku": "s"}}, "items"),
        ({"id": "a", "tags": [None]}, "null element"),
    ],
)
def test_bad_line_is_refused_by_its_field(client: bigquery.Client, line: dict[str, Any], message: str) -> None:
    with pytest.raises(BadRequest, match=message):
        load(client, json.dumps(line).encode(), source_format="NEWLINE_DELIMITED_JSON").result()


def parquet(table: pa.Table) -> bytes:
    written = io.BytesIO()
    pq.write_table(table, written)
    return written.getvalue()


def test_parquet_is_loaded_with_lists_where_they_are_asked_for(client: bigquery.Client) -> None:
    item = pa.struct({"sku": pa.string(), "n": pa.int32()})
    schema = pa.schema({"id": pa.string(), "items": pa.list_(item), "tags": pa.list_(pa.string())})
    data = parquet(pa.Table.from_pylist([{"id": "a", "items": [{"sku": "s", "n": 1}], "tags": None}], schema=schema))
    with pytest.raises(BadRequest, match="enableListInference"):
        load(client, data, source_format="PARQUET").result()
    options = bigquery.format_options.ParquetOptions()
    options.enable_list_inference = True
    load(client, data, source_format="PARQUET", parquet_options=options).result()
    assert ask(client, "SELECT items[0].n, tags FROM d.orders") == [(1, [])]


def test_statements_store_what_a_table_can_keep(client: bigquery.Client) -> None:
    ask(client, "INSERT INTO d.orders (id, items, geo) VALUES ('a', [('s', 1, NULL, NULL, ['x'])], ('Ulm', NULL))")
    ask(client, "INSERT INTO d.orders (id) VALUES ('b')")
    ask(client, "UPDATE d.orders SET tags = ['p'], geo = STRUCT('Bonn', NUMERIC '1') WHERE id = 'b'")
    assert ask(client, "SELECT id, items, geo.city, tags FROM d.orders ORDER BY id") == [
        ("a", [{"sku": "s", "n": 1, "at": None, "params": None, "tags": ["x"]}], "Ulm", []),
        ("b", [], "Bonn", ["p"]),
    ]
    with pytest.raises(BadRequest, match=r"Required field items\.sku cannot be null"):
        ask(client, "INSERT INTO d.orders (id, items) VALUES ('c', [(NULL, 1, NULL, NULL, NULL)])")
    with pytest.raises(BadRequest, match="cannot have a null element"):
        ask(client, "INSERT INTO d.orders (id, tags) VALUES ('c', [CAST(NULL AS STRING)])")
    sql = (
        "SELECT id, ARRAY_AGG(STRUCT(i.sku, i.n) ORDER BY i.sku) AS items FROM d.orders, UNNEST(items) AS i GROUP BY id"
    )
    ask(client, f"CREATE TABLE d.made AS {sql}")
    assert client.get_table("d.made").schema[1].fields == (SchemaField("sku", "STRING"), SchemaField("n", "INTEGER"))
    assert ask(client, "SELECT * FROM d.made") == [("a", [{"sku": "s", "n": 1}])]
    ask(client, "CREATE TABLE d.declared (tags ARRAY<STRING>, s STRUCT<a INT64 NOT NULL, b ARRAY<STRUCT<c DATE>>>)")
    (tags, struct) = client.get_table("d.declared").schema
    assert (tags.mode, struct.fields[0].mode, struct.fields[1].fields[0].field_type) == ("REPEATED", "REQUIRED", "DATE")


REFUSED = {
    "CREATE TABLE d.x (a ARRAY<ARRAY<INT64>>)": "rray of array",
    "CREATE TABLE d.x AS SELECT STRUCT(1) AS s": "field without a name",
    "SELECT items.sku FROM d.orders": "Cannot access field sku on a value with type ARRAY",
    "SELECT geo.nope FROM d.orders": "Field name nope does not exist",
    "SELECT id FROM d.orders GROUP BY geo": "Grouping by expressions of type STRUCT",
    "SELECT id FROM d.orders ORDER BY tags": "ORDER BY of type ARRAY",
    "SELECT ARRAY_AGG(tags) FROM d.orders": "array as an element of an array",
    "INSERT INTO d.orders (id, tags) VALUES ('a', 'b')": "cannot be inserted into column tags",
}


@pytest.mark.parametrize("sql", REFUSED)
def test_what_bigquery_refuses_of_nested_values_is_refused(client: bigquery.Client, sql: str) -> None:
    with pytest.raises(BadRequest, match=REFUSED[sql]):
        ask(client, sql)
