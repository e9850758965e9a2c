"""One append at a time over real gRPC: each kind of answer, and what is left in memory after it."""

from __future__ import annotations

import asyncio
import gc

import pytest
from google.cloud.bigquery_storage_v1.types import AppendRowsRequest
from grpc import StatusCode

from services.loader.write_api import MAX_STREAMS, AppendError, RowErrors, WriteApi
from tests.loader.rows_made import batch, event, events
from tests.loader.write_server import Abort, Close, Error, Hold, WriteServer
from tests.loader.write_server import RowErrors as BadRows
from tests.waiting import until

UNAVAILABLE, INVALID = StatusCode.UNAVAILABLE, StatusCode.INVALID_ARGUMENT


async def test_rows_go_out_over_one_connection_and_answers_find_their_append(bigquery: WriteServer) -> None:
    bigquery.script.extend(["ok", Error(INVALID), "ok", BadRows(lambda row: row["event_id"] == "event-000031")])
    async with WriteApi("p", "d", timeout=60) as api:
        answers = await asyncio.gather(
            *(api.append("t", events(number * 10, 2)) for number in range(5)), return_exceptions=True
        )
    assert [type(answer) for answer in answers] == [int, AppendError, int, RowErrors, int]
    assert answers[3].rows == {1: "row 1 is as bad as scripted"}
    assert [row["event_id"] for row in bigquery.rows("t")] == [
        f"event-{number:06}" for number in (0, 1, 20, 21, 40, 41)
    ]
    assert bigquery.calls == ["write_stream=projects/p/datasets/d/tables/t/streams/_default"]


@pytest.mark.parametrize(
    ("answer", "code", "transient"),
    [
        (Error(UNAVAILABLE), "UNAVAILABLE", True),
        (Abort(StatusCode.NOT_FOUND), "NOT_FOUND", True),
        (Close(), "UNAVAILABLE", True),
        (Hold(), "DEADLINE_EXCEEDED", True),
        (Error(INVALID), "INVALID_ARGUMENT", False),
        (Abort(StatusCode.FAILED_PRECONDITION), "FAILED_PRECONDITION", False),
    ],
)
async def test_a_failure_names_its_code_and_whether_to_try_again(
    bigquery: WriteServer, answer: object, code: str, transient: bool
) -> None:
    bigquery.script.append(answer)
    async with WriteApi("p", "d", timeout=3 if isinstance(answer, Hold) else 30) as api:
        with pytest.raises(AppendError) as failed:
            await api.append("t", events(0, 1))
        assert (failed.value.code, failed.value.transient) == (code, transient)
        assert await api.append("t", events(1, 1)) > 0
    assert [row["event_id"] for row in bigquery.rows("t")] == ["event-000001"]


async def test_a_connection_that_breaks_fails_all_its_appends(bigquery: WriteServer) -> None:
    bigquery.script.append(Abort(UNAVAILABLE))
    async with WriteApi("p", "d", timeout=60) as api:
        answers = await asyncio.gather(*(api.append("t", events(0, 1)) for _ in range(4)), return_exceptions=True)
    assert [type(answer) for answer in answers] == [AppendError] * 4
    assert {answer.code for answer in answers} <= {"UNAVAILABLE", "INTERNAL"}  # INTERNAL: it broke during a request
    assert all(answer.transient for answer in answers)


async def test_the_time_limit_holds_for_an_append_that_waits_for_a_connection(bigquery: WriteServer) -> None:
    bigquery.otherwise = Hold()
    clock = asyncio.get_running_loop().time
    took = []

    async def append(api: WriteApi) -> None:
        started = clock()
        with pytest.raises(AppendError):
            await api.append("t", events(0, 1))
        took.append(clock() - started)

    async with WriteApi("p", "d", timeout=3) as api:
        await asyncio.gather(*(append(api) for _ in range(MAX_STREAMS + 1)))
    assert max(took) < 1.7 * min(took)  # not one limit after another


async def test_leaving_fails_what_is_under_way(bigquery: WriteServer) -> None:
    bigquery.script.append(Hold())
    async with WriteApi("p", "d", timeout=60) as api:
        append = asyncio.create_task(api.append("t", events(0, 1)))
        await until(lambda: bigquery.appends, "the append")
    with pytest.raises(AppendError):
        await append


async def test_eight_megabytes_go_out_in_one_request(bigquery: WriteServer) -> None:
    wide = batch([event(number, url="x" * 80_000) for number in range(100)])
    async with WriteApi("p", "d", timeout=60) as api:
        assert await api.append("t", wide) > 8_000_000
    assert bigquery.appends == [("t", 100)]


@pytest.mark.parametrize("answer", [Error(UNAVAILABLE), Abort(UNAVAILABLE), Close(), Hold(), "away"])
async def test_failures_leave_no_requests_in_memory(bigquery: WriteServer, answer: object) -> None:
    """An outage goes on for hours, and the collector of cycles may not run once in it."""
    if answer == "away":
        await bigquery.stop()
    else:
        bigquery.otherwise = answer
    sent = events(0, 10)
    gc.collect()
    gc.disable()
    try:
        async with WriteApi("p", "d", timeout=0.05 if isinstance(answer, Hold) else 60) as api:
            for _ in range(10):
                with pytest.raises(AppendError):
                    await api.append("t", sent)
            left = [request for request in gc.get_objects() if type(request) is AppendRowsRequest]
            assert len(left) <= 2, left
    finally:
        gc.enable()
