"""Credentials that cannot be renewed, or are refused, while the services run: an outage like any other, which heals."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from grpc import StatusCode

from services.shared import hit, identity, resource_names, rows
from services.shared.hit import Hit
from tests.credentials.process import Service, running
from tests.emulators.fault_client import Control
from tests.loader.rows_made import events, numbers
from tests.loader.write_server import OK, Abort, WriteServer
from tests.metadata_server import HTML, SILENT, WELL, MetadataServer
from tests.process import wait_for
from tests.topics import Topics

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]  # an outage takes a minute, and to heal may take another

GONE = "gone"
SHUTDOWN_SECONDS = 1
SHUTDOWN = {"PIPE_SHUTDOWN_TIMEOUT_SECONDS": str(SHUTDOWN_SECONDS)}
KILL_SECONDS = 10  # after the shutdown timeout, as the chart has it
# How the metadata server fails, and for how many seconds.
OUTAGES = [(SILENT, 3), (GONE, 3), (HTML, 3), (SILENT, 60)]


def publish_hits(topics: Topics, *users: str) -> None:
    """A pack for each."""
    for user in users:
        now = time.time_ns() // 1000
        made = Hit(id=identity.uuid7(now), at=now, method="GET", path="/i", query=f"user_id={user}")
        topics.publish(resource_names.HITS_TOPIC, *hit.pack([hit.encode(made)], identity.uuid7(now)))


def publish_rows(topics: Topics, *packs: int) -> None:
    """Ten rows each."""
    for number in packs:
        topics.publish(resource_names.ROWS_TOPIC, *rows.pack(events(number * 10, 10), "events", f"pack-{number}"))


def lose(metadata: MetadataServer, mode: str) -> None:
    if mode == GONE:
        metadata.stop()
    else:
        metadata.mode = mode


def regain(metadata: MetadataServer, mode: str) -> None:
    if mode == GONE:
        metadata.start()
    metadata.mode = WELL


def well(service: Service) -> None:
    assert service.process.process.poll() is None, service.process.output()
    assert service.get("/livez") == (200, "alive")
    assert service.get("/readyz")[0] == 200


def for_a_while(seconds: float, check: Callable[[], None]) -> None:
    """At least twice, and as long as the outage lasts."""
    end = time.monotonic() + seconds
    while True:
        check()
        if time.monotonic() > end:
            check()
            return
        time.sleep(0.1)


@pytest.mark.parametrize(("mode", "seconds"), OUTAGES)
def test_a_collector_spools_while_its_token_cannot_be_renewed(
    mode: str, seconds: float, pod: dict[str, str], metadata: MetadataServer, topics: Topics, tmp_path: Path
) -> None:
    metadata.start()
    with running(
        "collector", {**pod, "PIPE_SPOOL": str(tmp_path / "spool"), "PIPE_DRAIN_DELAY_SECONDS": "0"}
    ) as collector:
        collector.until_logged("listening")
        assert collector.hit() == 200
        topics.pull(resource_names.HITS_SUBSCRIPTION, wanted=1)
        statuses: list[int] = []
        began = time.monotonic()
        lose(metadata, mode)
        for_a_while(seconds, lambda: statuses.append(collector.hit()))
        well(collector)
        assert "hits go to the spool" in collector.process.output()
        lasted = time.monotonic() - began
        assert collector.process.output().count("AuthMetadataPluginCallback") <= 1 + lasted / 60  # gRPC's own line
        regain(metadata, mode)
        assert set(statuses) == {200}
        found: set[str] = set()  # what is published twice counts once

        def all_published() -> bool:
            for one in topics.pull(resource_names.HITS_SUBSCRIPTION):
                found.update(each.id for each in hit.unpack(one.data, dict(one.attributes)))
            return len(found) >= len(statuses)

        wait_for(all_published, 80, "the spool to be empty")
        assert len(found) == len(statuses)
        well(collector)
        assert collector.process.stop(timeout=60) == 0


@pytest.mark.parametrize(("mode", "seconds"), OUTAGES)
def test_a_processor_gives_back_and_takes_again_what_it_had_in_hand_and_stops_in_time_in_the_next_outage(
    mode: str, seconds: float, pod: dict[str, str], metadata: MetadataServer, topics: Topics, faults: Control
) -> None:
    metadata.start()
    with running("processor", {**pod, **SHUTDOWN, "PIPE_PUBLISH_TIMEOUT_SECONDS": "1"}) as processor:
        with faults.on("error", method="Publish", resource=f"*{topics.project}*{resource_names.ROWS_TOPIC}") as refused:
            publish_hits(topics, "1", "2", "3")
            wait_for(lambda: faults.struck(refused) >= 3, 80, "packs in hand")
            lose(metadata, mode)
        processor.until_logged("rows not confirmed")
        publish_hits(topics, "4")
        for_a_while(seconds, lambda: well(processor))
        regain(metadata, mode)
        found: set[str] = set()

        def all_arrived() -> bool:
            found.update(one.attributes["pack"] for one in topics.pull(resource_names.ROWS_SUBSCRIPTION))
            return len(found) == 4

        wait_for(all_arrived, 80, "the rows of all packs")
        well(processor)
        with faults.on("error", method="Publish", resource=f"*{topics.project}*{resource_names.ROWS_TOPIC}") as refused:
            publish_hits(topics, "5", "6")
            wait_for(lambda: faults.struck(refused) >= 2, 80, "packs in hand again")
            lose(metadata, mode)
        assert processor.process.stop(timeout=SHUTDOWN_SECONDS + KILL_SECONDS) == 0
    assert topics.pull(resource_names.DEAD_SUBSCRIPTION) == []


@pytest.mark.parametrize(("mode", "seconds"), OUTAGES)
async def test_a_loader_holds_the_rows_it_had_in_hand_and_stops_in_time_in_the_next_outage(
    mode: str,
    seconds: float,
    pod: dict[str, str],
    metadata: MetadataServer,
    topics: Topics,
    bigquery: WriteServer,
) -> None:
    bigquery.otherwise = Abort(StatusCode.INTERNAL)  # each append opens a call, which takes a token

    def load() -> None:
        metadata.start()
        with running("loader", {**pod, **SHUTDOWN, "PIPE_APPEND_TIMEOUT_SECONDS": "1"}) as loader:
            publish_rows(topics, 0, 1)
            wait_for(lambda: sum(rows for _, rows in bigquery.appends) >= 20, 80, "rows in hand")
            lose(metadata, mode)
            bigquery.otherwise = OK
            publish_rows(topics, 2)
            for_a_while(seconds, lambda: well(loader))
            regain(metadata, mode)
            loader.until_logged("appends work again")
            wait_for(lambda: len(set(numbers(bigquery.rows("events_log")))) == 30, 80, "all rows")
            well(loader)
            sent, bigquery.otherwise = len(bigquery.appends), Abort(StatusCode.INTERNAL)
            publish_rows(topics, 3)
            wait_for(lambda: len(bigquery.appends) > sent, 80, "rows in hand again")
            lose(metadata, mode)
            assert loader.process.stop(timeout=SHUTDOWN_SECONDS + KILL_SECONDS) == 0

    await asyncio.to_thread(load)
    assert topics.pull(resource_names.DEAD_SUBSCRIPTION) == []


def test_a_pull_stream_that_is_refused_is_opened_again(
    pod: dict[str, str], metadata: MetadataServer, topics: Topics, faults: Control
) -> None:
    metadata.start()
    with running("processor", pod) as processor:
        processor.until("/readyz", 200)
        for code in ("UNAUTHENTICATED", "UNAVAILABLE"):
            with faults.on("drop_stream"), faults.on("error", code=code) as refused:
                wait_for(lambda refused=refused: faults.struck(refused) >= 2, 80, f"two attempts, {code}")
                well(processor)
            publish_hits(topics, code)
            assert len(topics.pull(resource_names.ROWS_SUBSCRIPTION, wanted=1, timeout=80)) == 1
            well(processor)
