"""One pack is one trace, from the request to the append, through the services as `make run` starts them."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import aiohttp
import pytest

from tests import otlp
from tests.e2e.conftest import Stack, start_stack
from tests.otlp import Receiver
from tests.process import free_port, wait_for

SERVICES = ("collector", "processor", "loader")
AWAY = "traces cannot be sent and are dropped"
SAMPLED = "00-{trace}-00f067aa0ba902b7-01"


@dataclass(frozen=True)
class Traced:
    stack: Stack
    receiver: Receiver


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Traced]:
    """The pipeline with a receiver of traces, in which only requests begin them."""
    with otlp.receiving() as receiver, pytest.MonkeyPatch.context() as patch:
        patch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
        patch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
        patch.setenv("OTEL_TRACES_SAMPLER", "parentbased_always_off")
        patch.setenv("PIPE_TRACE_REQUESTS", "true")
        patch.setenv("PIPE_LINGER_SECONDS", "0.3")  # so that it is seen from when on a pack's time counts
        stack = start_stack(tmp_path_factory.mktemp("traced"))
        yield Traced(stack, receiver)
        assert stack.stop() == 0, stack.process.output()


async def _get(url: str, *headers: str) -> None:
    async with (
        aiohttp.ClientSession() as http,
        http.get(url, headers=[("traceparent", header) for header in headers]) as reply,
    ):
        assert reply.status == 200


async def test_a_sampled_request_is_one_trace_of_all_three_services(traced: Traced) -> None:
    trace, user = uuid.uuid4().hex, uuid.uuid4().hex
    await _get(f"{traced.stack.collector}/i?user_id={user}", SAMPLED.format(trace=trace))
    traced.stack.rows(f"SELECT user_id FROM pixelpipe.events WHERE user_id = '{user}'")
    found = traced.receiver.wait(trace, "collect", "process", "parse", "publish", "load", "append")
    assert {name: (span.service, span.parent) for name, span in found.items()} == {
        "collect": ("pixelpipe-collector", "00f067aa0ba902b7"),
        "process": ("pixelpipe-processor", found["collect"].id),
        "parse": ("pixelpipe-processor", found["process"].id),
        "publish": ("pixelpipe-processor", found["process"].id),
        "load": ("pixelpipe-loader", found["publish"].id),
        "append": ("pixelpipe-loader", found["load"].id),
    }
    assert not [span for span in found.values() if span.failed]
    assert found["collect"].attributes["pixelpipe.pack"] == found["process"].attributes["pixelpipe.pack"]
    assert found["append"].attributes["pixelpipe.table"] == "events"
    assert 0.3 <= found["collect"].seconds < 60  # from the pack's first hit on


async def test_a_request_that_is_not_sampled_is_no_trace(traced: Traced) -> None:
    plain, sampled, user = uuid.uuid4().hex, uuid.uuid4().hex, uuid.uuid4().hex
    for header in (SAMPLED.format(trace=plain)[:-1] + "0", "garbage", SAMPLED.format(trace=sampled)):
        await _get(f"{traced.stack.collector}/i?user_id={user}", header)
    traced.stack.rows(f"SELECT user_id FROM pixelpipe.events WHERE user_id = '{user}'", wanted=3)
    traced.receiver.wait(sampled, "collect", "process", "load", "append")  # the last: the others' would have come
    assert not traced.receiver.of(plain)


@pytest.mark.slow
async def test_without_a_receiver_every_hit_is_a_row_and_the_log_says_it_once_a_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    stack = start_stack(tmp_path)
    try:
        for number in range(20):
            await _get(f"{stack.collector}/i?user_id=u{number}", SAMPLED.format(trace=uuid.uuid4().hex))
        rows = stack.rows("SELECT user_id FROM pixelpipe.events", wanted=20)
        assert {row["user_id"] for row in rows} == {f"u{number}" for number in range(20)}
        for service in SERVICES:
            log = tmp_path / "logs" / f"{service}.log"
            await asyncio.to_thread(wait_for, partial(_says, log), 30, f"{service} to say that traces are dropped")
    finally:
        assert stack.stop() == 0, stack.process.output()
    for service in SERVICES:
        lines = [json.loads(line) for line in (tmp_path / "logs" / f"{service}.log").read_text().splitlines()]
        assert [line["message"] for line in lines if line["message"] == AWAY] == [AWAY], service


def _says(log: Path) -> bool:
    return AWAY in log.read_text()
