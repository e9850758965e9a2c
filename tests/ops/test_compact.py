from __future__ import annotations

import json
import re
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from google.cloud import bigquery
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.ops import compact
from services.ops.compact import Compactor
from services.ops.compact_sql import Statements
from services.ops.deployment import CommandRefused
from services.provision import view
from tests.ops import schemas
from tests.ops.conftest import A_DAY, Pipeline, within_one
from tests.ops.schemas import DAY, NOON, row
from tests.ops.test_output import on_a_terminal

LOG = "SELECT * EXCEPT (_compacted) FROM pixelpipe.events_log"
VIEW = "SELECT * FROM pixelpipe.events"
CONFLICTS = "SELECT * FROM pixelpipe.conflicts"
NEXT = DAY + timedelta(days=1)


def texts(found: list[dict[str, Any]]) -> Counter[str]:
    return Counter(repr(sorted(one.items(), key=lambda pair: pair[0])) for one in found)


def compacted(pipeline: Pipeline, *arguments: str, code: int = 0) -> list[dict[str, Any]]:
    return pipeline.ops("compact", "--date", str(DAY), "--table", "events", *arguments, code=code).lines


def test_copies_go_and_the_row_of_the_view_stays(pipeline: Pipeline) -> None:
    pipeline.load(
        "events",
        [
            row("a", seconds=2, user_id="first", n=1, params='{"x": [1.5, null]}'),
            row("a", seconds=1, user_id="first", n=1, params='{"x": [1.5, null]}'),
            row("a", seconds=1, user_id="first", n=1, params='{"x": [1.5, null]}'),
            row("b"),
            row("c"),
            row("c"),
            row("a", day=NEXT),
            row("a", day=NEXT),
        ],
    )
    before = texts(pipeline.rows(VIEW))
    line, done = compacted(pipeline)
    assert (line["message"], line["severity"], line["table"], line["day"]) == ("compacted", "INFO", "events", str(DAY))
    assert (line["rows"], line["removed"], line["conflicts"], line["duplicates"]) == (3, 3, 0, 0)
    assert (done["message"], done["removed"], done["failed"]) == ("done", {"events": 3}, [])
    assert done["conflicts"] == {"events": 0}
    assert texts(pipeline.rows(VIEW)) == before
    assert texts(pipeline.rows(f"{LOG} WHERE day = '{DAY}'")) == texts(pipeline.rows(f"{VIEW} WHERE day = '{DAY}'"))
    assert len(pipeline.rows(f"{LOG} WHERE day = '{NEXT}'")) == 2
    again, _ = compacted(pipeline)
    assert (again["rows"], again["removed"]) == (3, 0)


def test_rows_that_are_the_same_in_every_column_lose_all_but_one(pipeline: Pipeline) -> None:
    pipeline.load("events", [row("a")] * 5 + [row("b", user_id="ada", n=None)] * 2)
    line, _ = compacted(pipeline)
    assert line["removed"] == 5
    assert sorted(one["event_id"] for one in pipeline.rows(LOG)) == ["a", "b"]


def removed(pipeline: Pipeline) -> int:
    """Compact in this process, which is faster than the command."""
    compactor = Compactor(pipeline.client, pipeline.project, "pixelpipe")
    return compactor.compact(pipeline.schema.tables["events"], DAY, dry_run=False).removed


copies = st.lists(
    st.tuples(
        st.sampled_from("abcd"),
        st.integers(0, 2),
        st.sampled_from([None, "ada", "zoë", ""]),
        st.sampled_from([None, -1, 0, 2**63 - 1]),
        st.integers(1, 3),
        st.sampled_from([DAY, NEXT]),
    ),
    max_size=12,
)


def content(one: dict[str, Any]) -> str:
    """All of a row of `events` but when it was received; wide integers are texts where a row stands as JSON."""
    return repr(sorted((name, value and str(value)) for name, value in one.items() if name != "received_at"))


@pytest.mark.slow
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(copies)
def test_compact_keeps_what_the_view_shows_and_destroys_no_content(
    pipeline: Pipeline, made: list[tuple[Any, ...]]
) -> None:
    rows = [
        row(event_id, seconds=seconds, user_id=user_id, n=n, day=day)
        for event_id, seconds, user_id, n, times, day in made
        for _ in range(times)
    ]
    pipeline.client.query_and_wait("TRUNCATE TABLE pixelpipe.events_log")
    pipeline.client.query_and_wait("TRUNCATE TABLE pixelpipe.conflicts_log")
    if rows:
        pipeline.load("events", rows)
    before = pipeline.rows(LOG)
    shown, others = texts(pipeline.rows(VIEW)), texts(pipeline.rows(f"{LOG} WHERE day != '{DAY}'"))
    events = len({one["event_id"] for one in rows if one["day"] == str(DAY)})
    contents = {content(one) for one in before if one["day"] == DAY}
    outcome = Compactor(pipeline.client, pipeline.project, "pixelpipe").compact(
        pipeline.schema.tables["events"], DAY, dry_run=False
    )
    assert (outcome.rows, outcome.duplicates) == (events, 0)
    assert outcome.removed == sum(one["day"] == str(DAY) for one in rows) - events
    assert texts(pipeline.rows(VIEW)) == shown
    assert texts(pipeline.rows(f"{LOG} WHERE day = '{DAY}'")) == texts(pipeline.rows(f"{VIEW} WHERE day = '{DAY}'"))
    assert texts(pipeline.rows(f"{LOG} WHERE day != '{DAY}'")) == others
    kept = [content(one) for one in pipeline.rows(f"{LOG} WHERE day = '{DAY}'")]
    moved = [content(one["whole_row"]) for one in pipeline.rows(CONFLICTS)]
    assert Counter(kept + moved) == Counter(contents)
    assert outcome.conflicts == len(moved) == pipeline.number("SELECT COUNT(*) FROM pixelpipe.conflicts_log")


def test_of_events_the_view_cannot_tell_apart_one_stays_and_the_others_are_moved(pipeline: Pipeline) -> None:
    pipeline.load("events", [row("a", params=f'{{"n":{number}}}') for number in range(4)] * 2)
    before = {content(one) for one in pipeline.rows(LOG)}
    assert removed(pipeline) == 7
    (kept,) = pipeline.rows(LOG)
    moved = [content(one["whole_row"]) for one in pipeline.rows(CONFLICTS)]
    assert Counter([content(kept), *moved]) == Counter(before)


def test_a_column_the_schema_file_lost_is_kept(pipeline: Pipeline) -> None:
    pipeline.load("events", [row("a", n=7), row("a", n=7)])
    lost = schemas.text(number="m: {type: INT64, from: param.m}").replace("[user_id, n]", "[user_id]")
    pipeline.provision(lost)
    removed(pipeline)
    assert [(one["n"], one["m"]) for one in pipeline.rows(LOG)] == [(7, None)]


def test_a_column_named_as_the_number_of_the_copy_is_kept(pipeline: Pipeline) -> None:
    pipeline.provision(schemas.text("copy_number: {type: STRING, from: param.copy}"))
    pipeline.load("events", [row("a", copy_number="x")] * 2)
    assert removed(pipeline) == 1
    assert [one["copy_number"] for one in pipeline.rows(LOG)] == ["x"]


def test_a_table_that_requires_a_partition_filter_is_compacted(pipeline: Pipeline) -> None:
    pipeline.provision(schemas.text(table="partition: day\nrequire_partition_filter: true"))
    pipeline.load("events", [row("a"), row("a")])
    assert removed(pipeline) == 1


def test_rows_appended_meanwhile_are_kept_and_runs_side_by_side_do_no_harm(pipeline: Pipeline) -> None:
    pipeline.load("events", [row(f"e{number}") for number in range(50)] * 3)

    def append(number: int) -> None:
        pipeline.load("events", [row(f"e{number % 50}"), row(f"new-{number}")])

    with ThreadPoolExecutor(6) as pool:
        appends = [pool.submit(append, number) for number in range(20)]
        gone = sum(pool.map(removed, [pipeline] * 4))
        for one in appends:
            one.result(60)
    gone += removed(pipeline)
    assert pipeline.number("SELECT COUNT(DISTINCT event_id) FROM pixelpipe.events_log") == 70
    assert pipeline.number("SELECT COUNT(*) FROM pixelpipe.events_log") == 70
    assert gone == 150 + 40 - 70


def statements(pipeline: Pipeline, table: str = "events") -> Statements:
    found = pipeline.schema.tables[table]
    columns = [field.name for field in pipeline.client.get_table(f"pixelpipe.{found.log_name}").schema]
    return Statements(found, pipeline.project, "pixelpipe", columns, DAY)


def test_only_the_day_is_read(pipeline: Pipeline) -> None:
    pipeline.load("events", [row("a"), row("a")])
    made = statements(pipeline)

    def estimates() -> list[int]:
        config = bigquery.QueryJobConfig(dry_run=True, use_query_cache=False)
        return [
            int(pipeline.client.query(sql, job_config=config).total_bytes_processed)
            for sql in (made.count(), made.count_conflicts(), made.move(), made.remove())
        ]

    alone = estimates()
    assert all(alone)
    pipeline.load("events", [row("b", day=NEXT)] * 500)
    assert estimates() == alone


def test_the_copies_are_ranked_by_the_window_of_the_view(pipeline: Pipeline) -> None:
    made = statements(pipeline)
    window = " ".join(view.sql(made.table, "p", "d", ["day"]).partition("QUALIFY ")[2].split()).removesuffix(") = 1")
    assert window.startswith("ROW_NUMBER() OVER (")
    for sql in (made.move(), made.remove()):
        assert f"{window.replace('OVER ( ', 'OVER (').rstrip()}, fingerprint) AS place" in " ".join(sql.split())


def test_a_dry_run_counts_and_changes_nothing(pipeline: Pipeline) -> None:
    pipeline.load("events", [row("a"), row("a"), row("b")])
    line, done = compacted(pipeline, "--dry-run")
    assert (line["message"], line["rows"], line["removed"], line["duplicates"]) == ("counted", 3, 0, 1)
    assert (done["dry_run"], done["duplicates"], done["conflicts"]) == (True, {"events": 1}, {"events": 0})
    pipeline.load("events", [row("b", n=2), row("b", n=2), row("b", n=3)])
    line, done = compacted(pipeline, "--dry-run")
    assert (line["conflicts"], done["conflicts"]) == (2, {"events": 2})
    assert len(pipeline.rows(LOG)) == 6
    assert pipeline.rows(CONFLICTS) == []


@pytest.mark.parametrize("ahead", [0, 1])
def test_a_day_that_is_not_over_is_refused(pipeline: Pipeline, ahead: int) -> None:
    within_one(A_DAY)
    day = datetime.now(UTC).date() + timedelta(days=ahead)
    (line,) = pipeline.ops("compact", "--date", str(day), "--closed-after", "0", code=1).lines
    assert (line["severity"], line["message"]) == ("ERROR", "refused")
    assert "is not over" in line["reason"]


def test_a_day_is_closed_some_hours_after_its_end() -> None:
    after, midnight = timedelta(hours=6), datetime(2026, 3, 2, tzinfo=UTC)
    for moment in (midnight - timedelta(seconds=1), midnight, midnight + after - timedelta(seconds=1)):
        with pytest.raises(CommandRefused, match=str(DAY)):
            compact.check_closed(DAY, moment, after)
        assert compact.last_closed(moment, after) == DAY - timedelta(days=1)
    compact.check_closed(DAY, midnight + after, after)
    assert compact.last_closed(midnight + after, after) == DAY


def test_a_table_whose_days_are_no_partitions_is_refused_and_the_others_are_done(pipeline: Pipeline) -> None:
    log = "pixelpipe.events_log"
    found = pipeline.client.get_table(log)
    pipeline.client.delete_table(log)
    other = bigquery.Table(f"{pipeline.project}.{log}", schema=found.schema)
    other.time_partitioning = bigquery.TimePartitioning(field="received_at")
    pipeline.client.create_table(other)
    line, rejects, done = pipeline.ops("compact", "--date", str(DAY), code=1).lines
    assert (line["severity"], line["table"]) == ("ERROR", "events")
    assert "not partitioned by day" in line["reason"]
    assert (rejects["table"], rejects["removed"], done["failed"]) == ("rejects", 0, ["events"])


def test_what_is_not_there_is_named(bare: Pipeline) -> None:
    bare.file.write_text(schemas.text())
    line, _ = bare.ops("compact", "--date", str(DAY), "--table", "events", code=1).lines
    assert "pixelpipe" in line["reason"] and line["table"] == "events"
    (line,) = bare.ops("compact", "--date", str(DAY), "--table", "event", code=1).lines
    assert "no table 'event'" in line["reason"]
    assert "neither YYYY-MM-DD nor yesterday" in bare.ops("compact", "--date", "1.3.2026", code=2).err


TRAVEL = (  # columns that say how an event travelled, under names that do not
    "origin: {type: STRING, from: hit.ip}",
    "with: {type: STRING, from: header.user-agent}",
    "browser: {type: STRING, from: agent.browser}",
    "country: {type: STRING, from: geo.country}",
    "sent: {type: TIMESTAMP, from: param.sent_at}",
    "tier: {type: STRING, from: lookup.users.tier}",
    "product: {type: STRING, from: lookup.products.name}",
    "office: {type: STRING, from: lookup.offices.site}",
)
LOOKUPS = """\
lookups:
  users: {file: /users.csv, key: id, by: param.user_id}
  products: {file: /products.csv, key: sku, by: param.properties.sku}
  offices: {file: /offices.csv, key: net, by: hit.ip}
  segments: {file: /segments.csv, key: id, by: header.x-segment}
"""
CONTENT = (  # columns of which that cannot be said
    "ip: {type: STRING, from: param.ip}",
    "segment: {type: STRING, from: lookup.segments.name}",
    "user_agent: {type: STRING, from: [param.agent, header.user-agent]}",
    "f: {type: FLOAT64, from: param.f}",
    "b: {type: BOOL, from: param.b}",
    "amount: {type: NUMERIC, from: param.amount}",
    "at: {type: TIMESTAMP, from: param.at}",
    "happened: {type: TIMESTAMP, from: [param.event_time, param.ts]}",
)
ONE_TIME, ANOTHER = {"happened": "2026-03-01T12:00:00.000001Z"}, {"happened": "2026-03-01T12:00:00.5Z"}
SAID, SAID_OTHERWISE = {"params": {"client_event_time": 1}}, {"params": {"client_event_time": "2"}}


DIFFERENCES: list[tuple[dict[str, Any], dict[str, Any], bool]] = [
    ({"origin": "192.0.2.1"}, {"origin": "2001:db8::"}, False),
    ({"with": "curl/8"}, {}, False),
    ({"browser": "Firefox"}, {"browser": "Chrome"}, False),
    ({"country": "DE"}, {"country": None}, False),
    ({"tier": "gold"}, {"tier": "free"}, False),
    ({"product": "Cup"}, {"product": "Mug"}, False),
    ({"office": "Berlin"}, {}, False),
    ({"segment": "a"}, {"segment": "b"}, True),  # nothing else says so
    ({"sent": "2026-03-01T12:00:00Z"}, {"sent": "2026-03-01T12:00:01Z"}, False),
    ({"params": {"a": 1, "sent_at": 7}}, {"params": {"sent_at": 8, "a": 1}}, False),
    ({"params": {"a": 1}}, {"params": {"a": 2}}, True),
    ({"params": {"a": None}}, {"params": {}}, True),
    ({"params": {"a": 1}}, {}, True),
    ({"ip": "192.0.2.1"}, {"ip": "192.0.2.2"}, True),
    ({"user_agent": "x"}, {"user_agent": "y"}, True),
    ({"user_id": ""}, {}, True),
    ({"n": 2**53}, {"n": 2**53 + 1}, True),
    ({"n": 0}, {}, True),
    ({"f": "NaN"}, {"f": "NaN"}, False),
    ({"f": "NaN"}, {"f": 1.5}, True),
    ({"f": 0.1}, {"f": 0.1}, False),
    ({"f": 0.1}, {"f": 0.30000000000000004}, True),
    ({"b": False}, {}, True),
    ({"amount": "0.1"}, {"amount": "0.100000000"}, False),
    ({"amount": "12345678901234567890.123456789"}, {"amount": "12345678901234567890.123456788"}, True),
    ({"at": "2026-03-01T12:00:00.000001Z"}, {"at": "2026-03-01T12:00:00.000002Z"}, True),
    ({"at": "2026-03-01T13:00:00+01:00"}, {"at": "2026-03-01T12:00:00Z"}, False),
    (ONE_TIME, ANOTHER, True),
    (ONE_TIME | SAID, ANOTHER | SAID, False),  # each delivery corrects it anew
    (ONE_TIME | SAID, ONE_TIME | SAID_OTHERWISE, True),
    (ONE_TIME | SAID, ONE_TIME, True),
]


def test_events_that_differ_in_more_than_how_they_travelled_are_conflicts(pipeline: Pipeline) -> None:
    pipeline.provision(LOOKUPS + schemas.text(*TRAVEL, *CONTENT))
    pipeline.load(
        "events",
        [
            row(str(number), seconds=seconds, **values)
            for number, (one, other, _) in enumerate(DIFFERENCES)
            for seconds, values in enumerate((one, other, other))
        ],
    )
    before = {(one["event_id"], one["received_at"]): one for one in pipeline.rows(LOG)}
    differ = [str(number) for number, (*_, conflict) in enumerate(DIFFERENCES) if conflict]
    line, done = compacted(pipeline)
    assert (line["rows"], line["removed"], line["duplicates"]) == (len(DIFFERENCES), 2 * len(DIFFERENCES), 0)
    moved = pipeline.rows("SELECT *, whole_row.received_at AS moment FROM pixelpipe.conflicts")
    assert sorted((one["event_id"] for one in moved), key=int) == differ
    assert (line["conflicts"], done["conflicts"]) == (len(differ), {"events": len(differ)})
    assert texts(pipeline.rows(LOG)) == texts([before[str(number), NOON] for number in range(len(DIFFERENCES))])
    for one in moved:
        assert one["received_at"] == NOON + timedelta(seconds=1)
        assert one["moment"] == "2026-03-01T12:00:01Z"
        assert one["key"] == {"day": str(DAY), "event_id": one["event_id"]}
        assert set(one["whole_row"]) == set(before[one["event_id"], NOON])
        assert one["whole_row"]["params"] == before[one["event_id"], one["received_at"]]["params"]
    again, _ = compacted(pipeline)
    assert (again["removed"], again["conflicts"]) == (0, 0)
    assert len(pipeline.rows(CONFLICTS)) == len(differ)


@pytest.mark.slow
def test_a_terminal_gets_a_table_of_the_days(pipeline: Pipeline) -> None:
    pipeline.load("events", [schemas.row("a"), schemas.row("a"), schemas.row("b")])
    where = ("--project", pipeline.project, "--schema", str(pipeline.file), "--date", str(DAY), "--table", "events")
    said = on_a_terminal("compact", *where, "--dry-run", columns=140)
    assert "{" not in said
    assert re.search(r"dry run\S* +yes", said) and re.search(rf"events +{DAY} +3 +0 +0 +1 ", said)
    (counted, done) = map(json.loads, on_a_terminal("compact", *where, "--dry-run", "--json").splitlines())
    assert (counted["message"], counted["duplicates"], done["message"]) == ("counted", 1, "done")
    assert on_a_terminal("compact", *where[:4], "--table", "other", code=1) == ""  # why is on stderr
