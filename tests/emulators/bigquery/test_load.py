"""Load jobs through the official client: both formats, both ways to upload, every disposition, and what goes wrong."""

from __future__ import annotations

import datetime as dt
import gzip
import io
import json
import uuid
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from google.api_core.exceptions import BadRequest, Conflict, NotFound
from google.cloud import bigquery
from google.cloud.bigquery import SchemaField

from tests.emulators import bigquery_client as desk
from tests.emulators.bigquery_client import TODAY


def config(kind: str = "NEWLINE_DELIMITED_JSON", **settings: Any) -> bigquery.LoadJobConfig:
    return bigquery.LoadJobConfig(source_format=kind, **settings)


def ndjson(*rows: dict[str, Any] | str) -> io.BytesIO:
    return io.BytesIO("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows).encode())


def parquet(table: pa.Table | pa.RecordBatch) -> io.BytesIO:
    file = io.BytesIO()
    pq.write_table(pa.table(table) if isinstance(table, pa.RecordBatch) else table, file)
    file.seek(0)
    return file


def load(
    client: bigquery.Client, file: io.BytesIO, table: str = "d.t", *, resumable: bool = False, **settings: Any
) -> bigquery.LoadJob:
    """`resumable` leaves the size out, which makes the client send chunks."""
    size = None if resumable else len(file.getvalue())
    name = f"load-{uuid.uuid4().hex}"
    settings.setdefault("job_config", config())
    settings.setdefault("job_id", name)
    target = f"{client.project}.{table}"
    return client.load_table_from_file(file, target, size=size, num_retries=0, **settings)


def test_json_lines_may_come_as_gzip(client: bigquery.Client) -> None:
    desk.table(client)
    whole = gzip.compress(ndjson(GOOD, GOOD).getvalue())
    load(client, io.BytesIO(whole)).result()
    assert client.get_table("d.t").num_rows == 2
    for cut in (whole[:-9], whole[:2] + b"x", whole + whole):
        with pytest.raises(BadRequest, match="gzip"):
            load(client, io.BytesIO(cut)).result()
    assert client.get_table("d.t").num_rows == 2


@pytest.mark.parametrize("resumable", [False, True], ids=["multipart", "resumable"])
def test_json_lines_are_loaded_value_for_value(client: bigquery.Client, resumable: bool) -> None:
    desk.table(client, filtered=True)
    row = {
        "day": "2024-2-29",
        "id": 'ä\n"',
        "at": "2024-01-02T03:04:05.678901Z",
        "n": "-9223372036854775808",
        "f": 0.1,
        "ok": "true",
        "amount": "12345678901234567890123456789.123456789",
        "params": {"b": [1, None], "a": "x"},
        "raw": "AP8=",
    }
    number = '{"day": "2024-01-01", "id": 5, "n": 7, "at": 1704067200, "amount": 0.1000000005, "unknown": null}'
    job = load(
        client,
        ndjson(row, "", number),
        resumable=resumable,
        job_config=config(ignore_unknown_values=True),
    )
    job.result()
    assert (job.state, job.output_rows, job.errors) == ("DONE", 2, None)
    first, second = (dict(row) for row in client.query_and_wait("SELECT * FROM d.t WHERE day IS NOT NULL ORDER BY n"))
    assert first == {
        "day": dt.date(2024, 2, 29),
        "id": 'ä\n"',
        "at": dt.datetime(2024, 1, 2, 3, 4, 5, 678901, dt.UTC),
        "n": -(2**63),
        "f": 0.1,
        "ok": True,
        "amount": Decimal("12345678901234567890123456789.123456789"),
        "params": {"b": [1, None], "a": "x"},
        "raw": b"\x00\xff",
    }
    assert (second["id"], second["n"], second["amount"]) == ("5", 7, Decimal("0.100000001"))
    assert second["at"] == dt.datetime(2024, 1, 1, tzinfo=dt.UTC)


@pytest.mark.parametrize("resumable", [False, True], ids=["multipart", "resumable"])
def test_parquet_is_loaded_value_for_value(client: bigquery.Client, resumable: bool) -> None:
    desk.table(client)
    batch = desk.rows(
        {"at": desk.NOW, "n": 1, "f": 0.1, "ok": False, "amount": Decimal("1.5"), "raw": b"\xff"}, {}
    ).drop_columns(["params"])
    job = load(client, parquet(batch), resumable=resumable, job_config=config("PARQUET"))
    job.result()
    assert job.output_rows == 2
    (row, empty) = (dict(row) for row in client.query_and_wait("SELECT * FROM d.t ORDER BY id"))
    assert row == {
        "day": TODAY, "id": "r0", "at": desk.NOW, "n": 1, "f": 0.1, "ok": False, "amount": Decimal("1.5"),
        "params": None, "raw": b"\xff",
    }  # fmt: skip
    assert empty["at"] is None


def test_upload_of_many_chunks_arrives_whole(client: bigquery.Client) -> None:
    desk.table(client)
    rows = [{"day": str(TODAY), "id": f"{n:04d}" + "x" * 3000, "n": n} for n in range(1000)]
    client._default_load_job_config = None
    job = load(client, ndjson(*rows), resumable=True)
    job.result()
    assert desk.one(client, "SELECT SUM(n) FROM d.t") == sum(range(1000))


def test_whoever_sees_that_a_job_is_done_sees_its_rows(client: bigquery.Client) -> None:
    client.create_dataset("d")
    lines = ndjson(*({"id": f"{n:06d}" + "x" * 1_000, "n": n} for n in range(3_000))).getvalue()
    for number in range(6):
        schema = [SchemaField("id", "STRING"), SchemaField("n", "INT64")]
        job = load(client, io.BytesIO(lines), f"d.t{number}", job_config=config(schema=schema))
        while client.get_job(job.job_id).state != "DONE":
            pass
        assert client.get_table(f"d.t{number}").num_rows == 3_000


def test_table_is_made_from_the_jobs_schema_or_the_files(client: bigquery.Client) -> None:
    client.create_dataset("d")
    schema = [SchemaField("day", "DATE", "REQUIRED"), SchemaField("n", "INT64")]
    settings = config(
        schema=schema,
        time_partitioning=bigquery.TimePartitioning(field="day"),
        clustering_fields=["n"],
    )
    load(client, ndjson({"day": "2024-01-01", "n": 1}), "d.made", job_config=settings).result()
    made = client.get_table("d.made")
    assert (made.num_rows, made.time_partitioning.field, made.clustering_fields) == (1, "day", ["n"])
    load(client, parquet(pa.table({"a": [1, 2], "b": ["x", None]})), "d.own", job_config=config("PARQUET")).result()
    assert [(f.name, f.field_type) for f in client.get_table("d.own").schema] == [("a", "INTEGER"), ("b", "STRING")]
    job = load(client, ndjson({"a": 1}), "d.none")
    with pytest.raises(BadRequest, match="Schema has no fields"):
        job.result()
    job = load(client, ndjson({"a": 1}), "d.none", job_config=config(create_disposition="CREATE_NEVER", schema=schema))
    with pytest.raises((BadRequest, NotFound)):
        job.result()
    with pytest.raises(NotFound):
        client.get_table("d.none")


def test_dispositions_append_empty_and_truncate(client: bigquery.Client) -> None:
    desk.table(client)

    def put(how: str, n: int) -> bigquery.LoadJob:
        settings = config(write_disposition=how)
        return load(client, ndjson({"day": str(TODAY), "id": "x", "n": n}), job_config=settings)

    put("WRITE_EMPTY", 1).result()
    put("WRITE_APPEND", 2).result()
    job = put("WRITE_EMPTY", 3)
    with pytest.raises(Conflict):
        job.result()
    assert desk.one(client, "SELECT SUM(n) FROM d.t") == 3
    put("WRITE_TRUNCATE", 4).result()
    assert desk.one(client, "SELECT SUM(n) FROM d.t") == 4
    narrow = config(
        write_disposition="WRITE_TRUNCATE", schema=[SchemaField("day", "DATE"), SchemaField("other", "STRING")]
    )
    load(client, ndjson({"day": str(TODAY), "other": "y"}), job_config=narrow).result()
    assert [tuple(row) for row in client.query_and_wait("SELECT * FROM d.t")] == [(TODAY, "y")]
    assert client.get_table("d.t").time_partitioning.field == "day"


def test_repeated_job_id_is_refused_and_loads_nothing(client: bigquery.Client) -> None:
    desk.table(client)
    row = {"day": str(TODAY), "id": "x"}
    load(client, ndjson(row), job_id="once").result()
    for resumable in (False, True):
        with pytest.raises(Conflict, match=f"Already Exists: Job {client.project}:US.once"):
            load(client, ndjson(row), job_id="once", resumable=resumable)
    assert client.get_table("d.t").num_rows == 1
    found = client.get_job("once")
    assert isinstance(found, bigquery.LoadJob)
    assert (found.state, found.output_rows, found.error_result) == ("DONE", 1, None)


GOOD = {"day": str(TODAY), "id": "x"}
BAD_LINES: list[tuple[dict[str, Any] | str, str]] = [
    ("{not json", "Row 2: this is not a JSON object"),
    ("[1]", "Row 2: this is not a JSON object"),
    ({**GOOD, "nope": 1}, "Row 2: No such field: nope"),
    ({"day": str(TODAY)}, "Row 2: Missing required field: id"),
    ({**GOOD, "n": 1.5}, "field n to INT64"),
    ({**GOOD, "n": "1e3"}, "field n to INT64"),
    ({**GOOD, "n": 2**63}, "field n to INT64"),
    ({**GOOD, "f": "much"}, "field f to FLOAT64"),
    ({**GOOD, "f": "1e999"}, "field f to FLOAT64"),
    ({**GOOD, "ok": "yes"}, "field ok to BOOL"),
    ({**GOOD, "amount": "1e30"}, "field amount to NUMERIC"),
    ({**GOOD, "amount": "nan"}, "field amount to NUMERIC"),
    ({**GOOD, "day": "2024-02-30"}, "field day to DATE"),
    ({**GOOD, "at": "soon"}, "field at to TIMESTAMP"),
    ({**GOOD, "at": 1.5}, "field at to TIMESTAMP"),
    ({**GOOD, "raw": "%"}, "field raw to BYTES"),
    ({**GOOD, "id": {"a": 1}}, "field id to STRING"),
]


@pytest.mark.parametrize(("line", "reason"), BAD_LINES, ids=[reason for _, reason in BAD_LINES])
def test_bad_line_fails_the_job_and_nothing_is_loaded(client: bigquery.Client, line: Any, reason: str) -> None:
    desk.table(client)
    job = load(client, ndjson(GOOD, line, GOOD))
    with pytest.raises(BadRequest) as failed:
        job.result()
    assert reason in str(failed.value)
    kept = client.get_job(job.job_id)
    assert (kept.state, kept.error_result["reason"]) == ("DONE", "invalid")
    assert kept.errors == [kept.error_result]
    assert client.get_table("d.t").num_rows == 0


BAD_FILES: dict[str, io.BytesIO] = {
    "cannot be read": io.BytesIO(b"PAR1 but not really"),
    "Cannot add fields (field: nope)": parquet(pa.table({"day": [TODAY], "id": ["x"], "nope": [1]})),
    "changed type from INT64 to STRING": parquet(pa.table({"day": [TODAY], "id": ["x"], "n": ["1"]})),
    "Required field id is missing": parquet(pa.table({"day": [TODAY]})),
    "Required field id cannot be null": parquet(pa.table({"day": [TODAY], "id": pa.array([None], pa.string())})),
    "Unsupported field type: JSON": parquet(pa.table({"day": [TODAY], "id": ["x"], "params": ["{}"]})),
    "has the type": parquet(pa.table({"day": [TODAY], "id": ["x"], "at": pa.array([0], pa.timestamp("us"))})),
    "does not fit TIMESTAMP": parquet(
        pa.table({"day": [TODAY], "id": ["x"], "at": pa.array([1], pa.timestamp("ns", tz="UTC"))})
    ),
}


@pytest.mark.parametrize("reason", BAD_FILES)
def test_parquet_that_does_not_fit_fails_the_job_and_nothing_is_loaded(client: bigquery.Client, reason: str) -> None:
    desk.table(client)
    job = load(client, io.BytesIO(BAD_FILES[reason].getvalue()), job_config=config("PARQUET"))
    with pytest.raises(BadRequest) as failed:
        job.result()
    assert reason in str(failed.value)
    assert client.get_table("d.t").num_rows == 0


def test_configuration_that_cannot_be_followed_is_refused_before_any_job(client: bigquery.Client) -> None:
    desk.table(client)
    for settings, reason in (
        (config("CSV"), "sourceFormat CSV"),
        (config(autodetect=True), "autodetect"),
        (config(max_bad_records=5), "maxBadRecords"),
        (config(schema_update_options=["ALLOW_FIELD_ADDITION"]), "schemaUpdateOptions"),
    ):
        with pytest.raises(BadRequest, match=reason):
            load(client, ndjson(GOOD), job_config=settings, job_id="refused")
    with pytest.raises(NotFound):
        client.get_job("refused")
    with pytest.raises(BadRequest, match="uploaded data only"):
        client.load_table_from_uri("gs://bucket/file", f"{client.project}.d.t", job_config=config())


def test_load_into_a_missing_dataset_fails_the_job(client: bigquery.Client) -> None:
    job = load(client, ndjson(GOOD), "nowhere.t")
    with pytest.raises(NotFound, match="Dataset"):
        job.result()


def test_old_partitions_may_be_loaded(client: bigquery.Client) -> None:
    desk.table(client)
    load(client, ndjson({"day": "1999-01-01", "id": "old"})).result()
    assert desk.one(client, "SELECT id FROM d.t") == "old"
