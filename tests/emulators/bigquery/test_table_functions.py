"""Table functions: made by statement or the REST API, called in FROM, and refused as BigQuery refuses them."""

from __future__ import annotations

from typing import Any

import pytest
from google.api_core.exceptions import BadRequest, Conflict, NotFound, PreconditionFailed
from google.cloud import bigquery
from google.cloud.bigquery import Routine, RoutineArgument, ScalarQueryParameter, StandardSqlDataType
from google.cloud.bigquery.enums import StandardSqlTypeNames as Kinds

from tests.conftest import BigQueryAddress
from tests.emulators import bigquery_client as desk
from tests.emulators.bigquery.oracle import SqlRefused, Table, oracle

BETWEEN = (
    "CREATE TABLE FUNCTION d.between_days(kinds ARRAY<STRING>, first DATE, last DATE) AS (\n"
    "  WITH chosen AS (SELECT * FROM d.t WHERE day BETWEEN first AND last)  -- only these days\n"
    "  SELECT id, n FROM chosen WHERE id IN UNNEST(kinds)\n)"
)
# An update replaces the whole routine: https://cloud.google.com/bigquery/docs/reference/rest/v2/routines/update
EVERYTHING = ["type_", "language", "arguments", "body", "description"]
KNOWN = [Table("p.d.t", {"day": "DATE", "id": "STRING", "n": "INT64"})]


class World:
    def __init__(self, rest: str, project: str) -> None:
        self.client, self.project = desk.client(rest, project), project
        desk.table(self.client, filtered=True)
        rows = ", ".join(f"(DATE '2026-03-0{day}', '{id_}', {day})" for day in (1, 2, 3) for id_ in "ab")
        self.run(f"INSERT INTO d.t (day, id, n) VALUES {rows}")

    def run(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        config = bigquery.QueryJobConfig(query_parameters=list(values))
        return [tuple(row.values()) for row in self.client.query_and_wait(sql, job_config=config)]

    def read(self, sql: str) -> int:
        config = bigquery.QueryJobConfig(dry_run=True, use_query_cache=False)
        return int(self.client.query(sql, job_config=config).total_bytes_processed)

    def routine(self, name: str = "f", body: str = "SELECT x AS y", **more: Any) -> Routine:
        argument = RoutineArgument(name="x", data_type=StandardSqlDataType(Kinds.INT64))
        more = {"type_": "TABLE_VALUED_FUNCTION", "language": "SQL", "arguments": [argument], **more}
        return Routine(f"{self.project}.d.{name}", body=body, **more)


@pytest.fixture
def world(bigquery_host: BigQueryAddress, project: str) -> World:
    return World(bigquery_host.rest, project)


def test_a_call_is_the_query_with_its_arguments(world: World) -> None:
    world.run(BETWEEN)
    call = "SELECT * FROM d.between_days(['a', 'c'], DATE '2026-03-02', '2026-03-03') AS z ORDER BY z.n"
    assert world.run(call) == [("a", 2), ("a", 3)]
    named = "SELECT COUNT(*) FROM `{}.d.between_days`(['b'], @day, @day) JOIN d.t USING (id) WHERE t.day = @day"
    assert world.run(named.format(world.project), ScalarQueryParameter("day", "DATE", "2026-03-01")) == [(1,)]
    oracle().analyze(BETWEEN.replace("d.t", "p.d.t"), KNOWN)


def test_a_condition_on_a_parameter_reads_only_the_days_asked_for(world: World) -> None:
    world.run(BETWEEN)
    one, all_ = (world.read(f"SELECT * FROM d.between_days(['a'], '2026-03-02', '2026-03-0{last}')") for last in (2, 3))
    assert 0 < one * 2 == all_


def test_a_column_goes_before_a_parameter_of_its_name(world: World) -> None:
    chosen = "day > '2026-01-01' AND n < m"
    world.run(f"CREATE TABLE FUNCTION d.f(n INT64, m INT64) AS SELECT COUNT(*) AS c FROM d.t WHERE {chosen}")
    assert world.run("SELECT c FROM d.f(100, 3)") == [(4,)]


def test_a_function_calls_another_and_a_view_calls_it(world: World) -> None:
    world.run("CREATE TABLE FUNCTION d.low(x INT64) AS SELECT n FROM d.t WHERE day > '2026-01-01' AND n <= x")
    world.run("CREATE TABLE FUNCTION d.lower(y INT64) AS SELECT DISTINCT n FROM d.low(y - 1)")
    view = bigquery.Table(f"{world.project}.d.v")
    view.view_query = "SELECT * FROM d.lower(3)"
    world.client.create_table(view)
    assert sorted(world.run("SELECT * FROM d.v")) == [(1,), (2,)]


def test_statements_make_replace_and_drop(world: World) -> None:
    first, second = (f"TABLE FUNCTION d.f() OPTIONS (description = 'one; two') AS SELECT {n} AS x" for n in (1, 2))
    world.run(f"-- a comment\nCREATE {first};")
    with pytest.raises(Conflict):
        world.run(f"CREATE {second}")
    world.run(f"CREATE {second}".replace("d.f", "IF NOT EXISTS d.f"))
    assert world.run("SELECT * FROM d.f()") == [(1,)]
    world.run(f"create or replace {second}")
    assert world.run("SELECT * FROM d.f()") == [(2,)]
    found = world.client.get_routine("d.f")
    assert (found.body, found.description) == ("SELECT 2 AS x", "one; two")
    world.run("DROP TABLE FUNCTION d.f")
    with pytest.raises(NotFound):
        world.run("DROP TABLE FUNCTION d.f")
    world.run("DROP TABLE FUNCTION IF EXISTS d.f")
    for sql in (f"CREATE {first}", f"CREATE OR REPLACE {first}", "DROP TABLE FUNCTION IF EXISTS d.f"):
        oracle().analyze(sql)


def test_the_client_makes_lists_changes_and_deletes(world: World) -> None:
    made = world.client.create_routine(world.routine(description="as it was"))
    assert (made.type_, made.body, made.arguments[0].name) == ("TABLE_VALUED_FUNCTION", "SELECT x AS y", "x")
    with pytest.raises(Conflict):
        world.client.create_routine(world.routine())
    assert [one.reference.routine_id for one in world.client.list_routines("d")] == ["f"]
    made.body, stale = "SELECT x + 1 AS y", world.client.get_routine("d.f")
    changed = world.client.update_routine(made, EVERYTHING)
    assert (changed.description, world.run("SELECT y FROM d.f(1)")) == ("as it was", [(2,)])
    stale.body = "SELECT 7 AS y"
    with pytest.raises(PreconditionFailed):
        world.client.update_routine(stale, EVERYTHING)
    world.client.delete_table("d.t")
    with pytest.raises(BadRequest, match="still in use"):
        world.client.delete_dataset("d")
    world.client.delete_routine("d.f")
    with pytest.raises(NotFound):
        world.client.get_routine("d.f")


def test_arrays_and_structs_can_be_parameters(world: World) -> None:
    sql = "CREATE TABLE FUNCTION d.f(xs ARRAY<STRUCT<a INT64, b STRING>>, y NUMERIC) AS SELECT b, y FROM UNNEST(xs)"
    world.run(sql)
    kept = world.client.get_routine("d.f")
    world.client.create_routine(world.routine("g", kept.body, arguments=kept.arguments))
    for name in ("f", "g"):
        assert world.run(f"SELECT b FROM d.{name}([STRUCT(1 AS a, 'x' AS b)], 1) WHERE y = 1") == [("x",)]
    oracle().analyze(sql)


BAD = {
    "no such function": "SELECT * FROM d.g(1)",
    "too few arguments": "SELECT * FROM d.f()",
    "another type": "SELECT * FROM d.f('x')",
    "a column": "SELECT * FROM d.t, d.f(n)",
    "an aggregate": "SELECT * FROM d.f(COUNT(*))",
    "a name that is nothing": "CREATE TABLE FUNCTION d.g(x INT64) AS SELECT z AS y",
    "no query": "CREATE TABLE FUNCTION d.g(x INT64) AS DELETE FROM d.t WHERE TRUE",
    "a column without a name": "CREATE TABLE FUNCTION d.g(x INT64) AS SELECT x + 1",
    "a parameter twice": "CREATE TABLE FUNCTION d.g(x INT64, X INT64) AS SELECT x AS y",
    "a parameter without a type": "CREATE TABLE FUNCTION d.g(x) AS SELECT 1 AS y",
    "an unknown type": "CREATE TABLE FUNCTION d.g(x TEXT_) AS SELECT 1 AS y",
    "a comma too many": "CREATE TABLE FUNCTION d.g(x INT64,) AS SELECT 1 AS y",
    "no end": "CREATE TABLE FUNCTION d.g(x INT64",
    "no body": "CREATE TABLE FUNCTION d.g(x INT64) AS",
    "itself": "CREATE OR REPLACE TABLE FUNCTION d.f(x INT64) AS SELECT * FROM d.f(x)",
    "replace and unless": "CREATE OR REPLACE TABLE FUNCTION IF NOT EXISTS d.g() AS SELECT 1 AS y",
}
LANGUAGE_ALLOWS = {"a column without a name", "itself", "a parameter twice"}


@pytest.mark.parametrize("sql", BAD.values(), ids=BAD)
def test_what_bigquery_refuses_is_refused(world: World, sql: str, request: pytest.FixtureRequest) -> None:
    world.run("CREATE TABLE FUNCTION d.f(x INT64) AS SELECT x AS y")
    with pytest.raises((BadRequest, NotFound)):
        world.run(sql)
    assert world.run("SELECT y FROM d.f(5)") == [(5,)]
    if not any(f"[{name}]" in request.node.nodeid for name in LANGUAGE_ALLOWS):
        with pytest.raises(SqlRefused):
            oracle().analyze(sql, [*KNOWN, Table("p.d.f", {"y": "INT64"}, arguments=["INT64"])])


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"type_": "SCALAR_FUNCTION"}, "TABLE_VALUED_FUNCTION only"),
        ({"language": "JAVASCRIPT"}, "language"),
        ({"imported_libraries": ["gs://a/b.js"]}, "importedLibraries"),
        ({"body": "SELECT 1 FROM d.nothing"}, "nothing"),
    ],
)
def test_other_routines_are_refused_in_words(world: World, more: dict[str, Any], said: str) -> None:
    with pytest.raises((BadRequest, NotFound), match=said):
        world.client.create_routine(world.routine(**more))
    assert list(world.client.list_routines("d")) == []
