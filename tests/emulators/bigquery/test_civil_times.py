"""DATETIME and TIME columns: appended, loaded, queried and compared through the official clients."""

from __future__ import annotations

import datetime as dt
import io
import json
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest
from google.api_core.exceptions import BadRequest
from google.cloud import bigquery
from google.cloud.bigquery import SchemaField

from tests.conftest import BigQueryAddress
from tests.emulators import bigquery_client as desk
from tests.emulators.bigquery.oracle import oracle

AT = dt.datetime(2026, 3, 1, 12, 30, 15, 250_000)  # noqa: DTZ001 - a DATETIME has no zone
CLOCK = dt.time(23, 59, 59, 1)
FIELDS = [
    SchemaField("at", "DATETIME"),
    SchemaField("clock", "TIME"),
    SchemaField("all", "RECORD", "REPEATED", fields=[SchemaField("at", "DATETIME"), SchemaField("clock", "TIME")]),
]
INNER = pa.struct({"at": pa.timestamp("us"), "clock": pa.time64("us")})
ARROW = pa.schema({"at": pa.timestamp("us"), "clock": pa.time64("us"), "all": pa.list_(INNER)})
ROW = {"at": AT, "clock": CLOCK, "all": [{"at": AT, "clock": None}, {"at": None, "clock": CLOCK}]}


@pytest.fixture
def client(bigquery_host: BigQueryAddress, project: str) -> Iterator[bigquery.Client]:
    made = desk.client(bigquery_host.rest, project)
    made.create_dataset("d")
    made.create_table(bigquery.Table(f"{project}.d.t", schema=FIELDS))
    yield made
    made.close()


def rows(client: bigquery.Client, sql: str) -> list[dict[str, Any]]:
    return [dict(row) for row in client.query_and_wait(sql)]


def test_what_is_appended_comes_back_in_queries_and_lists(
    client: bigquery.Client, bigquery_host: BigQueryAddress
) -> None:
    writer = desk.Writer(bigquery_host.grpc)
    batch = pa.RecordBatch.from_pylist([ROW, {"at": None, "clock": None, "all": []}], schema=ARROW)
    (answer,) = writer.append(desk.stream(client.project, "t"), batch)
    writer.close()
    assert not answer.error.code, answer
    empty = {"at": None, "clock": None, "all": []}
    assert rows(client, "SELECT * FROM d.t ORDER BY `at` IS NULL") == [ROW, empty]
    assert [dict(row) for row in client.list_rows(client.get_table("d.t"))] == [ROW, empty]
    assert [field.field_type for field in client.get_table("d.t").schema[:2]] == ["DATETIME", "TIME"]


def test_what_is_loaded_comes_back_and_can_be_compared(client: bigquery.Client) -> None:
    line = json.dumps({"at": "2026-03-01T12:30:15.25", "clock": "23:59:59.000001", "all": []})
    config = bigquery.LoadJobConfig(source_format="NEWLINE_DELIMITED_JSON", schema=FIELDS)
    client.load_table_from_file(io.BytesIO(line.encode()), "d.t", job_config=config).result()
    assert rows(client, "SELECT `at`, clock FROM d.t") == [{"at": AT, "clock": CLOCK}]
    (found,) = rows(
        client,
        "SELECT `at` > DATETIME '2026-03-01 12:00:00' AS later, clock = TIME '23:59:59.000001' AS same, "
        "TO_JSON_STRING(STRUCT(`at`, clock)) AS json, "
        "COUNT(*) OVER (PARTITION BY `at`) AS n FROM d.t WHERE `at` < '2026-03-02 00:00:00'",
    )
    whole = '{"at":"2026-03-01T12:30:15.250","clock":"23:59:59.000001"}'
    assert found == {"later": True, "same": True, "json": whole, "n": 1}


EXPRESSIONS = [
    "DATETIME '2026-03-01 12:30:15.25'",
    "TIME '23:59:59.000001'",
    "DATETIME '2026-03-01' = DATETIME '2026-03-01 00:00:00'",
    "CAST('2026-03-01 12:30:15' AS DATETIME)",
    "SAFE_CAST('noon' AS TIME)",
    "SAFE_CAST('2026-02-30' AS DATETIME)",
    "CAST('0001-01-01' AS DATETIME)",
    "CAST('9999-12-31T23:59:59.999999' AS DATETIME)",
    "CAST('1:2:3' AS TIME)",
    "TO_JSON_STRING(STRUCT(DATETIME '2026-03-01 12:30:15.25' AS d, TIME '01:02:03' AS t))",
    "GREATEST(DATETIME '2026-03-01 00:00:00', DATETIME '2026-03-02 00:00:00')",
    "[TIME '01:02:03', TIME '00:00:00']",
    "(SELECT MAX(x) FROM UNNEST([TIME '01:02:03', TIME '00:00:00']) AS x)",
    "(SELECT STRUCT(MIN(x) AS a, COUNT(DISTINCT x) AS n) FROM UNNEST([DATETIME '2026-03-01', '2026-03-02']) AS x)",
]


def test_google_gives_the_same_values(client: bigquery.Client) -> None:
    for sql in EXPRESSIONS:
        ((found,),) = [row.values() for row in client.query_and_wait(f"SELECT {sql}")]
        assert [(found,)] == oracle().evaluate(f"SELECT {sql}"), sql


@pytest.mark.parametrize("value", ["2026-03-01T12:30:15Z", "noon", "2026-02-30T00:00:00"])
def test_a_datetime_that_is_none_is_refused(client: bigquery.Client, value: str) -> None:
    config = bigquery.LoadJobConfig(source_format="NEWLINE_DELIMITED_JSON", schema=FIELDS)
    with pytest.raises(BadRequest):
        client.load_table_from_file(io.BytesIO(json.dumps({"at": value}).encode()), "d.t", job_config=config).result()
