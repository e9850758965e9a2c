"""`python -m services.ops smoke`: on a pipeline that works, and on one of which a part does not."""

from __future__ import annotations

import time
from typing import Any

import pytest

from services.ops import smoke
from services.shared import identity, schema_file
from tests.ops import schemas
from tests.ops.conftest import Pipeline


def failed(pipeline: Pipeline, *arguments: str) -> dict[str, Any]:
    """The outcome of a smoke test that fails, and nothing beside it."""
    done = pipeline.ops("smoke", *arguments, code=1)
    outcome: dict[str, Any] = done.json
    assert done.err == ""
    assert outcome["failed"] and outcome["reason"]
    assert outcome["visible_after_s"] is None
    return outcome


def test_a_pixel_becomes_a_row(pipeline: Pipeline) -> None:
    before = time.time() * 1000
    with pipeline.collector() as url, pipeline.services("processor", "loader"):
        outcome = pipeline.ops("smoke", "--url", f"{url}/").json
    assert set(outcome) == {"event_id", "acknowledged", "visible_after_s"}
    assert outcome["acknowledged"] is True
    assert 0 <= outcome["visible_after_s"] <= 90  # the wait, and one more look
    made = identity.time_of(outcome["event_id"])
    assert made is not None and before - 1 <= made <= time.time() * 1000
    (row,) = pipeline.rows("SELECT event_id, user_id FROM pixelpipe.events")
    assert row == {"event_id": outcome["event_id"], "user_id": "smoke"}


def test_a_collector_that_is_not_there_is_named(pipeline: Pipeline, free_port: int) -> None:
    outcome = failed(pipeline, "--url", f"http://127.0.0.1:{free_port}")
    assert (outcome["failed"], outcome["acknowledged"]) == ("collector", False)
    assert "no answer: " in outcome["reason"]


def test_a_collector_that_refuses_is_named(bare: Pipeline) -> None:
    bare.file.write_text(schemas.text())
    with bare.collector() as url:  # there is no topic
        outcome = failed(bare, "--url", url)
    assert (outcome["failed"], outcome["acknowledged"]) == ("collector", False)
    assert "refused with 503; Pub/Sub does not confirm" in outcome["reason"]


def test_an_event_that_becomes_a_reject_is_told_with_its_reason(pipeline: Pipeline) -> None:
    with pipeline.collector() as url, pipeline.services("processor", "loader"):
        outcome = failed(pipeline, "--url", url, "--query", "user_id=smoke&n=many")
    assert (outcome["failed"], outcome["acknowledged"]) == ("rejects", True)
    assert "wrong_type" in outcome["reason"]
    (row,) = pipeline.rows("SELECT event_id FROM pixelpipe.rejects")
    assert row["event_id"] == outcome["event_id"]


def test_a_row_that_does_not_come_is_missed_after_the_wait(pipeline: Pipeline) -> None:
    with pipeline.collector() as url, pipeline.services("processor"):
        outcome = failed(pipeline, "--url", url, "--wait", "1")
    assert (outcome["failed"], outcome["acknowledged"]) == ("row", True)
    assert "dead list" in outcome["reason"]


def test_views_that_are_not_there_are_named_at_once(pipeline: Pipeline) -> None:
    with pipeline.collector() as url:
        outcome = failed(pipeline, "--url", url, "--dataset", "elsewhere", "--wait", "3600")
    assert (outcome["failed"], outcome["acknowledged"]) == ("view", True)
    assert "elsewhere" in outcome["reason"]


def test_every_table_is_looked_through_and_only_three_days_of_it(pipeline: Pipeline) -> None:
    pipeline.provision(schemas.text(table="partition: day\nrequire_partition_filter: true"))
    sql = smoke.look(schema_file.load(pipeline.file), f"{pipeline.project}.pixelpipe")
    assert sql.count("`day` BETWEEN @first AND @last AND `event_id` = @event_id") == 2
    assert [f"`{pipeline.project}.pixelpipe.{name}`" in sql for name in ("events", "rejects")] == [True, True]


def test_a_schema_file_that_is_wrong_fires_nothing(pipeline: Pipeline, free_port: int) -> None:
    pipeline.file.write_text("tables: []")
    done = pipeline.ops("smoke", "--url", f"http://127.0.0.1:{free_port}", code=2)
    assert done.out == ""
    assert done.err.startswith("smoke: ") and "collector" not in done.err


@pytest.mark.parametrize("url", ["127.0.0.1:8080", "collector"])
def test_an_address_that_is_none_is_a_wrong_option(pipeline: Pipeline, url: str) -> None:
    done = pipeline.ops("smoke", "--url", url, code=2)
    assert f"argument --url: '{url}': use a URL" in done.err


def test_a_row_that_is_not_there_may_be_one_that_a_sample_leaves_out(pipeline: Pipeline) -> None:
    pipeline.file.write_text(schemas.text(table="partition: day\nsample: 0.001"))
    with pipeline.collector() as url:
        outcome = failed(pipeline, "--url", url, "--wait", "0")
    assert outcome["failed"] == "row"
    assert outcome["reason"].endswith("; or a `sample` leaves its user out: try another by --query")
