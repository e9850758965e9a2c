"""Two events under one key: the view shows the first, compaction keeps the other, whatever happens meanwhile."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.ops.compact import Compaction, Compactor
from services.ops.compact_sql import Statements
from tests.ops import schemas
from tests.ops.conftest import A_DAY, Pipeline, within_one
from tests.ops.schemas import DAY, NOON, row
from tests.process import ROOT
from tests.schemas import SCHEMA_FILE

NEXT = DAY + timedelta(days=1)
LOG = "SELECT * FROM pixelpipe.events_log ORDER BY event_id, received_at"
CONFLICTS = "SELECT * FROM pixelpipe.conflicts ORDER BY event_id, received_at"
ROWS = [row("a", n=1), row("a", n=1, seconds=1), row("a", n=2, seconds=2), row("a", n=2, seconds=3), row("b")]


class Client:
    """The official client, with something done before a statement that begins with `word`."""

    def __init__(self, client: Any, word: str, before: Callable[[], object]) -> None:
        self._client, self._word, self._before = client, word, before

    def query(self, sql: str, **options: Any) -> Any:
        if sql.startswith(self._word):
            self._before()
        return self._client.query(sql, **options)

    def get_table(self, *arguments: Any, **options: Any) -> Any:
        return self._client.get_table(*arguments, **options)


def compact(pipeline: Pipeline, client: Any = None, table: str = "events") -> Compaction:
    """Compact in this process, which is faster than the command."""
    compactor = Compactor(client or pipeline.client, pipeline.project, "pixelpipe")
    return compactor.compact(pipeline.schema.tables[table], DAY, dry_run=False)


def of_day(pipeline: Pipeline) -> Statements:
    columns = [field.name for field in pipeline.client.get_table("pixelpipe.events_log").schema]
    return Statements(pipeline.schema.tables["events"], pipeline.project, "pixelpipe", columns, DAY)


def numbers(pipeline: Pipeline) -> tuple[list[Any], list[Any]]:
    """The column n of the rows of event `a`, in the log table and among the conflicts."""
    log = [one["n"] for one in pipeline.rows(LOG) if one["event_id"] == "a"]
    return log, [one["whole_row"]["n"] for one in pipeline.rows(CONFLICTS) if one["event_id"] == "a"]


class CutOff(Exception):
    """The process ends here."""


def cut_off() -> None:
    raise CutOff


@pytest.mark.parametrize("word", ["SELECT COUNT(*) AS events", "INSERT", "MERGE"])
def test_a_run_that_is_cut_off_loses_nothing_and_the_next_finishes_it(pipeline: Pipeline, word: str) -> None:
    pipeline.load("events", ROWS)
    for _ in range(2):
        with pytest.raises(CutOff):
            compact(pipeline, Client(pipeline.client, word, cut_off))
        log, _ = numbers(pipeline)
        assert log == [1, 1, 2, 2]
    outcome = compact(pipeline)
    assert (outcome.rows, outcome.removed, outcome.duplicates) == (2, 3, 0)
    assert outcome.conflicts == (word != "MERGE")  # else it was moved by the run before
    assert numbers(pipeline) == ([1], [2])
    assert compact(pipeline).removed == 0


def test_what_is_appended_between_the_statements_stays_for_the_next_run(pipeline: Pipeline) -> None:
    pipeline.load("events", ROWS)
    late = [row("a", n=3, seconds=4), row("a", n=2, seconds=5), row("b", seconds=6)]
    outcome = compact(pipeline, Client(pipeline.client, "MERGE", lambda: pipeline.load("events", late)))
    assert (outcome.rows, outcome.duplicates, outcome.conflicts) == (3, 1, 1)
    assert numbers(pipeline) == ([1, 3], [2])
    outcome = compact(pipeline)
    assert (outcome.rows, outcome.duplicates, outcome.conflicts) == (2, 0, 1)
    assert numbers(pipeline) == ([1], [2, 3])


def test_another_first_row_between_the_statements_costs_nothing(pipeline: Pipeline) -> None:
    pipeline.load("events", ROWS)
    early = [row("a", n=0, seconds=-1)]
    compact(pipeline, Client(pipeline.client, "MERGE", lambda: pipeline.load("events", early)))
    assert numbers(pipeline) == ([0, 1, 1], [2])
    compact(pipeline)
    log, moved = numbers(pipeline)
    assert (log, sorted(moved)) == ([0], [1, 2])


def test_a_late_copy_of_what_was_moved_goes_and_is_not_moved_twice(pipeline: Pipeline) -> None:
    pipeline.load("events", ROWS)
    compact(pipeline)
    pipeline.load("events", [row("a", n=2, seconds=9)])
    outcome = compact(pipeline)
    assert (outcome.removed, outcome.conflicts) == (1, 0)
    assert numbers(pipeline) == ([1], [2])


def test_a_late_copy_that_came_first_is_shown_and_what_was_shown_is_moved(pipeline: Pipeline) -> None:
    pipeline.load("events", ROWS)
    compact(pipeline)
    pipeline.load("events", [row("a", n=2, seconds=-9)])
    outcome = compact(pipeline)
    assert (outcome.removed, outcome.conflicts) == (1, 1)
    log, moved = numbers(pipeline)
    assert (log, sorted(moved)) == ([2], [1, 2])  # nothing is ever taken out of the conflicts


def test_runs_side_by_side_move_everything_and_the_view_shows_it_once(pipeline: Pipeline) -> None:
    rows = [row(f"e{number}", n=n, seconds=n) for number in range(20) for n in range(3)]
    pipeline.load("events", rows * 2)

    def append(number: int) -> None:
        pipeline.load("events", [row(f"e{number}", n=1, seconds=30), row(f"e{number}", n=7, seconds=31)])

    with ThreadPoolExecutor(6) as pool:
        appends = [pool.submit(append, number) for number in range(20)]
        list(pool.map(compact, [pipeline] * 4))
        for one in appends:
            one.result(60)
    compact(pipeline)
    assert Counter((one["event_id"], one["n"]) for one in pipeline.rows(LOG)) == Counter(
        (f"e{number}", 0) for number in range(20)
    )
    moved = Counter((one["event_id"], one["whole_row"]["n"]) for one in pipeline.rows(CONFLICTS))
    assert moved == Counter((f"e{number}", n) for number in range(20) for n in (1, 2, 7))


batches = st.lists(
    st.tuples(st.sampled_from("ab"), st.sampled_from(["", "x"]), st.integers(0, 2), st.integers(0, 3)),
    min_size=1,
    max_size=8,
)


@pytest.mark.slow
@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(batches, st.sampled_from(["move", "remove"])), min_size=2, max_size=4))
def test_no_content_is_ever_nowhere_whatever_the_order_of_appends_and_statements(
    pipeline: Pipeline, made: list[tuple[list[tuple[str, str, int, int]], str]]
) -> None:
    """Two runs that get in each other's way, or are cut off, have the statements in such an order."""
    text = schemas.text("tenant: {type: STRING, from: param.tenant}")
    if pipeline.file.read_text() != text:
        pipeline.provision(text)
    for table in ("events_log", "conflicts_log"):
        pipeline.client.query_and_wait(f"TRUNCATE TABLE pixelpipe.{table}")
    statements, sent = of_day(pipeline), set[tuple[str, str, int]]()
    for rows, statement in [*made, ([], "move"), ([], "remove")]:
        values = ", ".join(
            f"(DATE '{DAY}', '{event_id}', TIMESTAMP '{NOON + timedelta(seconds=at)}', NULLIF('{tenant}', ''), {n})"
            for event_id, tenant, n, at in rows
        )
        if values:
            columns = "day, event_id, received_at, tenant, n"
            pipeline.client.query_and_wait(f"INSERT INTO pixelpipe.events_log ({columns}) VALUES {values}")
        sent |= {(event_id, tenant, n) for event_id, tenant, n, _ in rows}
        pipeline.client.query_and_wait(getattr(statements, statement)())
        moved = [one["whole_row"] for one in pipeline.rows(CONFLICTS)]
        log = pipeline.rows(LOG)
        found = Counter((one["event_id"], one["tenant"] or "", one["n"]) for one in moved)
        assert not found or max(found.values()) == 1
        assert {(one["event_id"], one["tenant"] or "", one["n"]) for one in log} | set(found) == sent
    assert len(log) == len({(event_id, tenant) for event_id, tenant, _ in sent})


def test_two_runs_that_move_the_same_at_once_show_it_once(pipeline: Pipeline) -> None:
    """BigQuery lets two INSERTs run side by side, of which neither sees the other's rows."""
    pipeline.load("events", ROWS)
    move = of_day(pipeline).move()
    blind = move[: move.index("  AND fingerprint NOT IN")]
    for _ in range(2):
        pipeline.client.query_and_wait(blind)
    assert pipeline.number("SELECT COUNT(*) FROM pixelpipe.conflicts_log") == 2
    assert compact(pipeline).conflicts == 0
    assert numbers(pipeline) == ([1], [2])


def test_the_value_of_a_column_the_schema_file_lost_is_content(pipeline: Pipeline) -> None:
    pipeline.load("events", [row("a", n=1), row("a", n=2, seconds=1)])
    pipeline.provision(schemas.text(number="m: {type: INT64, from: param.m}").replace("[user_id, n]", "[user_id]"))
    assert compact(pipeline).conflicts == 1
    assert numbers(pipeline) == ([1], [2])


def test_columns_of_any_name_are_kept(pipeline: Pipeline) -> None:
    names = ("place", "fingerprint", "First_Place", "last_place_", "copies", "select", "at", "rows", "key", "table")
    pipeline.provision(schemas.text(*(f"{name}: {{type: STRING, from: param.{name}}}" for name in names)))
    pipeline.load("events", [row("a", **dict.fromkeys(names, "x"))] * 2 + [row("a", seconds=1, place="y")])
    outcome = compact(pipeline)
    assert (outcome.removed, outcome.conflicts) == (2, 1)
    (kept,) = pipeline.rows(LOG)
    assert [kept[name] for name in names] == ["x"] * len(names)
    (moved,) = pipeline.rows(CONFLICTS)
    assert [moved["whole_row"][name] for name in names] == ["y", *[None] * (len(names) - 1)]


def test_the_key_of_the_file_decides_what_is_one_event(pipeline: Pipeline) -> None:
    tenant = "tenant: {type: STRING, from: param.tenant}"
    shops = [row("a", tenant="x"), row("a", tenant="y", seconds=1), row("a", seconds=2)]
    pipeline.provision(schemas.text(tenant))
    pipeline.load("events", shops * 2)
    outcome = compact(pipeline)
    assert (outcome.rows, outcome.removed, outcome.conflicts) == (3, 3, 0)
    pipeline.provision(schemas.text(tenant, table="partition: day\nunique: event_id"))
    outcome = compact(pipeline)
    assert (outcome.rows, outcome.removed, outcome.conflicts) == (1, 2, 2)
    assert [one["whole_row"]["tenant"] for one in pipeline.rows(CONFLICTS)] == ["y", None]
    assert pipeline.rows(CONFLICTS)[0]["key"] == {"day": str(DAY), "event_id": "a"}


def test_tables_do_not_share_conflicts(pipeline: Pipeline) -> None:
    pipeline.load("events", ROWS)
    reject = {"day": str(DAY), "event_id": "a", "received_at": NOON.isoformat(), "stage": "loader", "reason": "r"}
    pipeline.load("rejects", [{**reject, "hit": {"n": n}} for n in (1, 2)])
    assert (compact(pipeline).conflicts, compact(pipeline, table="rejects").conflicts) == (1, 1)
    assert Counter(one["table"] for one in pipeline.rows(CONFLICTS)) == {"events": 1, "rejects": 1}


def test_the_query_of_the_readme_finds_them(bare: Pipeline) -> None:
    bare.provision(SCHEMA_FILE.read_text())
    order = {**row("1001"), "user_id": "ada"}
    bare.load("events", [{**order, "order_id": "o1"}, {**order, "order_id": "o2"}])
    compact(bare)
    text = (ROOT / "services" / "ops" / "README.md").read_text()
    (sql,) = re.findall(r"^    (SELECT `table`.*\n    FROM pixelpipe.conflicts.*)$", text, re.MULTILINE)
    (found,) = bare.rows(sql)
    assert (found["table"], found["event_id"]) == ("events", "1001")
    assert {found["order_id"], *(one["order_id"] for one in bare.rows(LOG))} == {"o1", "o2"}


def test_conflicts_are_kept_as_long_as_the_rows_of_their_table(pipeline: Pipeline) -> None:
    pipeline.provision(schemas.text(table="partition: day\nexpire_days: 10"))
    compactor = Compactor(pipeline.client, pipeline.project, "pixelpipe")
    events = pipeline.schema.tables["events"]
    pipeline.load("events", [*ROWS, row("c", day=NEXT, n=1), row("c", day=NEXT, n=2)])
    for day in (DAY, NEXT):
        assert compactor.compact(events, day, dry_run=False).conflicts == 1
    assert compactor.expire_conflicts(events, DAY - timedelta(days=1)) == 0
    reject = {"day": str(DAY), "event_id": "a", "received_at": NOON.isoformat(), "stage": "loader", "reason": "r"}
    pipeline.load("rejects", [{**reject, "hit": {"n": n}} for n in (1, 2)])
    compact(pipeline, table="rejects")
    assert compactor.expire_conflicts(events, DAY) == 1
    left = [(one["table"], one["event_id"]) for one in pipeline.rows(CONFLICTS)]
    assert left == [("rejects", "a"), ("events", "c")]


def test_a_dataset_of_an_older_release_is_refused_with_the_way_out(pipeline: Pipeline) -> None:
    pipeline.client.delete_table("pixelpipe.conflicts")
    pipeline.client.delete_table("pixelpipe.conflicts_log")
    pipeline.load("events", ROWS)
    line, rejects, _ = pipeline.ops("compact", "--date", str(DAY), code=1).lines
    assert (line["severity"], line["table"], rejects["table"]) == ("ERROR", "events", "rejects")
    assert "pixelpipe.conflicts_log yet; run the provisioner" in line["reason"]
    assert len(pipeline.rows(LOG)) == len(ROWS)


def test_a_table_is_compacted_although_its_old_conflicts_cannot_be_deleted(pipeline: Pipeline) -> None:
    """Its log line must not say that the table was not compacted."""
    pipeline.provision(schemas.text(table="partition: day\nexpire_days: 10"))
    pipeline.client.delete_table("pixelpipe.conflicts")
    pipeline.client.delete_table("pixelpipe.conflicts_log")
    compacted, kept, done = pipeline.ops("compact", "--date", str(DAY), "--table", "events", code=1).lines
    assert (compacted["message"], compacted["table"]) == ("compacted", "events")
    assert (kept["message"], kept["severity"]) == ("old conflicts not deleted", "ERROR")
    assert "run the provisioner" in kept["reason"]
    assert done["failed"] == ["events"]


def test_the_command_deletes_conflicts_of_expired_days(pipeline: Pipeline) -> None:
    pipeline.provision(schemas.text(table="partition: day\nexpire_days: 10"))
    pipeline.load("events", ROWS)
    assert compact(pipeline).conflicts == 1
    _, deleted, _ = pipeline.ops("compact", "--date", str(NEXT), "--table", "events").lines
    assert (deleted["message"], deleted["expired"]) == ("old conflicts deleted", 1)


ORDER = {"event_id": "1001", "user_id": "ada", "tenant": "shop-a", "type": "order", "total": 12.5}


def test_orders_of_two_shops_a_refund_a_retry_and_a_conflict_end_to_end(bare: Pipeline) -> None:
    """The default schema file, from the collector to the view and through compaction."""
    within_one(A_DAY)
    bare.provision(SCHEMA_FILE.read_text())
    sent = [
        (ORDER, "192.0.2.1", "one/1"),
        ({**ORDER, "tenant": "shop-b", "user_id": "bob"}, "192.0.2.1", "one/1"),
        ({**ORDER, "type": "refund"}, "192.0.2.1", "one/1"),
        ({**ORDER, "sent_at": 7}, "192.0.2.2", "two/2"),
        ({**ORDER, "total": 99, "sent_at": 8}, "192.0.2.1", "one/1"),
        ({**ORDER, "user_id": ""}, "192.0.2.1", "one/1"),
        ({**ORDER, "user_id": "", "tenant": "shop-b"}, "192.0.2.1", "one/1"),
    ]
    with bare.services("processor", "loader"), bare.collector() as url:
        for event, ip, agent in sent:
            headers = {"X-Forwarded-For": ip, "User-Agent": agent}
            assert requests.post(f"{url}/events", json=event, headers=headers, timeout=20).status_code == 204
        bare.until("SELECT COUNT(*) FROM pixelpipe.events_log", len(sent) - 2)
        bare.until("SELECT COUNT(*) FROM pixelpipe.rejects", 2)  # of one id, and each is one
    shown = bare.rows("SELECT tenant, type, user_id, params FROM pixelpipe.events ORDER BY received_at")
    assert [(one["tenant"], one["type"], one["user_id"], one["params"]["total"]) for one in shown] == [
        ("shop-a", "order", "ada", 12.5),
        ("shop-b", "order", "bob", 12.5),
        ("shop-a", "refund", "ada", 12.5),
    ]
    today = datetime.now(UTC).date()
    compactor = Compactor(bare.client, bare.project, "pixelpipe")
    for day in (today - timedelta(days=1), today):  # midnight may just have passed
        compactor.compact(bare.schema.tables["events"], day, dry_run=False)
    assert len(bare.rows(LOG)) == 3
    (moved,) = bare.rows(CONFLICTS)
    assert (moved["table"], moved["event_id"], moved["whole_row"]["params"]["total"]) == ("events", "1001", 99)
    assert {name: moved["key"][name] for name in ("tenant", "type")} == {"tenant": "shop-a", "type": "order"}
    assert json.loads(json.dumps(shown, default=str)) == json.loads(
        json.dumps(
            bare.rows("SELECT tenant, type, user_id, params FROM pixelpipe.events ORDER BY received_at"), default=str
        )
    )
