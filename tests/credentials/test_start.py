"""Pods start before their metadata server answers, or while it answers wrongly: nobody crashes, and all heals."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from services.shared import resource_names
from tests import process
from tests.credentials.process import Service, running
from tests.metadata_server import ERROR, HTML, NO_TOKEN, SILENT, WELL, MetadataServer
from tests.topics import Topics

AWAITED = "waiting for credentials"


def test_a_collector_serves_and_spools_and_publishes_once_credentials_come(
    pod: dict[str, str], metadata: MetadataServer, topics: Topics, tmp_path: Path
) -> None:
    with running(
        "collector", {**pod, "PIPE_SPOOL": str(tmp_path / "spool"), "PIPE_DRAIN_DELAY_SECONDS": "0"}
    ) as collector:
        collector.until("/readyz", 200)
        assert [collector.hit() for _ in range(3)] == [200] * 3
        collector.until_logged(f'"message":"{AWAITED}"')
        metadata.start()
        collector.until_logged("credentials found")
        assert collector.get("/livez") == (200, "alive")
        messages = topics.pull(resource_names.HITS_SUBSCRIPTION, wanted=3)
        assert [message.attributes["count"] for message in messages] == ["1"] * 3
        assert collector.lines(AWAITED) == collector.lines("credentials found") == 1
        assert collector.process.stop(timeout=60) == 0


def test_a_collector_without_a_spool_refuses_until_credentials_come(
    pod: dict[str, str], metadata: MetadataServer, topics: Topics
) -> None:
    with running(
        "collector", {**pod, "PIPE_DRAIN_DELAY_SECONDS": "0", "PIPE_PUBLISH_TIMEOUT_SECONDS": "20"}
    ) as collector:
        collector.until("/readyz", 503, AWAITED)
        assert collector.hit() == 503
        metadata.start()
        collector.until("/readyz", 200)
        assert collector.hit() == 200
    assert len(topics.pull(resource_names.HITS_SUBSCRIPTION, wanted=1)) == 1


def test_a_loader_waits_alive_and_not_ready(pod: dict[str, str], metadata: MetadataServer) -> None:
    with running("loader", pod) as loader:
        loader.until("/readyz", 503, AWAITED)
        loader.until_logged(f'"message":"{AWAITED}"')
        assert loader.get("/livez") == (200, "alive")
        metadata.start()
        found_once(loader)


def found_once(service: Service) -> None:
    service.until("/readyz", 200)
    assert service.lines(AWAITED) == service.lines("credentials found") == 1
    assert "Traceback" not in service.process.output()
    assert service.process.stop(timeout=60) == 0


@pytest.mark.slow
def test_a_processor_waits_and_asks_again_whatever_the_metadata_server_answers(
    pod: dict[str, str], metadata: MetadataServer
) -> None:
    with running("processor", pod) as processor:
        processor.until("/readyz", 503, AWAITED)
        metadata.mode = ERROR
        metadata.start()
        for mode in (ERROR, HTML, NO_TOKEN, SILENT):
            metadata.mode, before = mode, len(metadata.asked)
            process.wait_for(
                lambda before=before: len(metadata.asked) > before + 1, what=f"questions while {mode}", timeout=60
            )
            processor.until("/readyz", 503, AWAITED)
            assert processor.get("/livez") == (200, "alive")
        metadata.mode = WELL
        found_once(processor)


def test_a_service_that_waits_for_a_silent_metadata_server_stops_at_once(
    pod: dict[str, str], metadata: MetadataServer
) -> None:
    metadata.mode = SILENT
    metadata.start()
    with running("loader", pod) as loader:
        process.wait_for(lambda: metadata.asked, what="the first question")
        began = time.monotonic()
        assert loader.process.stop() == 0
        assert time.monotonic() - began < 20


def test_a_credentials_file_that_cannot_be_used_ends_a_service_with_one_line(
    pod: dict[str, str], tmp_path: Path
) -> None:
    env = {**pod, "GOOGLE_APPLICATION_CREDENTIALS": str(tmp_path / "key.json"), "PIPE_ADMIN_PORT": "0"}
    wrong = process.start("services.processor", env=env, wait_ready=False)
    assert wrong.process.wait(60) == 2
    *_, last = wrong.output().splitlines()
    assert last.startswith(
        f"GOOGLE_APPLICATION_CREDENTIALS='{tmp_path}/key.json': File {tmp_path}/key.json was not found"
    )
    assert "Traceback" not in wrong.output()
    wrong.log.unlink()
