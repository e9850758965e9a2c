"""One pixel and its row, as `helm test` looks for them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.shared import identity
from tests import child
from tests.ops import schemas
from tests.ops.conftest import Pipeline


@pytest.fixture
def collector(pipeline: Pipeline, tmp_path: Path) -> Iterator[str]:
    """The address of a collector of the project."""
    settings = {
        "PIPE_PROJECT": pipeline.project,
        "PIPE_HOST": "127.0.0.1",
        "PIPE_PORT": "0",
        "PIPE_ADMIN_PORT": "0",
        "PIPE_DRAIN": "0",
        "PIPE_SPOOL": str(tmp_path / "spool"),
    }
    running = child.start_service("collector", {**pipeline.env, **settings})
    yield f"http://127.0.0.1:{running.ready['port']}"
    running.stop()
    running.log.unlink(missing_ok=True)


def test_a_pixel_that_arrives_is_a_success(pipeline: Pipeline, collector: str) -> None:
    with pipeline.services("processor", "loader"):
        before = time.time() * 1000
        done = pipeline.ops("smoke", "--url", collector, "--wait", "40").json
    assert (done["status"], done["table"], done["reason"]) == (200, "events", None)
    assert done["visible_after_s"] > 0
    made = identity.time_of(done["event_id"])
    assert made is not None and before <= made <= time.time() * 1000
    (row,) = pipeline.rows("SELECT event_id, user_id FROM pixelpipe.events")
    assert row == {"event_id": done["event_id"], "user_id": "smoke"}


def test_a_pixel_that_becomes_a_reject_is_none(pipeline: Pipeline, collector: str) -> None:
    with pipeline.services("processor", "loader"):
        done = pipeline.ops("smoke", "--url", collector, "--wait", "40", "--parameters", "n=many", code=1)
    assert (done.json["status"], done.json["table"]) == (200, "rejects")
    assert "wrong_type" in done.json["reason"] and "--parameters" in done.err


def test_a_pixel_that_does_not_arrive_in_time_is_none(pipeline: Pipeline, collector: str) -> None:
    done = pipeline.ops("smoke", "--url", collector, "--wait", "0.5", code=1)
    assert (done.json["status"], done.json["table"], done.json["visible_after_s"]) == (200, None, None)
    assert "not in BigQuery after 0.5 s" in done.err


def test_a_collector_that_is_not_there_is_said(pipeline: Pipeline, free_port: int) -> None:
    done = pipeline.ops("smoke", "--url", f"http://127.0.0.1:{free_port}", code=1)
    assert done.json["status"] is None
    assert f"no answer from http://127.0.0.1:{free_port}" in done.err


def test_another_path_than_a_collectors_is_said(pipeline: Pipeline, collector: str) -> None:
    done = pipeline.ops("smoke", "--url", f"{collector}/elsewhere", code=1)
    assert done.json["status"] == 404 and "answered 404" in done.err


def test_a_table_of_another_name_is_found_too(pipeline: Pipeline, collector: str) -> None:
    pipeline.provision(schemas.text().replace("  events:", "  visits:"))
    with pipeline.services("processor", "loader"):
        assert pipeline.ops("smoke", "--url", collector, "--wait", "40").json["table"] == "visits"
