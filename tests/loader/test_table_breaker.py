"""A table that only a human can mend must not stall the others, nor use up its packs' delivery attempts for nothing."""

from __future__ import annotations

import pytest
from grpc import StatusCode

from services.loader.table_breaker import SECONDS, TRY_SECONDS, TableBreaker
from services.shared import names
from tests.loader import rig
from tests.loader.rig import RowTopics
from tests.loader.rows_made import REJECTS, batch, events, numbers
from tests.loader.write_server import Error, WriteServer


def test_a_table_is_suspended_once_it_failed_long_while_another_took_rows() -> None:
    breaker = TableBreaker()
    assert not breaker.fails("a", 0.0, full=False)
    breaker.works("b", 1.0)
    assert not breaker.fails("a", SECONDS - 1, full=False)
    assert breaker.takes("a", SECONDS - 1)
    assert breaker.fails("a", SECONDS, full=False)
    assert not breaker.takes("a", SECONDS + 1)
    assert breaker.takes("b", SECONDS + 1)


def test_one_pack_at_a_time_tries_a_table_suspended_until_it_works() -> None:
    breaker = TableBreaker()
    breaker.fails("a", 0.0, full=False)
    breaker.works("b", 1.0)
    breaker.fails("a", SECONDS, full=False)
    due = SECONDS + TRY_SECONDS
    assert [breaker.takes("a", now) for now in (due - 1, due, due, due + TRY_SECONDS)] == [False, True, False, True]
    assert breaker.works("a", due + TRY_SECONDS)
    assert breaker.takes("a", due + TRY_SECONDS)
    assert not breaker.fails("a", due + TRY_SECONDS + 1, full=False)


def test_where_no_table_works_packs_are_held_and_little_goes_back_to_make_room() -> None:
    breaker = TableBreaker()
    breaker.works("b", 0.0)
    breaker.fails("b", 1.0, full=False)
    breaker.fails("a", 1.0, full=False)
    late = 1.0 + SECONDS
    assert not breaker.fails("a", late, full=False)
    assert [breaker.fails(table, late, full=True) for table in ("a", "a", "b")] == [True, False, False]
    assert breaker.fails("b", late + SECONDS, full=True)
    assert not breaker.is_suspended("a")


@pytest.mark.parametrize("code", [StatusCode.NOT_FOUND, StatusCode.PERMISSION_DENIED])
async def test_a_table_that_is_not_there_does_not_stall_the_others(
    bigquery: WriteServer, topics: RowTopics, project: str, monkeypatch: pytest.MonkeyPatch, code: StatusCode
) -> None:
    monkeypatch.setattr("services.loader.table_breaker.SECONDS", 0.3)
    monkeypatch.setattr("services.loader.table_breaker.TRY_SECONDS", 0.3)
    monkeypatch.setattr("services.loader.writer.LONGEST_WAIT", 0.1)
    bigquery.by_table["events_log"] = Error(code)
    for number in range(8):  # more than the loader holds: they arrive first and fill it
        topics.publish_rows(events(number, 1))
    async with rig.running(project, max_messages=4) as loader:
        await loader.until_metric("messages_received_total", 4)
        for number in range(10):
            reject = {"day": events(0, 1).to_pylist()[0]["day"], "event_id": f"event-{number:06}", "stage": "test"}
            reject |= {"received_at": events(0, 1).to_pylist()[0]["received_at"], "reason": "missing"}
            topics.publish_rows(batch([reject], REJECTS), table="rejects")
        await loader.until_metric("rows_loaded_total{rejects}", 10)
        await loader.until_metric("table_suspended{events}", 1)
        assert await loader.metric("rows_loaded_total{events}") == 0
        assert await loader.metric("messages_dead_total") == 0
        del bigquery.by_table["events_log"]
        await loader.until_metric("rows_loaded_total{events}", 8)
        assert await loader.metric("table_suspended{events}") == 0
    assert numbers(bigquery.rows("events_log")) == list(range(8))
    assert not topics.pull(names.ROWS_SUBSCRIPTION)
