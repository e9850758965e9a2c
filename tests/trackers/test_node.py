"""npm trackers for servers, run by Node."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
from pathlib import Path

import pytest

from tests.tools import require
from tests.trackers import expected, npm
from tests.trackers.expected import DATA, has
from tests.trackers.pipeline import Pipeline
from tests.trackers.proxy import Proxy

URL, TITLE, REFERRER = "https://shop.example/a?b=1", "Café 🙂", "https://news.example/a"


@pytest.fixture(scope="package")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    require("node", "apt-get install nodejs npm")
    into = tmp_path_factory.mktemp("node")
    npm.bundle(npm.SERVERS, into)
    return into


async def _run(script: Path, collector: str, user: str) -> dt.datetime:
    """When it was started; it has ended."""
    began = dt.datetime.now(dt.UTC)
    node = await asyncio.create_subprocess_exec(
        "node", script, collector, user, json.dumps(DATA), stderr=asyncio.subprocess.PIPE
    )
    _, said = await asyncio.wait_for(node.communicate(), 60)
    assert node.returncode == 0, said.decode()
    return began


@pytest.mark.parametrize("refusals", [0, 1])
async def test_segment(scripts: Path, pipeline: Pipeline, collector: Proxy, mark: str, refusals: int) -> None:
    collector.refuse(refusals)
    began = await _run(scripts / "segment.mjs", collector.url, mark)
    assert collector.refused == refusals
    rows = await pipeline.until(f"user_id = '{mark}'", has("identify", "order_completed", "page"), "events")
    assert len(rows) == 3
    row = expected.one(rows, "order_completed")
    assert (row["protocol"], row["anonymous_id"]) == ("segment", "device-1")
    assert (row["url"], row["title"], row["referrer"]) == (URL, TITLE, REFERRER)
    expected.check_properties(row, DATA)
    expected.check_properties(expected.one(rows, "identify"), {"plan": "pro"})
    expected.check_properties(expected.one(rows, "page"), {"name": "home"})
    for row in rows:
        expected.check_id(row, collector.said())
        expected.check_time(row, began, collector.said(), collector.first_at)
    assert await pipeline.rejects() == []


async def test_umami(scripts: Path, pipeline: Pipeline, collector: Proxy, mark: str) -> None:
    await _run(scripts / "umami.mjs", collector.url, mark)
    rows = await pipeline.until(f"user_id = '{mark}'", has("page", "order_completed"), "events")
    assert len(rows) == 2
    for row in rows:
        assert row["protocol"] == "umami"
        assert row["anonymous_id"].startswith("day-")
        assert (row["url"], row["title"], row["referrer"]) == (URL, TITLE, REFERRER)
    expected.check_properties(expected.one(rows, "order_completed"), DATA)
    assert await pipeline.rejects() == []


async def test_cloudevents(scripts: Path, pipeline: Pipeline, collector: Proxy, mark: str) -> None:
    began = await _run(scripts / "cloudevents.mjs", collector.url, mark)
    rows = await pipeline.until(f"user_id = '{mark}'", has("order_completed", "order_shipped"), "events")
    assert len(rows) == 2
    for row in rows:
        assert (row["protocol"], row["url"]) == ("cloudevents", URL)
        assert row["event_id"] == f"{URL}#{row['params']['id']}"
        assert json.dumps(row["params"]["properties"], sort_keys=True) == json.dumps(DATA, sort_keys=True)
        expected.check_time(row, began, sent_at=collector.sent[-1].at)
    assert await pipeline.rejects() == []
