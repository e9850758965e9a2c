"""What analysts type first: nested values, JSON arrays, hosts, percentiles, GROUP BY ALL, ROLLUP and PIVOT.

Every answer here is also asked of GoogleSQL's own evaluator, where that is installed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest
from google.cloud import bigquery
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import BigQueryAddress
from tests.emulators import bigquery_client as desk
from tests.emulators.bigquery.oracle import oracle

SALES = (
    "(SELECT 'Ulm' AS city, 'q1' AS part, 10 AS n UNION ALL SELECT 'Ulm', 'q2', 20 "
    "UNION ALL SELECT 'Bonn', 'q1', 5 UNION ALL SELECT 'Bonn', CAST(NULL AS STRING), 7)"
)
ORDERS = (
    "(SELECT 1 AS id, [STRUCT('a' AS sku, 2 AS n), ('b', 3)] AS items "
    "UNION ALL SELECT 2, ARRAY<STRUCT<sku STRING, n INT64>>[])"
)

ANSWERS: list[tuple[str, list[tuple[Any, ...]]]] = [
    ("SELECT STRUCT(1 AS a, 'x' AS b).b", [("x",)]),
    ("SELECT STRUCT<a INT64, b STRING>(1, 'x').a", [(1,)]),
    ("SELECT (SELECT AS STRUCT 1 AS a, 'x' AS b).b", [("x",)]),
    ("SELECT CAST(STRUCT(1 AS a) AS STRUCT<b STRING>).b", [("1",)]),
    ("SELECT IF(FALSE, STRUCT(1 AS a), NULL).a IS NULL", [(True,)]),
    (f"SELECT id, items[0].sku FROM {ORDERS} WHERE id = 1", [(1, "a")]),
    (f"SELECT id, items[SAFE_OFFSET(1)].n FROM {ORDERS} ORDER BY id", [(1, 3), (2, None)]),
    (
        f"SELECT id, i.sku, place FROM {ORDERS}, UNNEST(items) AS i WITH OFFSET AS place ORDER BY sku",
        [(1, "a", 0), (1, "b", 1)],
    ),
    (f"SELECT o.id, sku, n FROM {ORDERS} AS o, o.items ORDER BY sku", [(1, "a", 2), (1, "b", 3)]),
    (f"SELECT id, i.n FROM {ORDERS} LEFT JOIN UNNEST(items) AS i ORDER BY id, n", [(1, 2), (1, 3), (2, None)]),
    (f"SELECT id, (SELECT SUM(n) FROM UNNEST(items)) FROM {ORDERS} ORDER BY id", [(1, 5), (2, None)]),
    (f"SELECT (SELECT COUNT(*) FROM o.items AS i WHERE i.n > 2) FROM {ORDERS} AS o ORDER BY o.id", [(1,), (0,)]),
    (f"SELECT ARRAY(SELECT sku FROM UNNEST(items) ORDER BY n DESC) FROM {ORDERS} WHERE id = 1", [(["b", "a"],)]),
    ("SELECT ARRAY(SELECT AS STRUCT x, x * 2 AS y FROM UNNEST([1, 2]) AS x ORDER BY x DESC)[0].y", [(4,)]),
    ("SELECT list[0] FROM (SELECT [7, 8] AS list)", [(7,)]),
    (f"SELECT ARRAY_AGG(STRUCT(city, n) ORDER BY n DESC LIMIT 1)[OFFSET(0)].city FROM {SALES}", [("Ulm",)]),
    (f"SELECT ARRAY_AGG(s ORDER BY n LIMIT 1)[OFFSET(0)].* FROM {SALES} AS s", [("Bonn", "q1", 5)]),
    ("SELECT s.* EXCEPT (a) FROM (SELECT STRUCT(1 AS a, 2 AS b) AS s)", [(2,)]),
    ("SELECT TO_JSON_STRING([STRUCT(1 AS a, [1.5, 2] AS b, NULL AS c)])", [('[{"a":1,"b":[1.5,2],"c":null}]',)]),
    ("""SELECT JSON_QUERY_ARRAY('{"a": [1, {"b" : 2}, null]}', '$.a')""", [(["1", '{"b":2}', "null"],)]),
    ("""SELECT JSON_QUERY_ARRAY('{"a": 1}', '$.a') IS NULL""", [(True,)]),
    ("SELECT JSON_QUERY_ARRAY('no json') IS NULL", [(True,)]),
    ("""SELECT JSON_VALUE_ARRAY('["x", 1, true]')""", [(["x", "1", "true"],)]),
    ("""SELECT JSON_VALUE_ARRAY('["x", [1]]') IS NULL""", [(True,)]),
    ("""SELECT ARRAY_LENGTH(JSON_VALUE_ARRAY(JSON '{"t": ["x", null]}', '$.t'))""", [(2,)]),
    ("""SELECT STRING(j.items[0].sku) FROM (SELECT JSON '{"items": [{"sku": "s"}]}' AS j)""", [("s",)]),
    ("SELECT LAX_INT64(JSON '\"1.5\"'), LAX_INT64(JSON 'true'), LAX_INT64(JSON '\"x\"')", [(2, 1, None)]),
    ("SELECT LAX_FLOAT64(JSON '\"1e3\"'), LAX_FLOAT64(JSON 'true')", [(1000.0, None)]),
    ("SELECT LAX_BOOL(JSON '\"TRUE\"'), LAX_BOOL(JSON '0'), LAX_BOOL(JSON '\"1\"')", [(True, False, None)]),
    (
        "SELECT NET.HOST('https://me@www.Example.com:80/a?b'), NET.HOST('a.b/c'), NET.HOST('/x')",
        [("www.Example.com", "a.b", None)],
    ),
    ("SELECT DISTINCT PERCENTILE_CONT(x, 0.5) OVER () FROM UNNEST([1, 2, 4, NULL]) AS x", [(2.0,)]),
    (
        f"SELECT DISTINCT city, PERCENTILE_CONT(n, 0.5) OVER (PARTITION BY city) FROM {SALES} ORDER BY city",
        [("Bonn", 6.0), ("Ulm", 15.0)],
    ),
    (f"SELECT city, SUM(n) FROM {SALES} GROUP BY ALL ORDER BY city", [("Bonn", 12), ("Ulm", 30)]),
    ("SELECT 'k' FROM UNNEST([1, 2]) GROUP BY ALL", [("k",)]),
    (f"SELECT city, SUM(n) FROM {SALES} GROUP BY ROLLUP(city) ORDER BY city", [(None, 42), ("Bonn", 12), ("Ulm", 30)]),
    (
        f"SELECT city, part, SUM(n) FROM {SALES} WHERE city = 'Ulm' GROUP BY ROLLUP(1, 2) ORDER BY 1, 2",
        [(None, None, 30), ("Ulm", None, 30), ("Ulm", "q1", 10), ("Ulm", "q2", 20)],
    ),
    (f"SELECT city, COUNT(*) FROM {SALES} WHERE FALSE GROUP BY ROLLUP(city)", []),
    (f"SELECT city, COUNT(*) AS c FROM {SALES} GROUP BY ROLLUP(city) HAVING c > 2", [(None, 4)]),
    (
        f"SELECT * FROM {SALES} PIVOT(SUM(n) FOR part IN ('q1', 'q2' AS second)) ORDER BY city",
        [("Bonn", 5, None), ("Ulm", 10, 20)],
    ),
    (
        f"SELECT city, s_q1, c_none FROM {SALES} "
        "PIVOT(SUM(n) AS s, COUNT(*) AS c FOR part IN ('q1', NULL AS none)) ORDER BY city",
        [("Bonn", 5, 1), ("Ulm", 10, 0)],
    ),
    ("SELECT _5 FROM (SELECT 5 AS k, 1 AS n) PIVOT(SUM(n) FOR k IN (5))", [(1,)]),
]


@pytest.fixture(scope="module")
def client(bigquery_host: BigQueryAddress) -> Iterator[bigquery.Client]:
    made = desk.client(bigquery_host.rest, "analytics")
    yield made
    made.close()


def ask(client: bigquery.Client, sql: str) -> list[tuple[Any, ...]]:
    return [tuple(row.values()) for row in client.query_and_wait(sql)]


@pytest.mark.parametrize(("sql", "rows"), ANSWERS, ids=[sql for sql, _ in ANSWERS])
def test_query_has_bigquerys_answer(client: bigquery.Client, sql: str, rows: list[tuple[Any, ...]]) -> None:
    assert ask(client, sql) == rows


def test_every_answer_is_googles() -> None:
    google = oracle()
    wrong = [(sql, rows, found) for sql, rows in ANSWERS if (found := google.evaluate(sql)) != rows]
    assert not wrong


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    urls=st.lists(
        st.lists(st.sampled_from([*"ab.:/?#@[] \t", "\\\\", "//", "http", "é", "://"]), max_size=7).map("".join),
        min_size=1,
        max_size=40,
    )
)
def test_hosts_are_googles_whatever_the_text(client: bigquery.Client, urls: list[str]) -> None:
    sql = "SELECT [" + ", ".join(f"IFNULL(NET.HOST('{url}'), '-')" for url in urls) + "]"
    assert ask(client, sql) == oracle().evaluate(sql)


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    numbers=st.lists(st.floats(-1e6, 1e6, allow_nan=False), min_size=1, max_size=8),
    place=st.one_of(st.sampled_from([0, 0.25, 0.5, 0.9, 1]), st.floats(0, 1)),
)
def test_percentiles_are_googles(client: bigquery.Client, numbers: list[float], place: float) -> None:
    sql = f"SELECT DISTINCT PERCENTILE_CONT(x, {place!r}) OVER () FROM UNNEST({numbers!r}) AS x"
    ((ours,),), ((google,),) = ask(client, sql), oracle().evaluate(sql)
    assert math.isclose(ours, google, rel_tol=1e-14, abs_tol=1e-300)
