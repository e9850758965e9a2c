"""`load`: what it fires, when, how it measures, and that it finds each event again."""

from __future__ import annotations

import asyncio
import itertools
import math
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from google.api_core.client_options import ClientOptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery
from hypothesis import given
from hypothesis import strategies as st

from services.ops import load, load_events, load_fire
from services.ops.__main__ import main, parser
from services.ops.deployment import CommandRefused
from services.ops.latency import Latencies
from services.processor.enrich import user_agent
from services.shared import resource_names
from tests.ops import schemas
from tests.ops.conftest import Pipeline
from tests.process import ROOT, free_port

SHARES = {"native": 70.0, "segment": 20.0, "snowplow": 10.0}


@given(st.lists(st.floats(1e-5, 3_000), min_size=1, max_size=200), st.sampled_from([50, 90, 99, 99.9]))
def test_a_percentile_is_at_most_a_hundredth_above_what_was_measured(seconds: list[float], percent: float) -> None:
    found = Latencies()
    for one in seconds:
        found.add(one)
    exact = sorted(seconds)[math.ceil(len(seconds) * percent / 100) - 1]
    assert exact * 0.999_999 <= found.percentile(percent) <= exact * 1.010_001
    assert found.longest == max(seconds)


def test_without_a_measurement_there_are_no_percentiles() -> None:
    assert set(Latencies().milliseconds().values()) == {0.0}


@given(st.floats(0.5, 2_000), st.floats(0, 5), st.floats(0.1, 5))
def test_a_schedule_rises_evenly_and_then_keeps_the_rate(rate: float, ramp: float, more: float) -> None:
    due = list(load_fire.schedule(rate, ramp, ramp + more))
    assert due == sorted(due)
    assert abs(len(due) - rate * (ramp / 2 + more)) <= 1
    steady = [after - before for before, after in itertools.pairwise(at for at in due if at > ramp)]
    assert all(abs(one - 1 / rate) < 1e-6 for one in steady)
    half = sum(at < ramp / 2 for at in due)  # a quarter of what the ramp brings
    assert abs(half - rate * ramp / 8) <= 1


def test_events_are_of_the_mix_and_as_many_as_asked_for_are_bad() -> None:
    events = list(load_events.make(2_000, 0.1, 0.3, SHARES))
    kinds = Counter(event.protocol for event in events)
    assert 0.6 < kinds["native"] / 2_000 < 0.8 and kinds["segment"] and kinds["snowplow"]
    assert sum(event.bad for event in events) == 200
    assert {event.protocol for event in events if event.bad} == {"native", "segment"}
    assert len({event.id for event in events}) == 2_000
    assert {event.path for event in events} == {
        "/pixel.gif",
        "/events",
        "/v1/batch",
        "/com.snowplowanalytics.snowplow/tp2",
    }
    assert not any(event.bad for event in load_events.make(50, 1.0, 0, {"snowplow": 1.0}))


def test_the_user_agents_are_browsers() -> None:
    user_agent.load()
    read = [user_agent.read({"user-agent": one}, {}) for one in load_events.AGENTS]
    browsers = ["Chrome", "Chrome Mobile", "Mobile Safari", "Safari", "Firefox", "Edge"]
    assert [one.browser for one in read] == browsers


@asynccontextmanager
async def collector(stall: float = 0.0, status: int = 200) -> AsyncIterator[str]:
    """Answers at once, but the third request after `stall` seconds."""
    seen = itertools.count(1)

    async def answer(_: web.Request) -> web.Response:
        if next(seen) == 3:
            await asyncio.sleep(stall)
        return web.Response(status=status)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def test_a_stall_is_charged_to_all_that_waited_for_it() -> None:
    """With one connection only one request is slow; those due meanwhile were sent late, which must not hide it."""
    async with collector(stall=0.5) as url:
        due = load_fire.schedule(100, 0, 0.5)
        fired = await load_fire.fire(url, load_events.make(None, 0, 0), 1, due)
    assert len(fired.acknowledged) == 50
    assert fired.latencies.percentile(50) > 0.1 and fired.behind > 0.3


async def test_without_a_rate_only_the_slow_request_is_slow() -> None:
    async with collector(stall=0.3) as url:
        fired = await load_fire.fire(url, load_events.make(50, 0, 0), 1)
    assert fired.latencies.percentile(50) < 0.3 <= fired.latencies.longest
    assert fired.behind == 0


async def test_it_ends_after_its_seconds_and_measures_bytes() -> None:
    begin = time.monotonic()
    async with collector() as url:
        fired = await load_fire.fire(url, load_events.make(None, 0, 0), 2, seconds=1)
    assert fired.seconds >= 1 and time.monotonic() - begin < 60
    assert 400 < fired.event_bytes < 800
    assert fired.sent == len(fired.acknowledged) == fired.latencies.count


async def test_what_is_refused_is_counted_and_the_first_reason_kept() -> None:
    async with collector(status=503) as url:
        fired = await load_fire.fire(url, load_events.make(None, 0, 0), 4)
    assert fired.refused >= 200 and not fired.acknowledged and fired.failure == "answered 503"


def test_every_protocol_arrives_and_each_event_is_found_again(pipeline: Pipeline) -> None:
    somebody = "anonymous_id: {type: STRING, from: param.anonymous_id}"
    pipeline.provision(schemas.text(somebody, table="partition: day\nrequire_any: [user_id, anonymous_id]"))
    with pipeline.services("processor", "loader"), pipeline.collector() as url:
        said = pipeline.ops(
            *("load", "--url", url, "--project", pipeline.project, "--hits", "60", "--bad", "10", "--rate", "200"),
            *("--ramp", "0.1", "--mix", "native=1,segment=1,snowplow=1", "--connections", "8"),
        ).json
    assert (said["acknowledged"], said["refused"], said["lost"], said["duplicated"]) == (60, 0, 0, 0)
    assert (said["rows"], said["rejects"]) == (54, 6)
    assert 0 < said["latency_ms"]["p50"] <= said["latency_ms"]["p99.9"] <= said["latency_ms"]["max"]
    assert said["usd_a_million"] > 0 and said["hits_per_s"] == pytest.approx(60 / said["seconds"], rel=0.02, abs=1)


def test_nobody_there_and_nothing_to_look_in_are_one_line(
    pipeline: Pipeline, free_port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"http://127.0.0.1:{free_port}"
    assert main(["load", "--url", url, "--project", pipeline.project]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"load: {url} acknowledged none of ") and "Connect" in line
    assert main(["load", "--url", url, "--project", pipeline.project, "--dataset", "other"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("load: failed: ") and "other" in line
    assert main(["load", "--ramp", "3", "--project", pipeline.project]) == 2
    assert capsys.readouterr().err == "load: --ramp goes with --rate\n"


def test_ctrl_c_ends_the_wait_for_rows_that_do_not_come(pipeline: Pipeline) -> None:
    with pipeline.collector() as url:
        env = {**os.environ, **pipeline.env, "PIPE_PROJECT": pipeline.project}
        options = ("--url", url, "--hits", "1", "--bad", "0", "--wait", "600")
        command = [sys.executable, "-m", "services.ops", "load", *options]
        child = subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        pipeline.topics.pull(resource_names.HITS_SUBSCRIPTION, 1)
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=60)  # of ten minutes that it would wait
    assert (child.returncode, out, err) == (130, "", "")


async def test_a_bigquery_that_goes_away_is_waited_for_no_longer_than_told() -> None:
    """Its client alone would try again for ten minutes."""
    gone = ClientOptions(api_endpoint=f"http://127.0.0.1:{free_port()}")
    client = bigquery.Client("p1", credentials=AnonymousCredentials(), client_options=gone)
    options = parser(["load"]).parse_args(["load", "--project", "p1", "--wait", "0.5"])
    async with asyncio.timeout(30):
        with pytest.raises(CommandRefused, match=r"^1 were acknowledged, and BigQuery cannot be asked for them: "):
            await load._look(client, options, time.time(), {"1"}, load.LoadReport(1))
