"""`compact` without a date: every closed day that changed, and the view's watermark over the days that are settled."""

from __future__ import annotations

from argparse import Namespace
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from google.cloud import bigquery
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.ops import sweep
from services.ops.compact import Compactor, Run
from services.ops.sweep import MARGIN, State
from services.provision import view
from services.shared.schema import DEFAULT_FILE, SWEPT_AT
from tests.ops import schemas
from tests.ops.conftest import DEAD_SUBSCRIPTION, WAIT, Pipeline
from tests.ops.schemas import DAY, row

NEXT = DAY + timedelta(days=1)
RECENT = datetime.now(UTC).date() - timedelta(days=3)  # closed, and not settled


def swept(pipeline: Pipeline, *arguments: str, code: int = 0) -> dict[str, Any]:
    """The line of the table `events`."""
    lines = pipeline.ops("compact", "--table", "events", *arguments, code=code).lines
    return next(line for line in lines if line["message"] == "swept")


def shown(pipeline: Pipeline, name: str = "events") -> list[tuple[date, str]]:
    return sorted((one["day"], one["event_id"]) for one in pipeline.rows(f"SELECT day, event_id FROM pixelpipe.{name}"))


def watermark(pipeline: Pipeline, name: str = "pixelpipe.events") -> date | None:
    return view.watermark(pipeline.client.get_table(name).view_query)


def read_by(pipeline: Pipeline, sql: str) -> int:
    config = bigquery.QueryJobConfig(dry_run=True, use_query_cache=False)
    return int(pipeline.client.query(sql, job_config=config).total_bytes_processed)


def test_all_closed_days_are_compacted_and_what_is_settled_costs_what_the_table_costs(pipeline: Pipeline) -> None:
    rows = [row(f"e{number}", user_id="somebody", day=day) for number in range(50) for day in (DAY, NEXT, RECENT)]
    pipeline.load("events", rows * 2)
    count = f"SELECT COUNT(*) FROM pixelpipe.events WHERE day = '{DAY}'"
    before = read_by(pipeline, count)
    *lines, done = pipeline.ops("compact").lines
    assert [(line["day"], line["removed"]) for line in lines if line["message"] == "compacted"] == [
        (str(DAY), 50),
        (str(NEXT), 50),
        (str(RECENT), 50),
    ]
    assert [(line["table"], line["days"], line["watermark"]) for line in lines if line["message"] == "swept"] == [
        ("events", 3, str(NEXT)),
        ("rejects", 0, None),
    ]
    assert (done["removed"], done["failed"], "day" in done) == ({"events": 150, "rejects": 0}, [], False)
    assert pipeline.number("SELECT COUNT(*) FROM pixelpipe.events_log") == 150 == len(shown(pipeline))
    table = read_by(pipeline, f"SELECT COUNT(*) FROM pixelpipe.events_log WHERE day = '{DAY}'")
    # A day's rows cost the mark more, a byte each, and the other half of the view nothing.
    assert (table, read_by(pipeline, count)) == (50 * 8, 50 * 9)
    assert before > 2 * 50 * 20
    assert read_by(pipeline, count.replace(str(DAY), str(RECENT))) == before // 2


def test_a_day_is_due_if_it_changed_or_is_to_be_settled() -> None:
    one, other = datetime(2026, 3, 9, 7, tzinfo=UTC), datetime(2026, 3, 10, 7, tzinfo=UTC)
    days = {DAY: one, NEXT: other, date(2026, 3, 3): one, date(2026, 3, 8): other, date(2026, 3, 9): other}
    closed, settled = date(2026, 3, 8), date(2026, 3, 3)
    assert sweep.due(days, State(view.NO_DAY, None), closed, settled) == sorted(days)[:4]
    assert sweep.due(days, State(settled, one), closed, settled) == [NEXT, closed]
    assert sweep.due(days, State(NEXT, other), closed, settled) == [settled]
    # Of a day that was not closed, all that came counts the next time, but for what is an hour early.
    assert sweep.since(closed) == datetime(2026, 3, 9, tzinfo=UTC) - MARGIN


def test_a_day_is_not_looked_at_again_until_it_changes(pipeline: Pipeline) -> None:
    pipeline.load("events", [row("a"), row("a"), row("b", day=NEXT)])
    assert swept(pipeline)["days"] == 2
    assert swept(pipeline)["days"] == 2  # it may itself have been what changed them
    found = pipeline.client.get_table("pixelpipe.events")
    assert int(found.labels[SWEPT_AT]) < datetime.now(UTC).timestamp() * 1000
    pause = pipeline.rows("SELECT UNIX_MILLIS(CURRENT_TIMESTAMP()) + 1 AS now")[0]["now"]  # as of a later sweep
    found.labels = {**found.labels, SWEPT_AT: str(pause)}
    pipeline.client.update_table(found, ["labels"])
    assert sweep.due(_modified(pipeline), State(NEXT, datetime.fromtimestamp(pause / 1000, UTC)), NEXT, NEXT) == []
    while pipeline.rows("SELECT UNIX_MILLIS(CURRENT_TIMESTAMP()) AS now")[0]["now"] <= pause:
        pass
    pipeline.load("events", [row("late"), row("a")])
    line = swept(pipeline)
    assert (line["days"], line["watermark"]) == (1, str(NEXT))
    assert shown(pipeline) == [(DAY, "a"), (DAY, "late"), (NEXT, "b")]


def _modified(pipeline: Pipeline) -> dict[date, datetime]:
    schema = pipeline.schema
    return sweep.Sweep(pipeline.client, pipeline.project, "pixelpipe", schema, schema.tables["events"]).modified()


steps = st.lists(
    st.one_of(
        st.just("sweep"),
        st.lists(
            st.tuples(st.sampled_from("abc"), st.sampled_from([DAY, NEXT, RECENT]), st.integers(0, 2)),
            min_size=1,
            max_size=5,
        ),
    ),
    min_size=1,
    max_size=6,
)


@pytest.mark.slow
@settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps)
def test_whenever_rows_and_sweeps_come_no_event_is_twice_and_none_is_missing_after_the_next(
    pipeline: Pipeline, made: list[Any]
) -> None:
    """Against sets of keys: rows of days after the watermark count at once, late ones before it with the next sweep."""
    for name in ("events_log", "conflicts_log"):
        pipeline.client.query_and_wait(f"TRUNCATE TABLE pixelpipe.{name}")
    again = pipeline.client.get_table("pixelpipe.events")
    again.view_query = view.settled(again.view_query, view.NO_DAY)
    pipeline.client.update_table(again, ["view_query"])
    there: set[tuple[date, str]] = set()
    expected: set[tuple[date, str]] = set()
    last = watermark(pipeline)
    assert last is not None
    for step in [*made, "sweep"]:
        if step == "sweep":
            swept(pipeline)
            expected, last = set(there), max([last, *(day for day, _ in there if day != RECENT)])
        else:
            pipeline.load("events", [row(key, day=day, seconds=n, user_id=f"u{n}") for key, day, n in step])
            there |= {(day, key) for key, day, _ in step}
            expected |= {(day, key) for key, day, _ in step if day > last}
        assert shown(pipeline) == sorted(expected)
        assert watermark(pipeline) == last
    first: dict[tuple[date, str], int] = {}
    for key, day, n in (one for step in made if step != "sweep" for one in step):
        first[day, key] = min(n, first.get((day, key), n))
    rows = pipeline.rows("SELECT day, event_id, user_id FROM pixelpipe.events")
    assert {(one["day"], one["event_id"]): one["user_id"] for one in rows} == {k: f"u{n}" for k, n in first.items()}


@pytest.mark.slow
def test_sweeps_side_by_side_and_rows_that_come_meanwhile_do_no_harm(pipeline: Pipeline) -> None:
    """Replays and late rows on both sides of the watermark, looked at again and again."""
    settled = [DAY + timedelta(days=number) for number in range(3)]
    days = [*settled, RECENT]
    pipeline.load("events", [row(f"e{number}", day=day) for number in range(20) for day in days] * 2)
    seen: list[Counter[tuple[date, str]]] = []

    def append(number: int) -> None:
        late = [row(f"new{number}", day=day) for day in (DAY, RECENT)]
        pipeline.load("events", [row(f"e{number}", day=day) for day in days] + late)
        seen.append(Counter(shown(pipeline)))
        assert (RECENT, f"new{number}") in seen[-1]

    with ThreadPoolExecutor(4) as pool:
        appends = [pool.submit(append, number) for number in range(12)]
        for done in [pool.submit(_swept_here, pipeline) for _ in range(3)]:
            done.result(100)
        for one in appends:
            one.result(100)
    old = {(day, f"e{number}") for number in range(20) for day in days}
    for found in seen:
        assert set(found.values()) == {1}
        assert old <= set(found)
    assert swept(pipeline)["watermark"] == str(settled[-1])
    assert set(shown(pipeline)) == old | {(day, f"new{number}") for number in range(12) for day in (DAY, RECENT)}
    assert len(shown(pipeline)) == 104 == pipeline.number("SELECT COUNT(*) FROM pixelpipe.events_log")


def _swept_here(pipeline: Pipeline) -> None:
    """One sweep in this process, beside others."""
    options = Namespace(date=None, closed_after=6.0, settled_after=7.0, dry_run=False)
    table = pipeline.schema.tables["events"]
    one = sweep.Sweep(pipeline.client, pipeline.project, "pixelpipe", pipeline.schema, table)
    run = Run(options, datetime.now(UTC))
    run.table(table, Compactor(pipeline.client, pipeline.project, "pixelpipe"), one)
    assert not run.failed


def test_the_watermark_stays_before_a_day_that_failed(pipeline: Pipeline) -> None:
    pipeline.load("events", [row("a"), row("b", day=NEXT), row("c", day=NEXT + timedelta(days=1))])
    pipeline.ops("compact", "--table", "events", "--date", str(DAY))
    pipeline.ops("compact", "--table", "events", "--date", str(NEXT + timedelta(days=1)))
    pipeline.client.delete_table("pixelpipe.conflicts_log")
    line = swept(pipeline, code=1)
    assert (line["failed"], line["watermark"]) == (1, str(DAY))
    assert len(shown(pipeline)) == 3
    pipeline.provision(schemas.text())
    assert swept(pipeline)["watermark"] == str(NEXT + timedelta(days=1))
    assert len(shown(pipeline)) == 3


def test_a_dry_run_moves_nothing(pipeline: Pipeline) -> None:
    pipeline.load("events", [row("a"), row("a")])
    line, done = pipeline.ops("compact", "--table", "events", "--dry-run").lines
    assert (line["message"], line["duplicates"], done["duplicates"]) == ("counted", 1, {"events": 1})
    assert watermark(pipeline) == view.NO_DAY
    assert pipeline.number("SELECT COUNT(*) FROM pixelpipe.events_log") == 2


def test_provisioning_keeps_the_watermark_unless_the_key_changes_or_the_marks_are_gone(pipeline: Pipeline) -> None:
    pipeline.load("events", [row("a", user_id="u"), row("a", user_id="v", seconds=1), row("b")])
    swept(pipeline)
    pipeline.load("events", [row("c")])
    pipeline.provision(schemas.text("more: {type: STRING, from: param.more}"))
    assert (watermark(pipeline), shown(pipeline)) == (DAY, [(DAY, "a"), (DAY, "b")])
    assert pipeline.rows("SELECT more FROM pixelpipe.events LIMIT 1") == [{"more": None}]
    pipeline.provision(schemas.text(table="partition: day\nunique: [user_id]"))
    assert (watermark(pipeline), shown(pipeline)) == (view.NO_DAY, [(DAY, "a"), (DAY, "b"), (DAY, "c")])
    assert swept(pipeline)["watermark"] == str(DAY)
    assert [one for _, one in shown(pipeline)] == ["a", "b", "c"]
    pipeline.client.delete_table("pixelpipe.events_log")
    pipeline.provision(schemas.text(table="partition: day\nunique: [user_id]"))
    pipeline.load("events", [row("a")])
    assert (watermark(pipeline), shown(pipeline)) == (view.NO_DAY, [(DAY, "a")])


def test_a_view_of_another_key_or_release_is_left_alone(pipeline: Pipeline) -> None:
    pipeline.load("events", [row("a"), row("a")])
    pipeline.file.write_text(schemas.text(table="partition: day\nunique: [user_id]"))
    *_, line, done = pipeline.ops("compact", "--table", "events", code=1).lines
    assert "another key" in line["reason"] and "provisioner" in line["reason"]
    assert (done["failed"], len(pipeline.rows("SELECT * FROM pixelpipe.events_log"))) == (["events"], 2)


def test_a_dataset_of_the_release_before_keeps_its_rows(pipeline: Pipeline) -> None:
    """There the log table has no mark, and the view no watermark."""
    table = pipeline.schema.tables["events"]
    found = pipeline.client.get_table("pixelpipe.events_log")
    pipeline.client.delete_table(found)
    old = bigquery.Table(found.reference, [field for field in found.schema if field.name != "_compacted"])
    old.time_partitioning, old.clustering_fields = found.time_partitioning, found.clustering_fields
    pipeline.client.create_table(old)
    shows = pipeline.client.get_table("pixelpipe.events")
    shows.view_query = shows.view_query.partition("UNION ALL\n")[2].replace(f"WHERE `day` > DATE '{view.NO_DAY}'\n", "")
    pipeline.client.update_table(shows, ["view_query"])
    pipeline.load("events", [row("a"), row("a"), row("b")])
    (line, _) = pipeline.ops("compact", "--table", "events", code=1).lines
    assert "run the provisioner of this release first" in line["reason"]
    pipeline.provision(schemas.text())
    assert shown(pipeline) == [(DAY, "a"), (DAY, "b")]
    assert table.columns == pipeline.schema.tables["events"].columns
    assert swept(pipeline)["watermark"] == str(DAY)
    assert shown(pipeline) == [(DAY, "a"), (DAY, "b")]


def test_a_table_that_requires_a_partition_filter_is_swept_and_still_requires_it(pipeline: Pipeline) -> None:
    pipeline.provision(schemas.text(table="partition: day\nrequire_partition_filter: true"))
    pipeline.load("events", [row("a"), row("a")])
    assert swept(pipeline)["watermark"] is None
    assert pipeline.rows(f"SELECT COUNT(*) AS n FROM pixelpipe.events_log WHERE day = '{DAY}'") == [{"n": 1}]
    with pytest.raises(Exception, match="without a filter"):
        pipeline.rows("SELECT COUNT(*) FROM pixelpipe.events")


TENANTS = """tenants:
  admins: [group:data@example.com]
  list:
    shop: {hosts: [shop.example.com], readers: [group:shop@example.com]}
"""


def test_a_tenants_own_view_has_the_same_watermark(pipeline: Pipeline) -> None:
    pipeline.provision(TENANTS + schemas.text("tenant: {type: STRING, from: hit.tenant}"))
    rows = [row(f"e{number}", tenant=tenant) for number in range(20) for tenant in ("shop", "other")]
    pipeline.load("events", rows * 2)
    count = f"SELECT COUNT(*) FROM pixelpipe_shop.events WHERE day = '{DAY}'"
    before = read_by(pipeline, count)
    assert swept(pipeline)["watermark"] == str(DAY) == str(watermark(pipeline, "pixelpipe_shop.events"))
    assert pipeline.number(count) == 20
    assert read_by(pipeline, count) < before / 4
    pipeline.load("events", [row("e1", tenant="shop"), row("late", tenant="shop")])
    assert pipeline.number(count) == 20
    swept(pipeline)
    assert pipeline.number(count) == 21


def test_what_an_erasure_deletes_of_settled_days_is_gone_late_rows_too(pipeline: Pipeline) -> None:
    pipeline.load("events", [row("a", user_id="ada"), row("b", user_id="bob")])
    swept(pipeline)
    pipeline.load("events", [row("c", user_id="ada")])
    pipeline.ops("forget", "--user-id", "ada", "--subscription", DEAD_SUBSCRIPTION, *WAIT)
    assert [one["event_id"] for one in pipeline.rows("SELECT event_id FROM pixelpipe.events_log")] == ["b"]
    swept(pipeline)
    assert shown(pipeline) == [(DAY, "b")]


def test_views_for_analysts_read_only_the_settled_days_asked_for(pipeline: Pipeline) -> None:
    for name in ("events_log", "rejects_log"):
        pipeline.client.delete_table(f"pixelpipe.{name}")
    pipeline.provision(DEFAULT_FILE.read_text() + "\nviews: [daily_active]\n")
    pipeline.load(
        "events", [row(f"e{n:02}", user_id=f"u{n:02}", type="view", day=day) for n in range(20) for day in (DAY, NEXT)]
    )
    asked = f"SELECT * FROM pixelpipe.daily_active WHERE day = '{DAY}'"
    before, found = read_by(pipeline, asked), pipeline.rows(asked)
    swept(pipeline)
    assert pipeline.rows(asked) == found
    one = read_by(pipeline, asked)
    assert one <= before + 20  # this one reads the columns of the key for itself; the mark is a byte a row
    pipeline.load("events", [row(f"f{n:02}", user_id="u00", type="view", day=NEXT) for n in range(100)])
    assert read_by(pipeline, asked) == one
