"""Jobs and queries through the official client: ids, paging, errors, DML, DDL and destination tables."""

from __future__ import annotations

import asyncio
import concurrent.futures
import uuid
from types import SimpleNamespace
from typing import Any

import pytest
from google.api_core.exceptions import BadRequest, Conflict, NotFound
from google.cloud import bigquery

from emulators.bigquery.errors import ApiError
from emulators.bigquery.jobs import Job, Jobs
from tests import process
from tests.conftest import BigQueryAddress
from tests.emulators import bigquery_client as desk


def values(client: bigquery.Client, sql: str) -> list[tuple[Any, ...]]:
    return [tuple(row.values()) for row in client.query_and_wait(sql)]


def test_query_job_is_found_again_by_its_id(client: bigquery.Client) -> None:
    name = f"mine-{uuid.uuid4().hex}"
    job = client.query("SELECT 1 AS a", job_id=name, job_retry=None)
    assert [dict(row) for row in job.result()] == [{"a": 1}]
    found = client.get_job(name)
    assert (found.state, found.error_result, found.query) == ("DONE", None, "SELECT 1 AS a")
    assert found.ended >= found.started >= found.created
    assert [dict(row) for row in found.result()] == [{"a": 1}]
    with pytest.raises(Conflict, match="Already Exists: Job"):
        client.query("SELECT 2", job_id=name, job_retry=None)
    assert name in [item.job_id for item in client.list_jobs(state_filter="done")]
    assert client.list_jobs(state_filter="running", max_results=5).num_results == 0
    with pytest.raises(NotFound, match="Not found: Job"):
        client.get_job("nope")


def test_a_job_shows_its_error_once_it_has_ended() -> None:
    job = Job("p", "failed", "query", {}, created=1, error=ApiError(400, "invalidQuery", "nope"))
    assert job.resource()["status"] == {"state": "RUNNING"}
    job.ended = 2
    assert job.resource()["status"]["errorResult"]["reason"] == "invalidQuery"


def test_failed_query_keeps_its_error(client: bigquery.Client) -> None:
    job = client.query("SELECT nope")
    with pytest.raises(BadRequest, match="Unrecognized name: nope"):
        job.result()
    assert (job.state, job.error_result["reason"]) == ("DONE", "invalidQuery")
    assert client.get_job(job.job_id).errors == [job.error_result]
    with pytest.raises(NotFound):
        client.query("SELECT * FROM nowhere.t").result()


def test_results_come_in_pages(client: bigquery.Client) -> None:
    sql = "SELECT x, CAST(x AS STRING) AS s FROM UNNEST(GENERATE_ARRAY(1, 25)) AS x ORDER BY x"
    expected = [(x, str(x)) for x in range(1, 26)]
    assert [tuple(row.values()) for row in client.query(sql).result(page_size=10)] == expected
    assert [tuple(row.values()) for row in client.query_and_wait(sql, page_size=7)] == expected
    job = client.query(sql)
    assert [row["x"] for row in job.result(start_index=20)] == [21, 22, 23, 24, 25]
    again = client.get_job(job.job_id)  # a job object of the client keeps the first page it saw
    assert [row["x"] for row in again.result(max_results=3)] == [1, 2, 3]
    assert again.result().total_rows == 25
    assert client.query_and_wait("SELECT x FROM UNNEST(GENERATE_ARRAY(1, 30000)) AS x").total_rows == 30000


def test_result_of_every_type_survives_the_trip(client: bigquery.Client) -> None:
    sql = (
        "SELECT 'ä' AS s, FROM_HEX('00ff') AS b, -5 AS i, CAST('-inf' AS FLOAT64) AS f, NUMERIC '-0.000000001' AS n, "
        "FALSE AS t, DATE '0001-01-01' AS d, TIMESTAMP '9999-12-31 23:59:59.999999+00' AS ts, "
        "JSON '[1.5, null]' AS j, ['a', 'b'] AS l, [TIMESTAMP '2024-01-01'] AS lt"
    )
    (row,) = client.query_and_wait(sql)
    assert [str(value) for value in row.values()] == [
        "ä", "b'\\x00\\xff'", "-5", "-inf", "-1E-9", "False", "0001-01-01", "9999-12-31 23:59:59.999999+00:00",
        "[1.5, None]", "['a', 'b']", "[datetime.datetime(2024, 1, 1, 0, 0, tzinfo=datetime.timezone.utc)]",
    ]  # fmt: skip


def test_long_query_is_cancelled_and_others_run_beside_it(client: bigquery.Client) -> None:
    forever = (
        "SELECT COUNT(*) FROM UNNEST(GENERATE_ARRAY(1, 300000)) AS a, UNNEST(GENERATE_ARRAY(1, 300000)) AS b "
        "WHERE MOD(a * b, 7) = 3"
    )
    job = client.query(forever)
    assert desk.one(client, "SELECT 1") == 1
    assert job.reload() is None and job.state == "RUNNING"
    assert job.cancel()
    with pytest.raises(Exception, match="cancelled"):
        job.result(timeout=60, retry=None)
    assert client.get_job(job.job_id).error_result["reason"] == "stopped"


async def test_a_query_that_is_cancelled_before_it_runs_is_interrupted_when_it_does() -> None:
    store: Any = None
    jobs, job, interrupted = Jobs(store), Job("p", "early", "query", {}, created=1), asyncio.Event()
    jobs.cancel(job)
    await asyncio.sleep(0)
    job.cursor = SimpleNamespace(interrupt=interrupted.set)
    async with asyncio.timeout(60):
        await interrupted.wait()
    job.done.set()
    await jobs.close()


def test_rows_are_inserted_updated_deleted_and_counted(client: bigquery.Client) -> None:
    desk.table(client, filtered=True)
    insert = client.query(
        "INSERT INTO d.t (day, id, n, f, amount, `at`, params) VALUES "
        "('2024-01-01', 'a', 1, 1, 2, '2024-01-01 00:00:00', JSON '{}'), "
        "(DATE '2024-01-02', 'b', NULL, 1.5, 2.5, NULL, NULL)"
    )
    insert.result()
    assert (insert.num_dml_affected_rows, insert.statement_type) == (2, "INSERT")
    assert (
        client.query_and_wait(
            "INSERT d.t (day, id) SELECT day, 'c' FROM d.t WHERE day > '2024-01-01'"
        ).num_dml_affected_rows
        == 1
    )
    update = client.query("UPDATE d.t SET n = n + 1, f = 7 WHERE day = '2024-01-01'")
    update.result()
    assert (update.num_dml_affected_rows, update.statement_type) == (1, "UPDATE")
    assert values(client, "SELECT id, n, f FROM d.t WHERE day IS NOT NULL ORDER BY id") == [
        ("a", 2, 7.0), ("b", None, 1.5), ("c", None, None),
    ]  # fmt: skip
    delete = client.query("DELETE FROM d.t WHERE day = '2024-01-02' AND id IN (SELECT 'c')")
    delete.result()
    assert (delete.num_dml_affected_rows, delete.statement_type) == (1, "DELETE")
    with pytest.raises(BadRequest, match="without a filter"):
        client.query_and_wait("DELETE FROM d.t WHERE TRUE")
    assert client.query("TRUNCATE TABLE d.t").result().num_dml_affected_rows in (2, None)
    assert client.get_table("d.t").num_rows == 0


def test_duplicates_of_a_closed_day_are_compacted(client: bigquery.Client, bigquery_host: BigQueryAddress) -> None:
    desk.table(client)
    writer = desk.Writer(bigquery_host.grpc)
    batch = desk.rows(*({"id": f"e{n % 10}", "n": n} for n in range(30)))
    writer.append(desk.stream(client.project), batch)
    writer.close()
    merge = f"""
        MERGE d.t AS t
        USING (SELECT * FROM d.t WHERE day = '{desk.TODAY}'
               QUALIFY ROW_NUMBER() OVER (PARTITION BY day, id ORDER BY n) = 1) AS kept
        ON FALSE
        WHEN NOT MATCHED BY SOURCE AND t.day = '{desk.TODAY}' THEN DELETE
        WHEN NOT MATCHED THEN INSERT (day, id, n) VALUES (kept.day, kept.id, kept.n)"""
    assert client.query_and_wait(merge).num_dml_affected_rows == 40
    assert values(client, "SELECT COUNT(*), COUNT(DISTINCT id), MAX(n) FROM d.t") == [(10, 10, 9)]


def test_merge_updates_and_inserts_and_refuses_two_sources_for_one_row(client: bigquery.Client) -> None:
    desk.table(client)
    client.query_and_wait("INSERT INTO d.t (day, id, n) VALUES ('2024-01-01', 'a', 1), ('2024-01-01', 'b', 2)")
    merge = """
        MERGE INTO d.t t USING (SELECT x, n FROM UNNEST({ids}) AS x WITH OFFSET AS n) s ON t.id = s.x
        WHEN MATCHED AND t.n > 1 THEN DELETE
        WHEN MATCHED THEN UPDATE SET n = t.n + 10
        WHEN NOT MATCHED THEN INSERT (day, id, n) VALUES ('2024-01-02', x, s.n)"""
    assert client.query_and_wait(merge.format(ids="['a', 'b', 'c']")).num_dml_affected_rows == 3
    assert values(client, "SELECT id, n FROM d.t ORDER BY id") == [("a", 11), ("c", 2)]
    with pytest.raises(BadRequest, match="at most one source row"):
        client.query_and_wait(merge.format(ids="['a', 'a']"))


DML_REFUSED = {
    "INSERT INTO d.t (day, id, n) VALUES ('2024-01-01', 'a', 'x')": "cannot be inserted into column n",
    "INSERT INTO d.t (day, id) VALUES ('2024-01-01', NULL)": "Required field id cannot be null",
    "INSERT INTO d.t (day) VALUES ('2024-01-01')": "Required field id cannot be null",
    "INSERT INTO d.t (day, nope) VALUES ('2024-01-01', 1)": "Column nope is not present",
    "INSERT INTO d.t (day, id) VALUES ('2024-01-01')": "wrong column count",
    "UPDATE d.t SET n = 1": "UPDATE must have a WHERE clause",
    "DELETE FROM d.t": "DELETE must have a WHERE clause",
    "UPDATE d.t SET n = 1, n = 2 WHERE TRUE": "assigned more than once",
    "UPDATE d.t SET n = s.n FROM d.t s WHERE TRUE": "FROM",
    "INSERT INTO d.v (a) VALUES (1)": "is a view",
}


@pytest.mark.parametrize("sql", DML_REFUSED)
def test_change_is_refused_in_words_and_changes_nothing(client: bigquery.Client, sql: str) -> None:
    desk.table(client)
    view = bigquery.Table(f"{client.project}.d.v")
    view.view_query = "SELECT 1 AS a"
    client.create_table(view)
    client.query_and_wait("INSERT INTO d.t (day, id) VALUES ('2024-01-01', 'x')")
    with pytest.raises(BadRequest) as refused:
        client.query_and_wait(sql)
    assert DML_REFUSED[sql] in str(refused.value)
    assert values(client, "SELECT id, n FROM d.t") == [("x", None)]


def test_tables_and_views_are_made_by_statements(client: bigquery.Client) -> None:
    client.create_dataset("d")
    create = """CREATE TABLE d.t (day DATE NOT NULL OPTIONS(description='UTC'), id STRING, n INT64)
        PARTITION BY day CLUSTER BY id OPTIONS(require_partition_filter=TRUE, description='made')"""
    client.query_and_wait(create)
    found = client.get_table("d.t")
    assert (found.time_partitioning.field, found.clustering_fields, found.description) == ("day", ["id"], "made")
    assert found.require_partition_filter
    assert [(f.name, f.field_type, f.mode, f.description) for f in found.schema] == [
        ("day", "DATE", "REQUIRED", "UTC"),
        ("id", "STRING", "NULLABLE", None),
        ("n", "INTEGER", "NULLABLE", None),
    ]
    with pytest.raises(Conflict):
        client.query_and_wait(create)
    client.query_and_wait(create.replace("TABLE d.t", "TABLE IF NOT EXISTS d.t"))
    client.query_and_wait("INSERT d.t VALUES ('2024-01-01', 'a', 1), ('2024-01-02', 'a', 2)")
    client.query_and_wait(
        "CREATE OR REPLACE TABLE d.u AS SELECT id, SUM(n) AS n FROM d.t WHERE day > '2024-01-01' GROUP BY id"
    )
    assert values(client, "SELECT * FROM d.u") == [("a", 2)]
    client.query_and_wait("CREATE OR REPLACE TABLE d.u AS SELECT id, n + 1 AS n FROM d.u")
    assert values(client, "SELECT * FROM d.u") == [("a", 3)]
    client.query_and_wait("CREATE VIEW d.v AS SELECT n * 2 AS twice FROM d.u")
    assert values(client, "SELECT twice FROM d.v") == [(6,)]
    client.query_and_wait("ALTER TABLE d.u ADD COLUMN more STRING, ADD COLUMN IF NOT EXISTS n INT64")
    assert values(client, "SELECT * FROM d.u") == [("a", 3, None)]
    client.query_and_wait("DROP VIEW d.v")
    client.query_and_wait("DROP TABLE d.u")
    client.query_and_wait("DROP TABLE IF EXISTS d.u")
    with pytest.raises(NotFound):
        client.query_and_wait("DROP TABLE d.u")
    assert [item.table_id for item in client.list_tables("d")] == ["t"]


def test_result_goes_to_a_destination_table(client: bigquery.Client) -> None:
    client.create_dataset("d")
    target = f"{client.project}.d.out"

    def write(how: str) -> None:
        config = bigquery.QueryJobConfig(destination=target, write_disposition=how)
        client.query("SELECT 1 AS a, JSON '{\"b\":1}' AS j", job_config=config).result()

    write("WRITE_EMPTY")
    write("WRITE_APPEND")
    assert values(client, "SELECT a, j FROM d.out") == [(1, {"b": 1}), (1, {"b": 1})]
    with pytest.raises(Conflict):
        write("WRITE_EMPTY")
    write("WRITE_TRUNCATE")
    assert client.get_table(target).num_rows == 1


def test_appends_and_queries_run_side_by_side(client: bigquery.Client, bigquery_host: BigQueryAddress) -> None:
    desk.table(client)
    batch = desk.rows(*({"n": n, "params": '{"a":1}'} for n in range(500)))
    writers, appends = 3, 20

    def write() -> list[int]:
        writer = desk.Writer(bigquery_host.grpc)
        answers = writer.append(desk.stream(client.project), *[batch] * appends)
        writer.close()
        return [answer.error.code for answer in answers]

    def query() -> int:
        found = desk.one(client, f"SELECT COUNT(*) FROM d.t WHERE day = '{desk.TODAY}' AND n >= 0")
        assert found % 500 == 0, "a query saw part of an append"
        return int(found)

    with concurrent.futures.ThreadPoolExecutor() as pool:
        running = [pool.submit(write) for _ in range(writers)]
        seen = [query()]
        while not all(future.done() for future in running):
            seen.append(query())
    assert [code for future in running for code in future.result()] == [0] * writers * appends
    assert seen == sorted(seen)
    process.wait_for(lambda: query() == writers * appends * 500, what="all rows")
