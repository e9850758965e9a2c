"""The loader as its own process, started and ended as in production."""

from __future__ import annotations

import asyncio
from pathlib import Path

from services.shared import resource_names
from tests import process
from tests.bounds.rolling import pod
from tests.loader.harness import RowTopics
from tests.loader.rows_made import events, numbers
from tests.loader.write_server import WriteServer


async def test_nothing_is_lost_between_one_loader_and_the_next(
    bigquery: WriteServer, topics: RowTopics, project: str
) -> None:
    def publish(first: int) -> None:
        for number in range(first, first + 200, 20):
            topics.publish_rows(events(number, 20))

    def first() -> None:
        with pod("loader", project, PIPE_LINGER_SECONDS="0.01") as loader:
            publish(0)
            process.wait_for(lambda: bigquery.written, what="the first rows")
            publish(200)
            assert loader.process.stop() == 0, loader.process.output()

    def second() -> None:
        with pod("loader", project):
            process.wait_for(lambda: len({row["event_id"] for _, row in bigquery.written}) == 400, what="all rows")

    await asyncio.to_thread(first)
    await asyncio.to_thread(second)
    assert sorted(set(numbers(bigquery.rows("events_log")))) == list(range(400))
    assert not topics.pull(resource_names.ROWS_SUBSCRIPTION)


def test_wrong_settings_are_named_at_once() -> None:
    wrong = process.start(
        "services.loader", env={"PIPE_BATCH_BYTES": "10000001", "PIPE_LINGERS": "1"}, wait_ready=False
    )
    assert wrong.process.wait(30) == 2
    for text in ("PIPE_PROJECT is not set", "PIPE_BATCH_BYTES='10000001'", "did you mean PIPE_LINGER_SECONDS?"):
        assert text in wrong.output()
    wrong.log.unlink()


def test_a_schema_file_that_does_not_parse_is_named_with_its_line(tmp_path: Path, pubsub_host: str) -> None:
    file = tmp_path / "schema.yaml"
    file.write_text("tables:\n  events: 1\n")
    env = {"PIPE_PROJECT": "p", "PIPE_SCHEMA": str(file), "PUBSUB_EMULATOR_HOST": pubsub_host}
    wrong = process.start("services.loader", env=env, wait_ready=False)
    assert wrong.process.wait(30) == 2
    assert f"{file}:2:11:" in wrong.output()
    wrong.log.unlink()
