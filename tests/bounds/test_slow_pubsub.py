"""A Pub/Sub that takes five seconds for a publish: replies do not wait for it, and the spool empties all the same."""

from __future__ import annotations

import asyncio
import http.client
import json
import time
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from services.shared import hit
from tests import process
from tests.process import wait_for
from tests.topics import Topics

DELAY, TIMEOUT = 5.0, 2.0  # seconds; far more than a busy machine keeps a reply waiting
ROUNDS = 60  # of hits, each a pack at least


@pytest.fixture
def slow_pubsub(monkeypatch: pytest.MonkeyPatch, project: str) -> Iterator[Topics]:
    with process.running("emulators.pubsub", "--port", "0", "--control-port", "0") as emulator:
        monkeypatch.setenv("PUBSUB_EMULATOR_HOST", f"127.0.0.1:{emulator.ready['grpc']}")
        topics = Topics(project)
        topics.create("hits", "work")
        control = http.client.HTTPConnection("127.0.0.1", emulator.ready["control"], timeout=10)
        control.request("POST", "/faults", json.dumps({"effect": "latency", "method": "Publish", "delay": DELAY}))
        answer = control.getresponse()
        assert answer.status < 300, answer.read()
        control.close()
        yield topics


async def _fire(url: str) -> list[tuple[int, float]]:
    """Status and seconds of each hit."""
    seen = []
    async with aiohttp.ClientSession() as http_client:

        async def one(number: int) -> None:
            started = time.perf_counter()
            async with http_client.get(f"{url}/i?n={number}") as reply:
                seen.append((reply.status, time.perf_counter() - started))

        for number in range(ROUNDS):
            await asyncio.gather(*(one(number * 4 + which) for which in range(4)))
    return seen


@pytest.mark.slow
async def test_replies_do_not_wait_for_a_slow_pubsub_and_none_is_refused(
    slow_pubsub: Topics, project: str, tmp_path: Path
) -> None:
    settings = {
        "PIPE_SHUTDOWN_TIMEOUT_SECONDS": "0",
        "PIPE_PUBLISH_TIMEOUT_SECONDS": str(TIMEOUT),
        "PIPE_SPOOL": str(tmp_path),
    }
    collector = await asyncio.to_thread(process.start_collector, project, **settings)
    try:
        seen = await _fire(f"http://127.0.0.1:{collector.ready['port']}")
        assert {status for status, _ in seen} == {200}
        assert max(seconds for _, seconds in seen) < DELAY  # nobody waited for Pub/Sub itself
        waited = sorted(seconds for _, seconds in seen)
        assert waited[len(waited) * 9 // 10] < waited[-1] / 2  # the timeout is paid once, by the first
        numbers: set[str] = set()

        def all_came() -> bool:
            for message in slow_pubsub.pull("work"):
                numbers.update(one.query for one in hit.unpack(message.data, dict(message.attributes)))
            return len(numbers) == ROUNDS * 4

        # One pack after the other would take five minutes.
        await asyncio.to_thread(wait_for, all_came, ROUNDS * DELAY / 4, "all hits, while Pub/Sub is slow")
    finally:
        collector.stop()
