"""The loader against a BigQuery that answers well or ill, over real gRPC, behind the Pub/Sub emulator."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from grpc import StatusCode

from services import __version__
from services.loader.writer import UNKNOWN_COLUMN, refused_columns
from services.shared import resource_names
from tests.loader import harness
from tests.loader.harness import RowTopics
from tests.loader.rows_made import batch, event, events, numbers
from tests.loader.write_server import Abort, Close, Error, ExtraFields, Hold, RowErrors, WriteServer
from tests.schemas import SCHEMA, SCHEMA_FILE
from tests.waiting import until


async def test_rows_arrive_as_they_were_packed(bigquery: WriteServer, topics: RowTopics, project: str) -> None:
    sent = events(0, 10)
    topics.publish_rows(sent)
    async with harness.running(project) as loader:
        await loader.until_acked(1)
    assert bigquery.rows("events_log") == sent.to_pylist()
    stream = f"projects/{project}/datasets/pixelpipe/tables/events_log/streams/_default"
    assert bigquery.calls == [f"write_stream={stream}"]


async def test_ack_follows_append(bigquery: WriteServer, topics: RowTopics, project: str) -> None:
    hold = Hold()
    bigquery.script.append(hold)
    topics.publish_rows(events(0, 3))
    async with harness.running(project) as loader:
        await until(lambda: bigquery.appends, "the append")
        assert await loader.metric("messages_acked_total") == 0
        hold.until.set()
        await loader.until_acked(1)
    assert numbers(bigquery.rows("events_log")) == [0, 1, 2]
    assert not topics.pull(resource_names.ROWS_SUBSCRIPTION)


async def test_pub_sub_keeps_a_pack_whose_append_has_no_answer(
    bigquery: WriteServer, topics: RowTopics, project: str
) -> None:
    bigquery.script.append(Hold())
    topics.publish_rows(events(0, 3), pack="mine")
    async with harness.running(project, shutdown_timeout_seconds=0.0):
        await until(lambda: bigquery.appends, "the append")
    [kept] = topics.pull(resource_names.ROWS_SUBSCRIPTION, 1)
    assert kept.attributes["pack"] == "mine"


async def test_the_next_pack_comes_once_the_last_is_acknowledged(
    bigquery: WriteServer, topics: RowTopics, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.loader.service.MAX_PACKS", 1)
    for number in range(3):
        topics.publish_rows(events(number, 1))
    async with harness.running(project) as loader:
        await loader.until_acked(3)
    assert [rows for _, rows in bigquery.appends] == [1, 1, 1]


async def test_many_packs_become_few_appends(bigquery: WriteServer, topics: RowTopics, project: str) -> None:
    for number in range(40):
        topics.publish_rows(events(number * 5, 5))
    async with harness.running(project, linger_seconds=1.0) as loader:
        await loader.until_acked(40)
    assert numbers(bigquery.rows("events_log")) == list(range(200))
    assert len(bigquery.appends) < 10


async def test_transient_errors_are_tried_again_until_they_pass(
    bigquery: WriteServer, topics: RowTopics, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.loader.writer.LONGEST_WAIT", 0.02)
    codes = (
        StatusCode.ABORTED,
        StatusCode.INTERNAL,
        StatusCode.RESOURCE_EXHAUSTED,
        StatusCode.UNAVAILABLE,
        StatusCode.UNKNOWN,
        StatusCode.CANCELLED,
        StatusCode.DEADLINE_EXCEEDED,
        StatusCode.NOT_FOUND,
        StatusCode.PERMISSION_DENIED,
        StatusCode.UNAUTHENTICATED,
    )
    for code in codes:  # as an answer, and as the end of the call
        bigquery.script.extend([Error(code), Abort(code)])
    topics.publish_rows(events(0, 3))
    async with harness.running(project) as loader:
        await loader.until_acked(1)
        found = await loader.metrics()
    assert {code.name: found[f"append_retries_total{{{code.name}}}"] for code in codes} == {
        code.name: 2 for code in codes
    }
    assert numbers(bigquery.rows("events_log")) == [0, 1, 2]
    assert len(bigquery.appends) == 2 * len(codes) + 1


async def test_an_append_without_an_answer_is_sent_again(
    bigquery: WriteServer, topics: RowTopics, project: str
) -> None:
    bigquery.script.append(Hold())
    topics.publish_rows(events(0, 3))
    async with harness.running(project, append_timeout_seconds=3.0) as loader:
        await loader.until_acked(1)
        assert await loader.metric("append_retries_total{DEADLINE_EXCEEDED}") == 1
    assert len(bigquery.calls) == 2


async def test_a_connection_closed_while_idle_is_opened_again(
    bigquery: WriteServer, topics: RowTopics, project: str
) -> None:
    bigquery.script.append(Close(answer=True))
    async with harness.running(project) as loader:
        topics.publish_rows(events(0, 3))
        await loader.until_acked(1)
        topics.publish_rows(events(3, 3))
        await loader.until_acked(2)
    assert numbers(bigquery.rows("events_log")) == [0, 1, 2, 3, 4, 5]
    assert len(bigquery.calls) == 2


async def test_bad_rows_become_rejects_and_the_rest_is_written(
    bigquery: WriteServer, topics: RowTopics, project: str
) -> None:
    bigquery.otherwise = RowErrors(lambda row: row.get("type") == "bad" and "reason" not in row)
    for first in range(0, 30, 10):  # in one append: rows must find back to their packs
        topics.publish_rows(
            batch(
                [
                    event(number, type="bad" if number % 10 == first // 10 else "view")
                    for number in range(first, first + 10)
                ]
            )
        )
    async with harness.running(project, linger_seconds=0.3) as loader:
        await loader.until_acked(3)
        assert await loader.metric("rows_rejected_total{bigquery}") == 3
        assert await loader.metric("rows_loaded_total{events}") == 27
        assert await loader.metric("rows_loaded_total{rejects}") == 3
    assert numbers(bigquery.rows("events_log")) == [number for number in range(30) if number not in (0, 11, 22)]
    rejects = bigquery.rows("rejects_log")
    assert numbers(rejects) == [0, 11, 22]
    for row in rejects:
        assert (row["stage"], row["reason"], row["table"]) == ("loader", "bigquery", "events")
        assert row["detail"].endswith("is as bad as scripted")
        assert f'"event_id":"{row["event_id"]}"' in row["hit"]


async def test_a_pack_waits_for_its_rejects(bigquery: WriteServer, topics: RowTopics, project: str) -> None:
    hold = Hold()
    bigquery.script.extend([RowErrors(lambda row: row["type"] == "bad"), "ok", hold])
    topics.publish_rows(batch([event(0), event(1, type="bad")]))
    async with harness.running(project) as loader:
        await until(lambda: ("rejects_log", 1) in bigquery.appends, "the rejects")
        assert await loader.metric("messages_acked_total") == 0
        hold.until.set()
        await loader.until_acked(1)


async def test_a_pack_whose_rejects_are_refused_is_dead(bigquery: WriteServer, topics: RowTopics, project: str) -> None:
    bigquery.otherwise = RowErrors(lambda row: row.get("type") == "bad" or "stage" in row)
    topics.publish_rows(batch([event(0), event(1, type="bad")]))
    topics.publish_rows(events(2, 2))
    async with harness.running(project, linger_seconds=0.3) as loader:
        await loader.until_acked(2)
        assert await loader.metric("messages_dead_total") == 1
        assert await loader.metric("rows_dead_total") == 1  # the pack's other row is loaded
        assert await loader.metric("rows_loaded_total{events}") == 3
    assert numbers(bigquery.rows("events_log")) == [0, 2, 3]
    [dead] = topics.pull(resource_names.DEAD_SUBSCRIPTION, 1)
    assert "rejects" in dead.attributes["dead_reason"]
    assert dead.attributes["dead_source"] == resource_names.ROWS_SUBSCRIPTION


async def test_a_dead_pack_that_is_published_again_is_tried_again(
    bigquery: WriteServer, topics: RowTopics, project: str
) -> None:
    bigquery.otherwise = RowErrors(lambda row: True)
    sent = batch([event(0)])
    async with harness.running(project) as loader:
        topics.publish_rows(sent, pack="mine")
        await loader.until_metric("messages_dead_total", 1)
        bigquery.otherwise = "ok"
        topics.publish_rows(sent, pack="mine")
        await loader.until_acked(2)
    assert numbers(bigquery.rows("events_log")) == [0]


async def test_what_cannot_be_decoded_is_dead(bigquery: WriteServer, topics: RowTopics, project: str) -> None:
    attributes = {"schema": "rows/1", "table": "events", "pack": "p", "count": "7"}
    topics.publish(resource_names.ROWS_TOPIC, b"no frame", attributes)
    async with harness.running(project) as loader:
        await loader.until_acked(1)
        assert await loader.metric("rows_dead_total") == 7  # as the pack says
    [dead] = topics.pull(resource_names.DEAD_SUBSCRIPTION, 1)
    assert dead.data == b"no frame"
    assert dead.attributes["dead_reason"].startswith("zstd:")
    assert not bigquery.appends


async def test_a_dead_pack_that_cannot_be_published_is_given_back(
    bigquery: WriteServer, topics: RowTopics, project: str
) -> None:
    topics.publish(resource_names.ROWS_TOPIC, b"no frame", {"schema": "rows/1"})
    async with harness.running(project, dead_topic="missing") as loader:
        await loader.until_metric("messages_nacked_total", 1)
        assert await loader.metric("messages_acked_total") == 0
        assert await loader.metric("rows_dead_total") == 0


async def test_a_pack_delivered_twice_is_written_once(bigquery: WriteServer, topics: RowTopics, project: str) -> None:
    sent = events(0, 3)
    async with harness.running(project) as loader:
        topics.publish_rows(sent, pack="one")
        await loader.until_acked(1)
        topics.publish_rows(sent, pack="one")
        await loader.until_acked(2)
        assert await loader.metric("messages_duplicate_total") == 1
        assert await loader.metric("rows_duplicate_total") == 3
        topics.publish_rows(events(3, 3), pack="one")  # the same id with other rows is another pack
        await loader.until_acked(3)
    assert numbers(bigquery.rows("events_log")) == [0, 1, 2, 3, 4, 5]


async def test_a_pack_delivered_again_while_it_is_written_waits_with_it(
    bigquery: WriteServer, topics: RowTopics, project: str
) -> None:
    hold = Hold()
    bigquery.script.append(hold)
    sent = events(0, 3)
    async with harness.running(project) as loader:
        topics.publish_rows(sent, pack="one")
        topics.publish_rows(sent, pack="one")
        await loader.until_metric("messages_duplicate_total", 1)
        assert await loader.metric("messages_acked_total") == 0
        hold.until.set()
        await loader.until_acked(2)
    assert numbers(bigquery.rows("events_log")) == [0, 1, 2]


async def test_a_table_and_a_column_that_the_schema_file_does_not_know_are_appended(
    bigquery: WriteServer, topics: RowTopics, project: str
) -> None:
    """A newer processor's rows, met by an older loader in a rollout or after a rollback."""
    newer = events(0, 3).append_column("colour", pa.array(["red", None, "blue"]))
    topics.publish_rows(newer)
    topics.publish_rows(events(3, 3))
    topics.publish_rows(events(6, 2), table="purchases")
    async with harness.running(project, linger_seconds=0.3) as loader:
        await loader.until_acked(3)
        assert await loader.metric("rows_loaded_total{purchases}") == 2
        assert await loader.metric("end_to_end_seconds_count") == 6
    assert [row for row in bigquery.rows("events_log") if "colour" in row] == newer.to_pylist()
    assert numbers(bigquery.rows("events_log")) == list(range(6))
    assert numbers(bigquery.rows("purchases_log")) == [6, 7]


async def test_a_refused_row_of_an_unknown_table_is_a_reject_by_the_names_of_its_columns(
    bigquery: WriteServer, topics: RowTopics, project: str
) -> None:
    bigquery.by_table["purchases_log"] = RowErrors(lambda row: row["type"] == "bad")
    topics.publish_rows(batch([event(0), event(1, type="bad")]), table="purchases")
    async with harness.running(project) as loader:
        await loader.until_acked(1)
    [reject] = bigquery.rows("rejects_log")
    assert (reject["table"], reject["event_id"], reject["reason"]) == ("purchases", "event-000001", "bigquery")
    assert reject["day"] == bigquery.rows("purchases_log")[0]["day"]


@pytest.mark.parametrize("worded", [True, False])
async def test_packs_with_a_column_the_table_lacks_wait_for_it_and_are_named(
    bigquery: WriteServer, topics: RowTopics, project: str, monkeypatch: pytest.MonkeyPatch, worded: bool
) -> None:
    monkeypatch.setattr("services.loader.writer.LONGEST_WAIT", 0.05)
    bigquery.by_table["events_log"] = ExtraFields("colour", worded)
    topics.publish_rows(events(0, 3).append_column("colour", pa.array(["red", None, "blue"])))
    async with harness.running(project) as loader:
        await loader.until_metric("append_retries_total{INVALID_ARGUMENT}", 10)  # more than a few tries
        assert await loader.metric("column_refused{colour,events}") == 1
        del bigquery.by_table["events_log"]
        await loader.until_acked(1)
        found = await loader.metrics()
        assert "column_refused{colour,events}" not in found
        assert found["messages_nacked_total"] == found["messages_dead_total"] == 0
    assert numbers(bigquery.rows("events_log")) == [0, 1, 2]


async def test_older_packs_go_on_while_a_newer_column_is_missing(
    bigquery: WriteServer, topics: RowTopics, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.loader.writer.LONGEST_WAIT", 0.05)
    monkeypatch.setattr("services.loader.table_breaker.SECONDS", 0.2)
    bigquery.missing = "colour"
    topics.publish_rows(events(0, 3).append_column("colour", pa.array(["red", None, "blue"])))
    async with harness.running(project) as loader:
        await loader.until_metric("column_refused{colour,events}", 1)
        topics.publish_rows(events(3, 3))
        await loader.until_acked(1)
        await loader.until_metric("table_suspended{events}", 1)
        assert await loader.metric("messages_nacked_total") == 0  # there is room to hold it
        bigquery.missing = None
        await loader.until_acked(2)
        assert await loader.metric("table_suspended{events}") == 0
    assert numbers(bigquery.rows("events_log")) == list(range(6))


async def test_packs_that_no_table_of_these_columns_takes_wait_for_an_operator(
    bigquery: WriteServer, topics: RowTopics, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of another type, or without a column that is REQUIRED: each pack alone is refused, whatever is in its rows."""
    monkeypatch.setattr("services.loader.writer.LONGEST_WAIT", 0.05)
    bigquery.otherwise = Error(StatusCode.INVALID_ARGUMENT, "Field 'url' has BigQuery type INT64")
    topics.publish_rows(events(0, 3))
    topics.publish_rows(events(3, 3))
    async with harness.running(project, linger_seconds=0.3) as loader:
        await loader.until_metric("column_refused{url,events}", 1)
        await loader.until_metric("append_retries_total{INVALID_ARGUMENT}", 20)
        assert await loader.metric("messages_nacked_total") == 0
        bigquery.otherwise = "ok"
        await loader.until_acked(2)
        assert await loader.metric("messages_dead_total") == 0
    assert numbers(bigquery.rows("events_log")) == list(range(6))


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("Input schema has more fields than BigQuery schema, extra fields: 'total,Shop' Entity: x", ("total", "shop")),
        ("Field 'total' has BigQuery type INT64, and was sent as string", ("total",)),
        ("The required field 'kind' is missing in the input schema", ("kind",)),
        ("The required field kind is missing", ("kind",)),
        ("Cannot write 'a stranger''s value'", (UNKNOWN_COLUMN,)),
        ("", (UNKNOWN_COLUMN,)),
    ],
)
def test_columns_are_those_that_bigquery_names(text: str, columns: tuple[str, ...]) -> None:
    assert refused_columns(text, ["day", "shop", "total"]) in (columns, columns[::-1])


async def test_a_pack_of_a_newer_format_is_given_back(bigquery: WriteServer, topics: RowTopics, project: str) -> None:
    topics.publish(resource_names.ROWS_TOPIC, b"who knows", {"schema": "rows/2", "table": "events"})
    async with harness.running(project) as loader:
        topics.publish_rows(events(3, 3))
        await loader.until_acked(1)
        await loader.until_metric("messages_newer_total", 2)  # it comes again
        assert await loader.metric("messages_acked_total") == 1
        assert await loader.metric("messages_dead_total") == 0
    assert numbers(bigquery.rows("events_log")) == [3, 4, 5]


async def test_a_request_refused_as_a_whole_is_halved_until_the_pack_that_spoils_it_is_found(
    bigquery: WriteServer, topics: RowTopics, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.loader.writer.FIRST_WAIT", 0.001)
    for first in range(0, 40, 10):
        topics.publish_rows(events(first, 10))
    bigquery.refuse = lambda row: row["event_id"] == "event-000015"
    async with harness.running(project, linger_seconds=0.3) as loader:
        await loader.until_acked(3)
        await loader.until_metric("messages_nacked_total", 2)  # it comes again, alone, and is given back again
        assert await loader.metric("messages_acked_total") == 3
    assert numbers(bigquery.rows("events_log")) == [*range(10), *range(20, 40)]


async def test_memory_is_bounded_while_bigquery_does_not_answer(
    bigquery: WriteServer, topics: RowTopics, project: str
) -> None:
    hold = Hold()
    bigquery.script.extend([hold] * 50)
    text = "x" * 50_000
    for first in range(0, 200, 10):
        topics.publish_rows(batch([event(number, url=text) for number in range(first, first + 10)]))
    async with harness.running(project, max_bytes=1_000_000, batch_bytes=400_000) as loader:
        await loader.until_metric("held_bytes", 1_000_000)
        assert await loader.metric("messages_received_total") == 2
        hold.until.set()
        await loader.until_acked(20)
        assert await loader.metric("held_bytes") == 0
    assert numbers(bigquery.rows("events_log")) == list(range(200))


async def test_stopping_writes_what_is_in_hand(bigquery: WriteServer, topics: RowTopics, project: str) -> None:
    async with harness.running(project, linger_seconds=60) as loader:
        topics.publish_rows(events(0, 3))
        await loader.until_metric("held_rows", 3)
        assert not bigquery.appends
        await loader.end()
    assert numbers(bigquery.rows("events_log")) == [0, 1, 2]
    assert not topics.pull(resource_names.ROWS_SUBSCRIPTION)


async def test_stopping_gives_back_what_bigquery_does_not_take(
    bigquery: WriteServer, topics: RowTopics, project: str
) -> None:
    bigquery.script.append(Hold())
    topics.publish_rows(events(0, 3))
    async with harness.running(project, shutdown_timeout_seconds=0.1) as loader:
        await until(lambda: bigquery.appends, "the append")
        await loader.end()
    async with harness.running(project) as loader:
        await loader.until_acked(1)
    assert numbers(bigquery.rows("events_log")) == [0, 1, 2]


async def test_readiness_ends_before_the_last_rows_are_written(
    bigquery: WriteServer, topics: RowTopics, project: str
) -> None:
    hold = Hold()
    bigquery.script.append(hold)
    topics.publish_rows(events(0, 3))
    async with harness.running(project) as loader:
        await until(lambda: bigquery.appends, "the append")
        loader.stop.set()

        async def unready() -> bool:
            return await loader.readiness() == 503

        await until(unready, "readiness to end")
        assert not loader.task.done()
        hold.until.set()
        await asyncio.wait_for(loader.task, 30)
    assert numbers(bigquery.rows("events_log")) == [0, 1, 2]


async def test_older_packs_without_new_columns_are_written(
    bigquery: WriteServer, topics: RowTopics, project: str
) -> None:
    older = events(0, 3).select(["day", "event_id", "received_at", "user_id"])
    topics.publish_rows(older)
    topics.publish_rows(events(3, 3))
    async with harness.running(project, linger_seconds=0.3) as loader:
        await loader.until_acked(2)
    assert numbers(bigquery.rows("events_log")) == [0, 1, 2, 3, 4, 5]
    assert len(bigquery.calls) == 2  # one connection for each set of columns


@pytest.mark.parametrize(
    ("sent", "table", "reason"),
    [
        (events(0, 3).append_column("type", pa.array(["a"] * 3)), "events", "one is there twice"),
        (events(0, 3), "ev/ents", "names no table"),
        (events(0, 3), "", "names no table"),
    ],
)
async def test_what_can_be_rows_of_no_table_makes_a_pack_dead(
    bigquery: WriteServer, topics: RowTopics, project: str, sent: pa.RecordBatch, table: str, reason: str
) -> None:
    topics.publish_rows(sent, table=table)
    async with harness.running(project) as loader:
        await loader.until_acked(1)
    [dead] = topics.pull(resource_names.DEAD_SUBSCRIPTION, 1)
    assert reason in dead.attributes["dead_reason"]
    assert not bigquery.appends


async def test_an_empty_pack_is_acknowledged(bigquery: WriteServer, topics: RowTopics, project: str) -> None:
    topics.publish_rows(events(0, 0))
    async with harness.running(project) as loader:
        await loader.until_acked(1)
    assert not bigquery.appends


async def test_a_pack_larger_than_an_append_is_split_and_answered_once(
    bigquery: WriteServer, topics: RowTopics, project: str
) -> None:
    topics.publish_rows(batch([event(number, url="x" * 40_000) for number in range(20)]))
    async with harness.running(project, batch_bytes=200_000) as loader:
        await loader.until_acked(1)
        assert await loader.metric("messages_acked_total") == 1
    assert numbers(bigquery.rows("events_log")) == list(range(20))
    assert len(bigquery.appends) > 3


async def test_a_row_too_large_for_bigquery_is_a_reject(bigquery: WriteServer, topics: RowTopics, project: str) -> None:
    topics.publish_rows(batch([event(0), event(1, url="x" * 9_100_000), event(2, url="x" * 8_500_000)]))
    async with harness.running(project) as loader:
        await loader.until_acked(1)
        assert await loader.metric("rows_rejected_total{too_large}") == 1
    assert numbers(bigquery.rows("events_log")) == [0, 2]
    [reject] = bigquery.rows("rejects_log")
    assert (reject["event_id"], reject["reason"]) == ("event-000001", "too_large")


async def test_a_table_too_many_closes_the_connection_idle_for_longest(
    bigquery: WriteServer, topics: RowTopics, project: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.loader.write_api.MAX_STREAMS", 2)
    text = SCHEMA_FILE.read_text().replace("  events:", "  events_{tenant}:\n    tenants: [a, b, c, d, e]")
    file = tmp_path / "schema.yaml"
    file.write_text(text)
    async with harness.running(project, schema=file) as loader:
        for turn in range(2):
            for place, tenant in enumerate("abcde"):
                topics.publish_rows(events(turn * 10 + place, 1), table=f"events_{tenant}")
        await loader.until_acked(10)
    for place, tenant in enumerate("abcde"):
        assert numbers(bigquery.rows(f"events_{tenant}_log")) == [place, 10 + place]
    assert bigquery.most_open <= 2


async def test_a_bigquery_that_was_away_is_found_again(bigquery: WriteServer, topics: RowTopics, project: str) -> None:
    async with harness.running(project) as loader:
        topics.publish_rows(events(0, 3))
        await loader.until_acked(1)
        await bigquery.stop()
        topics.publish_rows(events(3, 3))
        await loader.until_metric("append_retries_total{UNAVAILABLE}", 2)
        await bigquery.start()
        await loader.until_acked(2)
    assert numbers(bigquery.rows("events_log")) == [0, 1, 2, 3, 4, 5]


async def test_latency_and_freshness_are_those_of_the_rows(
    bigquery: WriteServer, topics: RowTopics, project: str
) -> None:
    now = datetime.now(UTC)
    topics.publish_rows(batch([event(0, received_at=now - timedelta(seconds=100)), event(1, received_at=now)]))
    async with harness.running(project) as loader:
        await loader.until_acked(1)
        found = await loader.metrics()
    assert found["end_to_end_seconds_count"] == 2
    assert found["end_to_end_seconds_bucket{60.0}"] == 1
    assert found["newest_received_timestamp_seconds"] == pytest.approx(now.timestamp(), abs=0.001)
    assert found[f"pixelpipe_build_info{{{SCHEMA.digest},loader,{__version__}}}"] == 1
