"""What the page shows of much that comes at once, of what comes late, of what is odd: bounded, and nothing twice."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from math import inf
from typing import Any

import aiohttp
import pytest

from local import feed, item, proof, query
from local.feed import Feed
from local.find import Finder, wanted
from local.item import Columns
from local.proof import Proof
from local.refusal import Refused
from local.restart import Restarts
from local.scrape import Recent, quantile, read
from local.state import Look
from local.trouble import Seen, Since, find
from local.watched import Watched
from services.ops import reconcile
from services.ops.reconcile_report import COUNTS, Group
from services.shared import schema_file
from services.shared.schema import DEFAULT_FILE
from tests import process
from tests.conftest import BigQueryAddress
from tests.provision import schemas

SCHEMA = schema_file.load(DEFAULT_FILE)
DAY = (datetime.now(UTC) - timedelta(days=1)).date().isoformat()  # all of it is past, whatever the time
MAKE = """CREATE TABLE `{dataset}.{table}_log` ({columns})"""


@pytest.fixture
def client(bigquery_host: BigQueryAddress, project: str) -> Iterator[Any]:
    """With a dataset that has the two tables; views are not needed."""
    found = query.client(project, bigquery_host.rest)
    found.create_dataset("web")
    for table in SCHEMA.tables.values():
        columns = ", ".join(f"`{one.name}` {one.type}" for one in table.columns)
        found.query_and_wait(MAKE.format(dataset="web", table=table.name, columns=columns))
    yield found
    found.close()


def insert(client: Any, first: int, count: int, at: str, problems: str = "NULL", table: str = "events") -> None:
    """Events n{first}, n{first+1}, …, received one a second after `at`."""
    extra, value = (
        (", stage, reason", ", 'processor', 'missing'") if table == "rejects" else (", problems", f", {problems}")
    )
    client.query_and_wait(
        f"INSERT INTO web.{table}_log (day, event_id, received_at{extra}) "
        f"SELECT DATE '{DAY}', CONCAT('n', CAST(n AS STRING)), "
        f"TIMESTAMP_ADD(TIMESTAMP '{at}', INTERVAL n SECOND){value} "
        f"FROM UNNEST(GENERATE_ARRAY({first}, {first + count - 1})) AS n"
    )


def closed(clock: str) -> str:
    return f"{DAY} {clock}"


async def test_what_a_look_that_failed_had_read_is_shown_by_the_next(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = Feed(client, "web", SCHEMA)
    insert(client, 0, 1, closed("00:00:00"))
    await found.look()
    insert(client, 1, 2, closed("00:00:00"))
    insert(client, 9, 1, closed("00:00:00"), table="rejects")
    ask = query.rows

    def failing(client: Any, sql: str, **more: Any) -> Any:
        if "`web.rejects_log` WHERE" in sql:  # asked last
            raise query.QueryError("it took too long")
        return ask(client, sql, **more)

    with monkeypatch.context() as patched:
        patched.setattr(query, "rows", failing)
        await found.look()
    assert found.error == "rejects: it took too long"
    assert [one["id"] for one in found.after(0, 10)[0]] == ["n0", "n1", "n2"]  # the other table's are shown meanwhile
    await found.look()
    items, skipped, _ = found.after(0, 10)
    assert ([one["id"] for one in items], skipped, found.error) == (["n0", "n1", "n2", "n9"], 0, None)


@pytest.mark.slow
async def test_ten_thousand_events_are_bounded_and_counted_and_problems_are_not_drowned(client: Any) -> None:
    found = Feed(client, "web", SCHEMA)
    await found.look()
    insert(client, 0, 5, closed("00:00:00"))
    await found.look()
    items, skipped, at = found.after(0, 200)
    assert ([one["id"] for one in items], skipped) == ([f"n{n}" for n in range(5)], 0)
    problem = """JSON '[{"column": "event_time", "reason": "wrong_type", "detail": "odd", "value": "soon"}]'"""
    insert(client, 5, 3, closed("00:00:00"), problem)
    insert(client, 100, 10_000, closed("00:00:00"))
    insert(client, 0, 150, closed("00:00:00"), table="rejects")
    insert(client, 0, 2, closed("00:00:00"), table="rejects")  # appended twice, counted once
    await found.look()
    items, skipped, end = found.after(at, 1000)
    kinds = Counter(one["kind"] for one in items)
    assert (kinds["problem"], kinds["reject"]) == (3, 150)
    assert len(items) <= 2 * feed.MOST + 155
    assert len(items) + skipped == 10_155
    assert found.after(end, 1000) == ([], 0, end)
    for first in range(20_000, 20_000 + 11 * 200, 200):  # more than are kept
        insert(client, first, 200, closed("06:00:00"))
        await found.look()
    kinds = Counter(one["kind"] for one in found.after(0, 200)[0])  # who opens the page now
    assert kinds == {"event": 200, "problem": 3, "reject": 150}
    assert found.said() == {"wrong": 153, "feed_error": None}


async def test_older_rows_than_the_list_begins_with_never_come_as_new_ones(client: Any) -> None:
    found = Feed(client, "web", SCHEMA)
    insert(client, 0, 500, closed("00:00:00"))
    await found.look()
    items, _, at = found.after(0, 1000)
    assert [one["id"] for one in items] == [f"n{n}" for n in range(300, 500)]
    insert(client, 499, 1, closed("00:00:00"))  # appended again, so that there are more rows than before
    await found.look()
    assert found.after(at, 1000)[0] == []
    insert(client, 500, 1, closed("00:00:00"))
    await found.look()
    assert [one["id"] for one in found.after(at, 1000)[0]] == ["n500"]


async def test_rows_of_a_burst_that_were_left_out_never_come_as_new_ones(client: Any) -> None:
    found = Feed(client, "web", SCHEMA)
    await found.look()
    insert(client, 0, 1_500, closed("00:00:00"))
    await found.look()
    _, _, at = found.after(0, 1000)
    for number in (1_500, 1_501):
        insert(client, 1_499, 1, closed("00:00:00"))  # delivered again
        insert(client, number, 1, closed("00:00:00"))
        await found.look()
    assert [one["id"] for one in found.after(at, 1000)[0]] == ["n1500", "n1501"]


async def test_what_comes_between_the_count_and_the_rows_is_not_searched_for_later(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, ask, asked, coming = Feed(client, "web", SCHEMA), query.rows, [], [3, 2]
    await found.look()
    insert(client, 1, 1, closed("00:00:00"))

    def arriving(client: Any, sql: str, **more: Any) -> Any:
        if "`web.events_log` WHERE" in sql and coming:
            insert(client, coming.pop(), 1, closed("00:00:00"))
        asked.append(sql)
        return ask(client, sql, **more)

    monkeypatch.setattr(query, "rows", arriving)
    await found.look()
    insert(client, 4, 1, closed("00:00:00"))
    await found.look()
    assert sorted(one["id"] for one in found.after(0, 1000)[0]) == ["n1", "n2", "n3", "n4"]
    assert not [sql for sql in asked if f"LIMIT {feed.WIDE}" in sql]


async def test_what_was_spooled_comes_late_and_is_found(client: Any) -> None:
    found = Feed(client, "web", SCHEMA)
    await found.look()
    insert(client, 1000, 190, closed("12:00:00"))
    await found.look()
    insert(client, 2000, 190, closed("12:00:00"))
    await found.look()
    _, _, at = found.after(0, 200)
    insert(client, 7, 1, closed("00:00:00"))  # received long before the others
    await found.look()
    items, skipped, _ = found.after(at, 200)
    assert ([one["id"] for one in items], skipped) == (["n7"], 0)


@pytest.mark.slow
async def test_the_ring_keeps_the_latest_and_says_how_many_went(client: Any) -> None:
    found = Feed(client, "web", SCHEMA)
    await found.look()
    insert(client, 0, 1, closed("00:00:00"))
    await found.look()
    for start in range(100, 100 + 200 * 11, 200):
        insert(client, start, 200, closed("00:00:00"))
        await found.look()
    items, skipped, _ = found.after(1, 100)
    assert (len(items), items[-1]["id"], skipped) == (100, "n2299", 2100)


async def test_a_reset_forgets_and_shows_only_what_is_received_later(client: Any) -> None:
    found = Feed(client, "web", SCHEMA)
    await found.look()
    insert(client, 0, 3, closed("00:00:00"))
    await found.look()
    found.reset()
    insert(client, 10, 1, closed("00:00:00"))
    insert(client, 10, 1, closed("00:00:00"), table="rejects")
    await found.look()
    assert (found.after(0, 200)[0], found.said()) == ([], {"wrong": 0, "feed_error": None})
    insert(client, 0, 1, datetime.now(UTC).isoformat(), table="rejects")
    await found.look()
    assert [one["kind"] for one in found.after(0, 200)[0]] == ["reject"]
    assert found.wrong == 1


async def test_a_bigquery_that_does_not_answer_is_an_error_and_not_the_end(client: Any) -> None:
    found = Feed(query.client("nowhere", "http://127.0.0.1:1"), "web", SCHEMA)
    await found.look()
    assert found.error == "BigQuery does not answer"
    assert found.after(0, 10) == ([], 0, 0)


async def test_the_proof_of_a_bigquery_that_is_away_is_its_last_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = Proof(query.client("nowhere", "http://127.0.0.1:1"), "web", None)
    with pytest.raises(Refused, match="BigQuery does not answer"):  # at once: it would be asked again for ten minutes
        await found.by_hour(24, {})
    hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    group = Group(hour, "native", {**dict.fromkeys(COUNTS, 0), "acknowledged": 3, "loaded": 2})
    with monkeypatch.context() as patched:
        patched.setattr(reconcile, "ask", lambda *_: [group])
        fresh = await found.by_hour(24, {})
    monkeypatch.setattr(proof, "_REMOTE_PAUSE", timedelta(0))
    assert (fresh["error"], fresh["text"]) == (None, "Nothing is missing: of 3 hits, 1 is on its way.")
    at = datetime.fromisoformat(fresh["at"])
    text = f"As of {at:%H:%M:%S} UTC, nothing is missing: of 3 hits, 1 is on its way."
    assert await found.by_hour(24, {}) == {**fresh, "text": text, "error": "BigQuery does not answer"}


TENANTS = "tenants:\n  list:\n    acme: {hosts: [a.example.com]}\n    globex: {hosts: [b.example.com]}\n"


@pytest.mark.parametrize(
    ("head", "source"),
    [("", "param.tenant"), (TENANTS, "[hit.tenant, param.tenant]"), ("", "header.host")],
)
async def test_events_are_found_by_tenant_wherever_that_comes_from(client: Any, head: str, source: str) -> None:
    schema = schema_file.parse(head + schemas.text(f"tenant: {{type: STRING, from: {source}}}"))
    client.query_and_wait("CREATE TABLE web.events AS SELECT * FROM web.events_log WHERE FALSE")  # in the view's place
    client.query_and_wait(
        "INSERT INTO web.events (day, event_id, received_at, tenant) "
        "SELECT CURRENT_DATE(), id, CURRENT_TIMESTAMP(), id FROM UNNEST(['acme', 'globex']) AS id"
    )
    finder = Finder(client, "web", Feed(client, "web", schema))
    found = await finder.events(wanted({"tenant": "acme"}))
    assert [one["id"] for one in found["items"]] == ["acme"]


EVENTS = SCHEMA.tables["events"]


@pytest.mark.parametrize(
    "problems", [None, "no json", {"a": 1}, [1, "x"], "[]", [{"column": None}], [{"column": ["a"]}]]
)
def test_an_odd_row_is_an_item_all_the_same(problems: Any) -> None:
    row = dict.fromkeys([column.name for column in EVENTS.columns])
    row |= {"event_id": "x" * 5_000, "type": "<b>\n</b>" * 200, "user_id": 2**63, "problems": problems}
    found = item.of(EVENTS, Columns.of(EVENTS), row)
    assert len(found["id"]) == item.MOST_CHARACTERS and found["id"].endswith("…")
    assert len(found["summary"]) <= 160 and "\n" not in found["summary"]
    assert found["who"] == str(2**63)
    assert found["kind"] == ("problem" if found["problems"] else "event")
    json.dumps(found)


@pytest.mark.parametrize(
    "value", [2**53 + 1, {"a": 1}, [1], "text", 0.5, True, None, float("nan"), float("inf"), b"\xff"]
)
def test_a_value_is_shown_as_javascript_can_hold_it(value: Any) -> None:
    assert isinstance(item.shown(value), str | float | bool | None)
    json.dumps(item.shown(value), allow_nan=False)


@pytest.mark.parametrize(
    ("buckets", "share", "value"),
    [
        ({}, 0.5, None),
        ({0.1: 0, inf: 0}, 0.5, None),
        ({0.1: 10, 1.0: 10, inf: 10}, 0.5, 0.05),
        ({0.1: 5, 1.0: 10, inf: 10}, 0.9, 0.1 + 0.9 * 4 / 5),
        ({0.1: 0, 1.0: 0, inf: 3}, 0.5, 1.0),
    ],
)
def test_a_quantile_is_interpolated_as_prometheus_does(
    buckets: dict[float, float], share: float, value: float | None
) -> None:
    assert quantile(buckets, share) == (value if value is None else pytest.approx(value))


def scraped(at: float, hits: int, started: float = 1.0, code: str = "ABORTED", failed: int = 0) -> Any:
    text = (
        f"process_start_time_seconds {started}\n"
        f'pixelpipe_collector_hits_total{{method="GET"}} {hits}\n'
        f'pixelpipe_loader_append_retries_total{{code="{code}"}} {failed}\n'
    )
    return read("x", text, at)


def test_rates_start_again_with_a_process_that_was_started_again() -> None:
    recent = Recent()
    recent.add(scraped(0.0, 100))
    assert recent.per_second("pixelpipe_collector_hits_total") is None
    recent.add(scraped(2.0, 110))
    assert recent.per_second("pixelpipe_collector_hits_total") == 5.0
    recent.add(scraped(3.0, 1, started=2.0))
    assert recent.per_second("pixelpipe_collector_hits_total") is None
    recent.add(None)
    assert recent.last is None


async def test_of_a_cluster_a_forward_that_is_gone_is_said_and_no_service_blamed() -> None:
    gone = dict.fromkeys(("collector", "processor", "loader"), f"http://127.0.0.1:{process.free_port()}")
    there = Watched("p", "web", "", "", ready=True, collector="https://c", admin=gone, page_port=1, read_only=True)
    async with aiohttp.ClientSession() as session:
        state = await Look(lambda: there, Restarts(None), {}).look(session)
    assert [one["text"] for one in state["trouble"]] == [
        "the collector and the processor and the loader cannot be seen: is kubectl port-forward running?"
    ]
    assert {part["status"] for part in state["parts"]} == {"unseen", "unknown"}
    assert {flow["state"] for flow in state["flows"]} == {"idle"}


def test_a_trouble_has_one_since_however_its_text_changes_and_ends() -> None:
    since = Since()
    recent = {name: Recent() for name in ("collector", "processor", "loader")}
    recent["loader"].add(scraped(0.0, 0))
    shown = []
    for at, failed in ((1.0, 1), (2.0, 3), (20.0, 3), (31.0, 3)):
        recent["loader"].add(scraped(at, 0, failed=failed))
        shown.append(since.shown(find(Seen([], {}, [], recent)), now=at))
    assert [one[0]["text"] for one in shown[:2]] == [
        "appends to BigQuery failed in the last 10 s: ABORTED 1 time",
        "appends to BigQuery failed in the last 10 s: ABORTED 3 times",
    ]
    assert [one[0]["since"] for one in shown[:2]] == [1.0, 1.0]
    assert shown[2:] == [[], []]
