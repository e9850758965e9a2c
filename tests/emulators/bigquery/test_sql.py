"""Queries over tables and views: what the project and its documentation ask of BigQuery, and what is refused."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest
from google.api_core.exceptions import BadRequest
from google.cloud import bigquery

from tests.conftest import BigQueryAddress
from tests.emulators import bigquery_client as desk
from tests.emulators.bigquery_client import TODAY, rows, stream

YESTERDAY = TODAY - dt.timedelta(days=1)


LOG: list[dict[str, Any]] = [
    {"id": "a", "at": desk.NOW, "n": 1, "f": 1.5, "ok": True, "amount": Decimal("1.25"), "params": '{"k": "x"}'},
    {"id": "a", "at": desk.NOW + dt.timedelta(seconds=1), "n": 100},
    {"id": "b", "at": desk.NOW, "n": 2, "f": float("nan"), "ok": False, "amount": Decimal("2.5")},
    {"id": "c", "at": desk.NOW, "f": -1.0},
    {
        **{"day": YESTERDAY, "id": "a", "at": desk.NOW - dt.timedelta(days=1), "n": 10},
        "params": '{"k": {"deep": [1]}}',
    },
]


def filled(sql: str) -> str:
    """A query of the tables below with their names and days in it."""
    return sql.format(log=f"(SELECT * FROM d.log WHERE day = '{TODAY}')", today=TODAY, yesterday=YESTERDAY)


@dataclass(frozen=True)
class World:
    """A log table that requires a partition filter, the view that drops its duplicates, and a small second table."""

    client: bigquery.Client

    def rows(self, sql: str, **settings: Any) -> list[tuple[Any, ...]]:
        config = bigquery.QueryJobConfig(**settings)
        return [tuple(row.values()) for row in self.client.query_and_wait(sql, job_config=config)]


@pytest.fixture(scope="module")
def world(bigquery_host: BigQueryAddress) -> Iterator[World]:
    project = f"sql-{desk.NOW:%H%M%S%f}"
    client = desk.client(bigquery_host.rest, project)
    desk.table(client, "log", filtered=True)
    desk.table(client, "people", fields=[*desk.FIELDS[:2], bigquery.SchemaField("name", "STRING")])
    view = bigquery.Table(f"{project}.d.events")
    view.view_query = f"""
        SELECT * FROM `{project}.d.log`
        QUALIFY ROW_NUMBER() OVER (PARTITION BY day, id ORDER BY `at`) = 1"""
    client.create_table(view)
    writer = desk.Writer(bigquery_host.grpc)
    writer.append(
        stream(project, "log"),
        rows(*LOG),
    )
    writer.close()
    client.query_and_wait(
        f"INSERT INTO d.people (day, id, name) VALUES ('{TODAY}', 'a', 'Ann'), ('{TODAY}', 'z', 'Zoe')"
    )
    yield World(client)
    client.close()


def test_view_counts_every_event_once(world: World) -> None:
    assert world.rows(f"SELECT COUNT(*) FROM d.events WHERE day = '{TODAY}'") == [(3,)]
    assert world.rows(f"SELECT COUNT(*) FROM d.log WHERE day = '{TODAY}'") == [(4,)]
    assert world.rows(f"SELECT n FROM d.events WHERE day = '{TODAY}' AND id = 'a'") == [(1,)]


def test_names_may_be_quoted_whole_in_parts_or_not_at_all(world: World) -> None:
    project = world.client.project
    for name in (f"`{project}.d.log`", f"`{project}`.d.log", f"`{project}`.`d`.`log`", "`d.log`", "d.log"):
        assert world.rows(f"SELECT COUNT(*) FROM {name} WHERE day IS NOT NULL") == [(5,)]
    assert world.rows(f"SELECT log.n FROM `{project}.d.log` WHERE log.day = '{YESTERDAY}'") == [(10,)]
    with pytest.raises(BadRequest, match=r"Unrecognized name: d\.log\.n"):
        world.rows(f"SELECT d.log.n FROM d.log WHERE day = '{YESTERDAY}'")
    assert world.rows("SELECT COUNT(*) FROM people", default_dataset=f"{project}.d") == [(2,)]
    with pytest.raises(BadRequest, match="must be qualified with a dataset"):
        world.rows("SELECT COUNT(*) FROM people")


FILTERED = [
    "day = '{today}'",
    "'{today}' = day",
    "day = CURRENT_DATE()",
    "day >= DATE_SUB(CURRENT_DATE(), INTERVAL 7 DAY)",
    "day BETWEEN '{today}' AND '{today}'",
    "day IN ('{today}', '2024-01-01')",
    "day IN UNNEST([DATE '{today}'])",
    "day IS NOT NULL",
    "(day = '{today}' AND n = 1) OR (day = '2024-01-01' AND n = 2)",
    "n = 1 AND (id = 'a' AND day > '2024-01-01')",
    "DATE_SUB(day, INTERVAL 1 DAY) = '{today}'",
    "DATE_TRUNC(day, MONTH) = DATE_TRUNC(CURRENT_DATE(), MONTH)",
    "day = DATE(TIMESTAMP '{today} 00:00:00+00')",
]
UNFILTERED = [
    "TRUE",
    "n = 1",
    "day = DATE(`at`)",
    "day = '{today}' OR n = 1",
    "day = (SELECT MAX(day) FROM d.people)",
    "NOT (day = '{today}')",
    "CAST(day AS STRING) = '{today}'",
    "IF(day = '{today}', TRUE, FALSE)",
]


@pytest.mark.parametrize("source", ["log", "events"])
@pytest.mark.parametrize("where", FILTERED)
def test_filter_on_the_partition_column_is_enough(world: World, where: str, source: str) -> None:
    world.rows(f"SELECT COUNT(*) FROM d.{source} WHERE {where.format(today=TODAY)}")


@pytest.mark.parametrize("source", ["log", "events"])
@pytest.mark.parametrize("where", UNFILTERED)
def test_query_without_a_partition_filter_is_refused(world: World, where: str, source: str) -> None:
    expected = (
        f"Cannot query over table '{world.client.project}.d.log' without a filter over column\\(s\\) 'day' "
        "that can be used for partition elimination"
    )
    with pytest.raises(BadRequest, match=expected):
        world.rows(f"SELECT COUNT(*) FROM d.{source} WHERE {where.format(today=TODAY)}")


REACH = {
    # A filter outside is as good as one inside only where it drops the same rows.
    "SELECT * FROM (SELECT day, id, COUNT(*) AS c FROM d.log GROUP BY day, id) WHERE day = '{today}'": True,
    "SELECT * FROM (SELECT MAX(day) AS day FROM d.log) WHERE day = '{today}'": False,
    "SELECT * FROM (SELECT day, ROW_NUMBER() OVER (PARTITION BY id) AS r FROM d.log) WHERE day = '{today}'": False,
    "SELECT * FROM (SELECT day, ROW_NUMBER() OVER (PARTITION BY id, day) AS r FROM d.log) WHERE day = '{today}'": True,
    "SELECT * FROM (SELECT * FROM d.log LIMIT 1) WHERE day = '{today}'": False,
    "SELECT * FROM (SELECT * FROM d.log ORDER BY n) WHERE day = '{today}'": True,
    "SELECT * FROM (SELECT day FROM d.log UNION ALL SELECT day FROM d.people) WHERE day = '{today}'": True,
    "SELECT * FROM (SELECT day FROM d.log UNION ALL SELECT DATE_ADD(day, INTERVAL 1 DAY) FROM d.log) "
    "WHERE day = '{today}'": True,
    "SELECT * FROM (SELECT next, COUNT(*) OVER (PARTITION BY next, id) AS c FROM "
    "(SELECT DATE_ADD(day, INTERVAL 1 DAY) AS next, id FROM d.log)) WHERE next = '{today}'": True,
    "SELECT * FROM (SELECT next, COUNT(*) OVER (PARTITION BY id) AS c FROM "
    "(SELECT DATE_ADD(day, INTERVAL 1 DAY) AS next, id FROM d.log)) WHERE next = '{today}'": False,
    "SELECT * FROM (SELECT DATE_ADD(day, INTERVAL n DAY) AS day FROM d.log) WHERE day = '{today}'": False,
    "WITH x AS (SELECT * FROM d.log) SELECT * FROM x WHERE day = '{today}'": True,
    "WITH x AS (SELECT * FROM d.log) SELECT a.n FROM x AS a JOIN x AS b USING (id) WHERE a.day = '{today}'": False,
    "SELECT l.n FROM d.people AS p LEFT JOIN d.log AS l ON l.id = p.id AND l.day = '{today}'": True,
    "SELECT l.n FROM d.log AS l LEFT JOIN d.people AS p ON l.id = p.id AND l.day = '{today}'": False,
    "SELECT l.n FROM d.log AS l JOIN d.people AS p ON l.id = p.id AND l.day = '{today}'": True,
    "SELECT name FROM d.people WHERE id IN (SELECT id FROM d.log WHERE day = '{today}')": True,
    "SELECT name FROM d.people WHERE id IN (SELECT id FROM d.log)": False,
    "SELECT day + 1 AS day FROM d.log WHERE day = '{today}'": True,
    "SELECT * FROM (SELECT day + 1 AS day FROM d.log) WHERE day = '{today}'": False,
}


@pytest.mark.parametrize("sql", REACH)
def test_partition_filter_reaches_through_exactly_what_keeps_its_meaning(world: World, sql: str) -> None:
    sql_now = sql.format(today=TODAY)
    if REACH[sql]:
        world.rows(sql_now)
    else:
        with pytest.raises(BadRequest, match="without a filter over column"):
            world.rows(sql_now)


def test_timestamp_partition_is_filtered_by_time_and_by_its_date(world: World) -> None:
    wanted = bigquery.Table(f"{world.client.project}.d.ticks", schema=[bigquery.SchemaField("at", "TIMESTAMP")])
    wanted.time_partitioning = bigquery.TimePartitioning(field="at")
    wanted.require_partition_filter = True
    world.client.create_table(wanted)
    for where in ("`at` > '2024-01-01'", "DATE(`at`) = '2024-01-01'", "TIMESTAMP_TRUNC(`at`, DAY) = '2024-01-01'"):
        assert world.rows(f"SELECT COUNT(*) FROM d.ticks WHERE {where}") == [(0,)]
    with pytest.raises(BadRequest, match="'at'"):
        world.rows("SELECT COUNT(*) FROM d.ticks WHERE EXTRACT(HOUR FROM `at`) = 1")


RESULTS: list[tuple[str, list[tuple[Any, ...]]]] = [
    ("SELECT id, COUNT(*) AS c FROM {log} GROUP BY id ORDER BY c DESC, id", [("a", 2), ("b", 1), ("c", 1)]),
    ("SELECT id, COUNT(*) FROM {log} GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 1", [("a", 2)]),
    ("SELECT UPPER(id) AS u, SUM(n) FROM {log} GROUP BY u HAVING SUM(n) > 5", [("A", 101)]),
    ("SELECT id FROM {log} GROUP BY id HAVING COUNT(*) > 1", [("a",)]),
    ("SELECT DISTINCT id FROM {log} ORDER BY id DESC", [("c",), ("b",), ("a",)]),
    ("SELECT n FROM {log} ORDER BY n", [(None,), (1,), (2,), (100,)]),
    ("SELECT n FROM {log} ORDER BY n DESC", [(100,), (2,), (1,), (None,)]),
    ("SELECT n FROM {log} ORDER BY n DESC NULLS FIRST LIMIT 2 OFFSET 1", [(100,), (2,)]),
    ("SELECT id FROM {log} ORDER BY f, id, n", [("a",), ("b",), ("c",), ("a",)]),
    ("SELECT id FROM {log} ORDER BY f DESC, n LIMIT 2", [("a",), ("c",)]),
    ("SELECT -n AS n FROM {log} WHERE n IS NOT NULL ORDER BY n LIMIT 1", [(-100,)]),
    ("SELECT * EXCEPT (day, `at`, f, ok, amount, params, raw) REPLACE (n * 2 AS n) FROM {log} WHERE n = 2", [("b", 4)]),
    ("SELECT l.id, l.* FROM {log} AS l WHERE n = 2", "duplicate"),
    ("SELECT l.id, name FROM {log} AS l JOIN d.people AS p ON l.id = p.id ORDER BY n", [("a", "Ann"), ("a", "Ann")]),
    ("SELECT id, name, n FROM {log} RIGHT JOIN d.people USING (id) ORDER BY id, n",
     [("a", "Ann", 1), ("a", "Ann", 100), ("z", "Zoe", None)]),
    ("SELECT id, name FROM d.people FULL JOIN (SELECT id FROM {log}) USING (id) ORDER BY id, name",
     [("a", "Ann"), ("a", "Ann"), ("b", None), ("c", None), ("z", "Zoe")]),
    ("SELECT COUNT(*) FROM {log}, d.people", [(8,)]),
    ("SELECT COUNT(*) FROM {log} CROSS JOIN UNNEST([1, 2, 3])", [(12,)]),
    ("SELECT id, x, o FROM {log}, UNNEST(SPLIT(CONCAT(id, ',z'))) AS x WITH OFFSET AS o WHERE n = 2 ORDER BY o",
     [("b", "b", 0), ("b", "z", 1)]),
    ("SELECT id FROM {log} WHERE id IN (SELECT id FROM d.people) AND n = 1", [("a",)]),
    ("SELECT COUNT(*) FROM {log} WHERE id NOT IN (SELECT id FROM d.people)", [(2,)]),
    ("SELECT id FROM d.people p WHERE EXISTS (SELECT 1 FROM {log} AS l WHERE l.id = p.id)", [("a",)]),
    ("SELECT name, (SELECT SUM(n) FROM {log} AS l WHERE l.id = p.id) FROM d.people p ORDER BY 1",
     [("Ann", 101), ("Zoe", None)]),
    ("WITH t AS (SELECT id, n FROM {log}), u AS (SELECT * FROM t WHERE n > 1) SELECT COUNT(*) FROM u", [(2,)]),
    ("SELECT 1 AS a UNION ALL SELECT 2.5 ORDER BY a DESC", [(2.5,), (1.0,)]),
    ("SELECT 1 UNION DISTINCT SELECT 1", [(1,)]),
    ("(SELECT 1 AS a UNION ALL SELECT 2) INTERSECT DISTINCT SELECT 2", [(2,)]),
    ("SELECT x FROM UNNEST([1, 2]) AS x EXCEPT DISTINCT SELECT 2", [(1,)]),
    ("SELECT id, ROW_NUMBER() OVER (PARTITION BY id ORDER BY n DESC) AS r FROM {log} QUALIFY r = 1 AND id < 'c' "
     "ORDER BY id", [("a", 1), ("b", 1)]),
    ("SELECT n, RANK() OVER (ORDER BY id), DENSE_RANK() OVER (ORDER BY id), NTILE(2) OVER (ORDER BY id, n) "
     "FROM {log} ORDER BY id, n", [(1, 1, 1, 1), (100, 1, 1, 1), (2, 3, 2, 2), (None, 4, 3, 2)]),
    ("SELECT PERCENT_RANK() OVER (ORDER BY id), CUME_DIST() OVER (ORDER BY id) FROM {log} ORDER BY 1 DESC LIMIT 1",
     [(1.0, 1.0)]),
    ("SELECT LAG(n) OVER w, LEAD(n, 1, 0) OVER w, FIRST_VALUE(n) OVER w, "
     "LAST_VALUE(n) OVER (ORDER BY n ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING), "
     "NTH_VALUE(n, 2) OVER (ORDER BY n ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) "
     "FROM {log} WHERE n IS NOT NULL WINDOW w AS (ORDER BY n) ORDER BY n",
     [(None, 2, 1, 100, 2), (1, 100, 1, 100, 2), (2, 0, 1, 100, 2)]),
    ("SELECT SUM(n) OVER (ORDER BY n), SUM(n) OVER (ORDER BY n ROWS 1 PRECEDING), COUNT(*) OVER () "
     "FROM {log} WHERE n IS NOT NULL ORDER BY n", [(1, 1, 3), (3, 3, 3), (103, 102, 3)]),
    ("SELECT DISTINCT COUNT(*) OVER (PARTITION BY DATE_TRUNC(day, WEEK), TIMESTAMP_TRUNC(TIMESTAMP(day), WEEK)), "
     "MAX(n) OVER (ORDER BY CAST(CAST(n AS STRING) AS INT64) / 2 + 0.5 "
     "ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) FROM {log}", [(4, 100)]),
    ("SELECT n / 2 / 2 / 2 + 0.5 + 0.5 AS k, COUNT(*) FROM {log} WHERE n = 2 GROUP BY k HAVING k > 0 ORDER BY k",
     [(1.25, 1)]),
    ("SELECT SUM(n / 2 / 2 / 2) + AVG(n) * SUM(n) / COUNT(*), SUM(n / 2 / 2) / 2 / 2 FROM {log} WHERE n = 2",
     [(4.25, 0.125)]),
    ("SELECT id, SUM(COUNT(*)) OVER (ORDER BY id) FROM {log} GROUP BY id ORDER BY id", [("a", 2), ("b", 3), ("c", 4)]),
    ("SELECT SUM(amount), MAX(amount), SUM(f) > 0 FROM {log} WHERE n IN (1, 2)",
     [(Decimal("3.75"), Decimal("2.5"), False)]),
    ("SELECT JSON_VALUE(params, '$.k'), params.k, params['k'] FROM {log} WHERE n = 1", [("x", "x", "x")]),
    ("SELECT JSON_VALUE(params, '$.k'), params.k.deep[0], JSON_VALUE(params.k.deep, '$[0]') FROM d.log "
     "WHERE day = '{yesterday}'", [(None, 1, "1")]),
    ("SELECT ARRAY_AGG(id ORDER BY id, n LIMIT 3) FROM {log}", [(["a", "a", "b"],)]),
    ("SELECT COUNTIF(ok), COUNT(ok), COUNTIF(NOT ok) FROM {log}", [(1, 2, 1)]),
    ("SELECT a.x.k FROM (SELECT params AS x FROM {log} WHERE n = 1) AS a", [("x",)]),
    ("SELECT s FROM (SELECT STRING_AGG(id, '' ORDER BY id, n) AS s FROM {log})", [("aabc",)]),
    ("SELECT IF(COUNT(*) > 3, 'many', 'few') FROM {log}", [("many",)]),
    ("SELECT CASE WHEN n > 1 THEN 'big' ELSE 'small' END AS size, COUNT(*) FROM {log} GROUP BY size ORDER BY size",
     [("big", 2), ("small", 2)]),
]  # fmt: skip


@pytest.mark.parametrize(("sql", "expected"), RESULTS, ids=[sql for sql, _ in RESULTS])
def test_query_gives_bigquerys_rows(world: World, sql: str, expected: Any) -> None:
    text = filled(sql)
    if expected == "duplicate":
        with pytest.raises(BadRequest, match="Duplicate column names in the result"):
            world.rows(text)
    else:
        assert world.rows(text) == expected


REFUSED = {
    "SELEC 1": "Syntax error",
    "": "missing: query",
    "SELECT 1; SELECT 2": "scripts",
    "SELECT * FROM d.people WHERE COUNT(*) > 1": "Aggregate function COUNT not allowed in WHERE clause",
    "SELECT * FROM d.people WHERE ROW_NUMBER() OVER () = 1": "not allowed in WHERE clause",
    "SELECT id, COUNT(*) FROM d.people": "GROUP BY",
    "SELECT id FROM d.people p, d.people q": "ambiguous",
    "SELECT x FROM d.people": "Unrecognized name: x",
    "SELECT p.x FROM d.people p": "Name x not found inside p",
    "SELECT * FROM d.people p, d.people p": "Duplicate table alias",
    "SELECT * FROM d.people TABLESAMPLE SYSTEM (10 PERCENT)": "SAMPLE",
    "SELECT * FROM d.people FOR SYSTEM_TIME AS OF CURRENT_TIMESTAMP()": "VERSION",
    "SELECT * FROM d.people UNPIVOT(v FOR k IN (id, name))": "UNPIVOT",
    "SELECT * FROM d.people PIVOT(ARRAY_AGG(name) FOR id IN ('a'))": "ARRAY_AGG",
    "SELECT * FROM d.people PIVOT(COUNT(*) FOR id IN (name))": "must be constant",
    "SELECT id FROM d.people GROUP BY CUBE(id)": "Cube",
    "SELECT id FROM d.people GROUP BY id, ROLLUP(name)": "ROLLUP and other keys",
    "WITH RECURSIVE a AS (SELECT 1) SELECT * FROM a": "WITH RECURSIVE",
    "SELECT AS VALUE 1": "SELECT AS VALUE",
    "SELECT * FROM `d.peopl*`": "wildcard tables",
    "SELECT 1 UNION ALL SELECT 'a'": "No matching signature for UNION column 1",
    "SELECT 1, 2 UNION ALL SELECT 1": "mismatched column count",
    "SELECT id FROM d.people ORDER BY 7": "ORDER BY column number 7",
    "SELECT * EXCEPT (nope) FROM d.people": "does not exist",
    "SELECT LOWER(name) AS id FROM d.people GROUP BY id": "rename the item",
    "SELECT COUNT(*) FILTER (WHERE TRUE) FROM d.people": "Filter",
    "SELECT SUM(1) OVER (ORDER BY 1 RANGE BETWEEN 1 PRECEDING AND CURRENT ROW) FROM d.people": "window frame",
    "SELECT [1, NULL]": "Array cannot have a null element",
    "SELECT @p": "Query parameter 'p' not found",
    "SELECT ?": "Query parameter not found",
    "DECLARE x INT64": "does not support this statement",
    "CALL d.f()": "does not support",
    "GRANT SELECT ON d.people TO x": "does not support",
    "SELECT * FROM d.INFORMATION_SCHEMA.JOBS": "INFORMATION_SCHEMA.JOBS",
    "SELECT name FROM d.people LIMIT name": "LIMIT",
    "SELECT (SELECT id, name FROM d.people)": "more than one column",
    "SELECT (SELECT id FROM d.people)": "More than one row",
    "SELECT TO_JSON_STRING(CAST(NULL AS JSON)IN)": "Expected a list after IN",
    "SELECT 1 FROM d.people WHERE 1": "WHERE clause should return type BOOL, but returns INT64",
}


# Those that BigQuery takes: constructs the emulator does not have, tables it has not, and rules beside the language.
OUT_OF_REACH = {
    *(
        "SAMPLE",
        "VERSION",
        "UNPIVOT",
        "ARRAY_AGG",
        "Cube",
        "ROLLUP and other keys",
        "WITH RECURSIVE",
        "SELECT AS VALUE",
        "window frame",
        "Filter",
    ),
    *("does not support", "does not support this statement", "rename the item", "Array cannot have a null element"),
    *("More than one row",),  # known only when it runs
}


@pytest.mark.parametrize("sql", REFUSED)
def test_query_is_refused_in_words(world: World, sql: str) -> None:
    with pytest.raises(BadRequest) as refused:
        world.rows(sql)
    assert REFUSED[sql] in str(refused.value)


def parameter(kind: str, value: Any, name: str | None = "p") -> bigquery.ScalarQueryParameter:
    return bigquery.ScalarQueryParameter(name, kind, value)


SCALARS: list[tuple[str, Any]] = [
    ("STRING", "it's \\ ünï"),
    ("INT64", -(2**63)),
    ("FLOAT64", 0.1),
    ("FLOAT64", float("inf")),
    ("BOOL", True),
    ("TIMESTAMP", dt.datetime(2024, 1, 2, 3, 4, 5, 678901, dt.UTC)),
    ("DATE", dt.date(2024, 2, 29)),
    ("NUMERIC", Decimal("-123.456789012")),
    ("STRING", None),
    ("DATE", None),
]


@pytest.mark.parametrize(("kind", "value"), SCALARS)
def test_parameter_arrives_unchanged(world: World, kind: str, value: Any) -> None:
    assert world.rows("SELECT @p", query_parameters=[parameter(kind, value)]) == [(value,)]
    assert world.rows("SELECT ?", query_parameters=[parameter(kind, value, None)]) == [(value,)]


def test_parameters_filter_partitions_and_may_be_arrays(world: World) -> None:
    named = [parameter("DATE", TODAY, "day"), bigquery.ArrayQueryParameter("ids", "STRING", ["a", "c"])]
    sql = "SELECT COUNT(*) FROM d.log WHERE day = @day AND id IN UNNEST(@ids)"
    assert world.rows(sql, query_parameters=named) == [(3,)]
    placed = [parameter("STRING", "b", None), parameter("STRING", str(TODAY), None), parameter("INT64", 1, None)]
    sql = "SELECT n FROM d.log WHERE id = ? AND day = ? LIMIT ?"
    assert world.rows(sql, query_parameters=placed) == [(2,)]
    with pytest.raises(BadRequest, match="Invalid value for type INT64"):
        world.rows("SELECT @p", query_parameters=[parameter("INT64", "1; DROP TABLE x")])


@pytest.mark.parametrize("many", [3, 100, 101, 5_000])
def test_an_array_of_many_strings_arrives_unchanged(world: World, many: int) -> None:
    values = ["'); DROP TABLE x; --", '"\\', "\n\t", "e\u0301", "\U0001f600", *map(str, range(many - 5))][:many]
    given = [bigquery.ArrayQueryParameter("ids", "STRING", values)]
    assert world.rows("SELECT @ids", query_parameters=given) == [(values,)]
    for value, found in (*((one, True) for one in values[:3]), ("%", False), ("", False)):
        asked = [*given, parameter("STRING", value, "one")]
        assert world.rows("SELECT @one IN UNNEST(@ids)", query_parameters=asked) == [(found,)]


def test_nothing_in_a_literal_or_a_name_reaches_duckdb_as_code(world: World) -> None:
    hostile = "'); DROP TABLE rows.t1; --"
    assert world.rows("SELECT @p", query_parameters=[parameter("STRING", hostile)]) == [(hostile,)]
    assert world.rows('SELECT "\'); DROP TABLE rows.t1; --" AS `x"y`') == [(hostile,)]
    for name in ("read_csv('/etc/passwd')", "`rows.t1`", "`meta.jobs`", "duckdb_tables()"):
        with pytest.raises((BadRequest, Exception), match=r"(?i)not found|support|syntax|qualified"):
            world.rows(f"SELECT * FROM {name}")


def test_dry_run_tells_schema_and_bytes_of_the_partitions_that_are_left(world: World) -> None:
    def cost(sql: str) -> int:
        job = world.client.query(sql, job_config=bigquery.QueryJobConfig(dry_run=True, use_query_cache=False))
        assert job.dry_run and job.done()
        return int(job.total_bytes_processed)

    assert cost("SELECT COUNT(*) FROM d.log WHERE day IS NOT NULL") == 5 * 8
    assert cost(f"SELECT n FROM d.log WHERE day = '{TODAY}'") == 4 * (8 + 8)
    assert cost(f"SELECT n FROM d.events WHERE day = '{YESTERDAY}'") == 1 * (8 + 8 + 8 + (2 + 1))
    assert cost("SELECT id FROM d.people") == 2 * (2 + 1)
    assert cost("SELECT COUNT(*) FROM d.people") == 0
    assert cost("SELECT 1") == 0
    job = world.client.query(
        "SELECT n, ARRAY_AGG(id) AS ids FROM d.people JOIN d.log USING (id) WHERE log.day IS NOT NULL GROUP BY n",
        job_config=bigquery.QueryJobConfig(dry_run=True),
    )
    assert [(f.name, f.field_type, f.mode) for f in job.schema] == [
        ("n", "INTEGER", "NULLABLE"),
        ("ids", "STRING", "REPEATED"),
    ]
    with pytest.raises(BadRequest, match="Unrecognized name"):
        cost("SELECT nope FROM d.people")
    with pytest.raises(BadRequest, match="GROUP BY"):
        cost("SELECT id, COUNT(*) FROM d.people")


def test_a_limit_on_bytes_is_kept(world: World) -> None:
    with pytest.raises(BadRequest, match="limit for bytes billed"):
        world.rows("SELECT n FROM d.log WHERE day IS NOT NULL", maximum_bytes_billed=10)
    assert len(world.rows("SELECT n FROM d.log WHERE day IS NOT NULL", maximum_bytes_billed=1000)) == 5


def test_information_schema_tells_tables_columns_views_and_partitions(world: World) -> None:
    tables = world.rows("SELECT table_name, table_type FROM d.INFORMATION_SCHEMA.TABLES ORDER BY 1")
    assert {("events", "VIEW"), ("log", "BASE TABLE"), ("people", "BASE TABLE")} <= set(tables)
    assert world.rows(
        f"SELECT column_name, data_type, is_nullable, is_partitioning_column "
        f"FROM `{world.client.project}.d.INFORMATION_SCHEMA.COLUMNS` WHERE table_name = 'people' "
        "ORDER BY ordinal_position"
    ) == [("day", "DATE", "NO", "YES"), ("id", "STRING", "NO", "NO"), ("name", "STRING", "YES", "NO")]
    assert world.rows(
        "SELECT partition_id, total_rows FROM d.INFORMATION_SCHEMA.PARTITIONS WHERE table_name = 'log' ORDER BY 1"
    ) == [(f"{YESTERDAY:%Y%m%d}", 1), (f"{TODAY:%Y%m%d}", 4)]
    assert world.rows("SELECT table_name FROM d.INFORMATION_SCHEMA.VIEWS") == [("events",)]


def test_a_partition_says_when_rows_were_last_written_to_it_and_how_large_it_is(world: World) -> None:
    sql = (
        "SELECT partition_id, last_modified_time, total_logical_bytes, storage_tier "
        "FROM d.INFORMATION_SCHEMA.PARTITIONS WHERE table_name = 'changing' ORDER BY 1"
    )

    def changed(statement: str) -> set[str]:
        before = {name: modified for name, modified, *_ in world.rows(sql)}
        world.rows(statement)
        return {name for name, modified, *_ in world.rows(sql) if before.get(name) != modified}

    world.rows("CREATE TABLE d.changing (day DATE, text STRING) PARTITION BY day")
    days = "DATE '2026-01-01', 'ab'), (DATE '2026-01-02', 'cde'), (NULL, NULL"
    assert changed(f"INSERT INTO d.changing VALUES ({days})") == {"20260101", "20260102", "__NULL__"}
    assert [row[2:] for row in world.rows(sql)] == [(10, "ACTIVE"), (11, "ACTIVE"), (8, "ACTIVE")]
    assert changed("UPDATE d.changing SET text = 'x' WHERE day = '2026-01-01'") == {"20260101"}
    assert changed("INSERT INTO d.changing VALUES (DATE '2026-01-02', 'y')") == {"20260102"}
    merged = "MERGE d.changing AS a USING (SELECT DATE '2026-01-01' AS day) AS b ON a.day = b.day WHEN MATCHED THEN"
    assert changed(f"{merged} UPDATE SET text = 'z'") == {"20260101"}
    (first, *_) = (row[1] for row in world.rows(sql))
    assert world.rows("SELECT CURRENT_TIMESTAMP()")[0][0] > first
    world.rows("DROP TABLE d.changing")


def test_anonymous_columns_are_named_as_in_bigquery(world: World) -> None:
    result = world.client.query_and_wait("SELECT 1, 2 AS two, 'x', params.k FROM d.log WHERE day = CURRENT_DATE()")
    assert [field.name for field in result.schema] == ["f0_", "two", "f1_", "k"]
    (row,) = world.rows("SELECT f0_ FROM (SELECT 1 AS f0_)")
    assert row == (1,)


def test_legacy_sql_is_refused(world: World) -> None:
    with pytest.raises(BadRequest, match="legacy SQL"):
        world.rows("SELECT 1", use_legacy_sql=True)
