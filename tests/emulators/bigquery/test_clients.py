"""Clients that are not this project's, unchanged: SQLAlchemy, the DB-API, pandas, pandas-gbq, ibis."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Any

import grpc
import ibis
import pandas as pd
import pandas_gbq
import pytest
import sqlalchemy as sa
from google.api_core.client_options import ClientOptions
from google.api_core.exceptions import GoogleAPICallError
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery
from google.cloud.bigquery import dbapi
from google.cloud.bigquery_storage_v1 import BigQueryReadClient, types
from google.cloud.bigquery_storage_v1.services.big_query_read.transports import BigQueryReadGrpcTransport

from tests.conftest import BigQueryAddress
from tests.emulators import bigquery_client as desk
from tests.emulators.bigquery_client import TODAY

# What their own newest releases say of each other.
pytestmark = [
    pytest.mark.filterwarnings("ignore:The .future.infer_string. option is deprecated"),
    pytest.mark.filterwarnings("ignore::PendingDeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Did not recognize type .JSON.:sqlalchemy.exc.SAWarning"),
]

DAY = dt.date(2026, 1, 2)


@pytest.fixture
def client(bigquery_host: BigQueryAddress, project: str) -> Iterator[bigquery.Client]:
    """A client with a dataset `d`, in which names without one are looked up, and a table `t` of two rows."""
    made = bigquery.Client(
        project=project,
        credentials=AnonymousCredentials(),
        client_options=ClientOptions(api_endpoint=bigquery_host.rest),
        default_query_job_config=bigquery.QueryJobConfig(default_dataset=f"{project}.d"),
    )
    desk.table(made)
    values = f"('{TODAY}', 'a', 1, 1.5, TRUE), ('{DAY}', 'b', 2, 2.5, FALSE)"
    made.query_and_wait(f"INSERT INTO d.t (day, id, n, f, ok) VALUES {values}")
    yield made
    made.close()


@pytest.fixture
def reader(bigquery_host: BigQueryAddress) -> Iterator[BigQueryReadClient]:
    with grpc.insecure_channel(bigquery_host.grpc) as channel:
        yield BigQueryReadClient(transport=BigQueryReadGrpcTransport(channel=channel))


def test_partitions_are_listed(client: bigquery.Client) -> None:
    assert client.list_partitions("d.t") == sorted([f"{DAY:%Y%m%d}", f"{TODAY:%Y%m%d}"])
    client.query_and_wait("CREATE TABLE d.plain (id STRING)")
    with pytest.raises(GoogleAPICallError, match="not partitioned"):
        client.list_partitions("d.plain")


def test_db_api_names_its_parameters(client: bigquery.Client) -> None:
    cursor = dbapi.connect(client=client, prefer_bqstorage_client=False).cursor()
    cursor.execute("SELECT id FROM t WHERE n = %(n)s AND id = %(id)s", {"n": 1, "id": "a"})
    assert [tuple(row) for row in cursor.fetchall()] == [("a",)]
    cursor.execute("SELECT id FROM t WHERE n > %s ORDER BY id", (0,))
    assert [tuple(row) for row in cursor.fetchall()] == [("a",), ("b",)]


def engine(client: bigquery.Client) -> sa.Engine:
    return sa.create_engine(f"bigquery://{client.project}/d?user_supplied_client=True", connect_args={"client": client})


def test_sqlalchemy_reflects_filters_and_groups(client: bigquery.Client) -> None:
    made = engine(client)
    assert sa.inspect(made).get_table_names() == ["t"]
    assert sa.inspect(made).has_table("t")
    assert not sa.inspect(made).has_table("none")
    table = sa.Table("t", sa.MetaData(), autoload_with=made)
    assert [column.name for column in table.columns] == [field.name for field in desk.FIELDS]
    column = table.c
    asked = {
        sa.select(column.id, column.n).where(column.n == 1): [("a", 1)],
        sa.select(column.id).where(column.n.in_([1, 2])).order_by(column.id): [("a",), ("b",)],
        sa.select(column.id).where(column.id.like("b%"), column.day == DAY).limit(5): [("b",)],
        sa.select(column.ok, sa.func.sum(column.n)).group_by(column.ok).order_by(column.ok): [(False, 2), (True, 1)],
        sa.select(sa.func.count()).select_from(table): [(2,)],
    }
    with made.connect() as connection:
        for statement, rows in asked.items():
            assert [tuple(row) for row in connection.execute(statement)] == rows


def test_sqlalchemy_makes_and_changes_tables(client: bigquery.Client) -> None:
    made, metadata = engine(client), sa.MetaData()
    table = sa.Table("made", metadata, sa.Column("id", sa.String), sa.Column("n", sa.Integer))
    metadata.create_all(made)
    with made.begin() as connection:
        connection.execute(table.insert(), [{"id": "a", "n": 1}, {"id": "b", "n": 2}])
        connection.execute(table.update().where(table.c.id == "a").values(n=5))
        connection.execute(table.delete().where(table.c.id == "b"))
        assert [tuple(row) for row in connection.execute(sa.select(table))] == [("a", 5)]


FRAME = pd.DataFrame(
    {
        "id": ["x", "y"],
        "n": [1, 2],
        "f": [1.5, None],
        "at": pd.to_datetime(["2026-01-01", "2026-01-02"], utc=True),
        "day": [DAY, None],
        "tags": [["p", "q"], []],
        "items": [[{"sku": "s", "n": 1}], []],
    }
)


def test_data_frame_is_loaded_and_read_again(client: bigquery.Client) -> None:
    client.load_table_from_dataframe(FRAME, "d.frame").result()
    types_ = [(field.name, field.field_type, field.mode) for field in client.get_table("d.frame").schema]
    assert types_[-2:] == [("tags", "STRING", "REPEATED"), ("items", "RECORD", "REPEATED")]
    rows = [tuple(row.values()) for row in client.query_and_wait("SELECT * FROM frame ORDER BY id")]
    assert rows[0] == ("x", 1, 1.5, dt.datetime(2026, 1, 1, tzinfo=dt.UTC), DAY, ["p", "q"], [{"sku": "s", "n": 1}])
    found = client.query("SELECT id, n, tags FROM frame ORDER BY id").to_dataframe()
    assert found["n"].tolist() == [1, 2]
    assert found["tags"].map(list).tolist() == [["p", "q"], []]


def test_many_rows_of_a_query_come_as_a_frame_without_the_storage_api(client: bigquery.Client) -> None:
    assert len(client.query("SELECT x FROM UNNEST(GENERATE_ARRAY(1, 25000)) AS x").to_dataframe()) == 25_000


def test_pandas_gbq_writes_and_reads(
    bigquery_host: BigQueryAddress, client: bigquery.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It looks at the table with a second client of its own making.
    monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", bigquery_host.rest)
    frame = FRAME[["id", "n", "f", "at", "day"]]
    settings: dict[str, Any] = {"project_id": client.project, "bigquery_client": client}
    settings["credentials"] = AnonymousCredentials()
    for how, rows in (("fail", 2), ("append", 4), ("replace", 2)):
        pandas_gbq.to_gbq(frame, "d.gbq", if_exists=how, progress_bar=False, **settings)
        sql = "SELECT COUNT(*) AS n FROM d.gbq"
        found = pandas_gbq.read_gbq(sql, use_bqstorage_api=False, progress_bar_type=None, **settings)
        assert found["n"].tolist() == [rows]


def test_ibis_filters_groups_and_aggregates(client: bigquery.Client, reader: BigQueryReadClient) -> None:
    client.load_table_from_dataframe(FRAME, "d.frame").result()
    connection = ibis.bigquery.connect(project_id=client.project, dataset_id="d", client=client, storage_client=reader)
    assert sorted(connection.list_tables()) == ["frame", "t"]
    table = connection.table("t")
    assert str(table.schema()["day"]) == "!date"
    assert table.filter(table.n > 1).select("id").execute()["id"].tolist() == ["b"]
    grouped = table.group_by("ok").aggregate(total=table.n.sum(), mean=table.f.mean()).order_by("total").execute()
    assert grouped.to_dict("records") == [
        {"ok": True, "total": 1, "mean": 1.5},
        {"ok": False, "total": 2, "mean": 2.5},
    ]
    assert table.count().execute() == 2
    frame = connection.table("frame")
    nested = frame.filter(frame.id == "x").select(number=frame.tags.length(), sku=frame["items"][0].sku).execute()
    assert nested.to_dict("records") == [{"number": 2, "sku": "s"}]
    assert len(connection.sql("SELECT x FROM UNNEST(GENERATE_ARRAY(1, 20000)) AS x").execute()) == 20_000


def test_storage_read_api_reads_tables_and_refuses_the_rest(
    client: bigquery.Client, reader: BigQueryReadClient
) -> None:
    client.load_table_from_dataframe(FRAME, "d.frame").result()
    rows = client.list_rows(client.get_table("d.frame")).to_arrow(bqstorage_client=reader).to_pylist()
    assert rows[0]["items"] == [{"sku": "s", "n": 1}]
    client.query_and_wait("CREATE TABLE d.empty (id STRING)")
    assert client.list_rows(client.get_table("d.empty")).to_arrow(bqstorage_client=reader).num_rows == 0
    path = f"projects/{client.project}/datasets/d/tables"
    options = types.ReadSession.TableReadOptions
    refused = {
        "reads rows as ARROW only": types.ReadSession(table=f"{path}/t", data_format="AVRO"),
        "does not support row_restriction": types.ReadSession(
            table=f"{path}/t", data_format="ARROW", read_options=options(row_restriction="n = 1")
        ),
        "lacks a field": types.ReadSession(
            table=f"{path}/t", data_format="ARROW", read_options=options(selected_fields=["nope"])
        ),
        "Not found: Table": types.ReadSession(table=f"{path}/none", data_format="ARROW"),
        "Invalid table name": types.ReadSession(table="t", data_format="ARROW"),
    }
    for words, session in refused.items():
        with pytest.raises(GoogleAPICallError, match=words):
            reader.create_read_session(parent=f"projects/{client.project}", read_session=session)
    with pytest.raises(GoogleAPICallError, match="read stream none"):
        list(reader.read_rows("none"))


def test_methods_that_are_not_served_are_refused_by_their_name(client: bigquery.Client) -> None:
    calls = {
        "tabledata.insertAll": lambda: client.insert_rows_json("d.t", [{"id": "a"}]),
        "models.list": lambda: list(client.list_models("d")),
        "projects.list": lambda: list(client.list_projects()),
        "not copy": lambda: client.copy_table("d.t", "d.u", location="US"),
        "not extract": lambda: client.extract_table("d.t", "gs://bucket/name", location="US"),
    }
    for name, call in calls.items():
        with pytest.raises(GoogleAPICallError, match=name) as refused:
            call()
        assert refused.value.code in (400, 501)
        assert refused.value.errors[0]["reason"] in ("invalid", "notImplemented")
