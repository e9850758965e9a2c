"""How many rows a statement inserted, updated and deleted, as its job tells."""

from __future__ import annotations

import pytest
from google.cloud import bigquery

from tests.conftest import BigQueryAddress
from tests.emulators import bigquery_client as desk

MERGE = """
MERGE d.t USING (
  SELECT 'a' AS id, 10 AS n UNION ALL SELECT 'b', 20 UNION ALL SELECT 'new', 30 UNION ALL SELECT 'newer', 40
) AS s ON t.id = s.id
WHEN MATCHED AND s.n = 10 THEN DELETE
WHEN MATCHED THEN UPDATE SET n = s.n
WHEN NOT MATCHED THEN INSERT (day, id, n) VALUES (CURRENT_DATE(), s.id, s.n)
"""


@pytest.fixture
def client(bigquery_host: BigQueryAddress, project: str) -> bigquery.Client:
    found = desk.client(bigquery_host.rest, project)
    desk.table(found)
    found.query_and_wait(
        "INSERT INTO d.t (day, id, n) SELECT CURRENT_DATE(), x, 1 FROM UNNEST(['a', 'a', 'b', 'c']) AS x"
    )
    return found


@pytest.mark.parametrize(
    ("sql", "inserted", "deleted", "updated"),
    [
        ("INSERT INTO d.t (day, id) VALUES (CURRENT_DATE(), 'x'), (CURRENT_DATE(), 'y')", 2, 0, 0),
        ("UPDATE d.t SET n = 2 WHERE id = 'a'", 0, 0, 2),
        ("DELETE FROM d.t WHERE id != 'c'", 0, 3, 0),
        ("TRUNCATE TABLE d.t", 0, 4, 0),
        (MERGE, 2, 2, 1),
        ("MERGE d.t USING (SELECT 'z' AS id) AS s ON t.id = s.id WHEN MATCHED THEN DELETE", 0, 0, 0),
    ],
)
def test_a_job_tells_what_it_changed(
    client: bigquery.Client, sql: str, inserted: int, deleted: int, updated: int
) -> None:
    job = client.query(sql)
    job.result(timeout=60)
    stats = client.get_job(job.job_id).dml_stats
    assert (stats.inserted_row_count, stats.deleted_row_count, stats.updated_row_count) == (inserted, deleted, updated)
    assert job.num_dml_affected_rows == inserted + deleted + updated


def test_a_query_tells_of_no_changes(client: bigquery.Client) -> None:
    job = client.query("SELECT 1")
    job.result(timeout=60)
    assert job.dml_stats is None
