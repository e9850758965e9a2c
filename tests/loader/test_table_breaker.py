"""A table that needs an operator must not block the others, nor use up delivery attempts of its packs for nothing."""

from __future__ import annotations

import pytest
from grpc import StatusCode

from services.loader.table_breaker import (
    CROWDED,
    FORGOTTEN_SECONDS,
    REMEMBERED,
    SECONDS,
    TRY_SECONDS,
    TableBreaker,
    Target,
)
from services.shared import resource_names
from tests.loader import harness
from tests.loader.harness import RowTopics
from tests.loader.rows_made import REJECTS, batch, events, numbers
from tests.loader.write_server import Error, WriteServer

A, B, OLD = Target("a", "f"), Target("b", "f"), Target("a", "of old columns")


def test_a_target_is_suspended_once_it_failed_long_while_another_took_rows() -> None:
    breaker = TableBreaker()
    assert not breaker.fails(A, 0.0, held=0.9)
    breaker.works(B, 1.0)
    assert not breaker.fails(A, SECONDS - 1, held=0.9)
    assert breaker.takes(A, SECONDS - 1, held=0.9)
    assert breaker.fails(A, SECONDS, held=0.9)
    assert not breaker.takes(A, SECONDS + 1, held=0.9)
    assert breaker.takes(B, SECONDS + 1, held=0.9)
    assert breaker.suspended(SECONDS + 1) == {"a"}


def test_packs_of_a_suspended_target_are_held_while_there_is_room() -> None:
    breaker = TableBreaker()
    breaker.fails(A, 0.0, held=0.1)
    breaker.works(B, 1.0)
    assert not breaker.fails(A, SECONDS, held=0.1)
    assert breaker.is_suspended(A)
    assert all(breaker.takes(A, SECONDS + 1, held=0.1) for _ in range(3))
    assert not breaker.fails(A, SECONDS + 2, held=CROWDED - 0.01)
    assert breaker.fails(A, SECONDS + 2, held=CROWDED)


def test_older_packs_of_the_same_table_go_on() -> None:
    breaker = TableBreaker()
    breaker.fails(A, 0.0, held=0.9)
    breaker.works(OLD, 1.0)
    assert breaker.fails(A, SECONDS, held=0.9)  # another set of columns is reason enough to make room
    assert breaker.takes(OLD, SECONDS, held=0.9)
    assert not breaker.works(OLD, SECONDS)
    assert breaker.works(A, SECONDS)


def test_one_pack_at_a_time_tries_a_suspended_target_of_a_crowded_loader_until_it_works() -> None:
    breaker = TableBreaker()
    breaker.fails(A, 0.0, held=0.9)
    breaker.works(B, 1.0)
    breaker.fails(A, SECONDS, held=0.9)
    due = SECONDS + TRY_SECONDS
    tried = [breaker.takes(A, now, held=0.9) for now in (due - 1, due, due, due + TRY_SECONDS)]
    assert tried == [False, True, False, True]
    assert breaker.works(A, due + TRY_SECONDS)
    assert breaker.takes(A, due + TRY_SECONDS, held=0.9)
    assert not breaker.fails(A, due + TRY_SECONDS + 1, held=0.9)


def test_where_no_table_works_packs_are_held_and_little_goes_back_to_make_room() -> None:
    breaker = TableBreaker()
    breaker.works(B, 0.0)
    breaker.fails(B, 1.0, held=0.0)
    breaker.fails(A, 1.0, held=0.0)
    late = 1.0 + SECONDS
    assert not breaker.fails(A, late, held=0.99)
    assert [breaker.fails(target, late, held=1.0) for target in (A, A, B)] == [True, False, False]
    assert breaker.fails(B, late + SECONDS, held=1.0)
    assert not breaker.is_suspended(A)


def test_refused_columns_are_known_until_the_table_takes_them_or_nobody_sends_them() -> None:
    breaker = TableBreaker()
    breaker.fails(A, 0.0, held=0.0, columns=("total", "shop"))
    breaker.fails(B, 500.0, held=0.0, columns=("total",))
    assert breaker.refused(500.0) == {("a", "total"), ("a", "shop"), ("b", "total")}
    assert breaker.refused(FORGOTTEN_SECONDS) == {("b", "total")}  # no pack of A came again
    breaker.works(B, FORGOTTEN_SECONDS)
    assert not breaker.refused(FORGOTTEN_SECONDS)


def test_what_is_remembered_is_bounded() -> None:
    breaker = TableBreaker()
    for number in range(3 * REMEMBERED):
        breaker.works(Target("t", str(number)), 0.0)
        breaker.fails(Target("u", str(number)), number * FORGOTTEN_SECONDS, held=0.0, columns=(str(number),))
    assert len(breaker.refused(3 * REMEMBERED * FORGOTTEN_SECONDS - 1)) <= 1


@pytest.mark.slow
@pytest.mark.parametrize("code", [StatusCode.NOT_FOUND, StatusCode.PERMISSION_DENIED])
async def test_a_table_that_is_not_there_does_not_stall_the_others(
    bigquery: WriteServer, topics: RowTopics, project: str, monkeypatch: pytest.MonkeyPatch, code: StatusCode
) -> None:
    monkeypatch.setattr("services.loader.service.MAX_PACKS", 4)
    monkeypatch.setattr("services.loader.table_breaker.SECONDS", 0.3)
    monkeypatch.setattr("services.loader.table_breaker.TRY_SECONDS", 0.3)
    monkeypatch.setattr("services.loader.writer.LONGEST_WAIT", 0.1)
    bigquery.by_table["events_log"] = Error(code)
    for number in range(8):  # more than the loader holds: they arrive first and fill it
        topics.publish_rows(events(number, 1))
    async with harness.running(project) as loader:
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
    assert not topics.pull(resource_names.ROWS_SUBSCRIPTION)
