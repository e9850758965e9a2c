"""A tenant over its rate does not slow another, nor costs it a hit."""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp
import pytest

from services.shared import hit
from tests import process, tenants
from tests.process import ROOT
from tests.tenants import hashed
from tests.topics import Topics

LIST = f"""\
  limited: drop
  list:
    loud: {{keys: [{hashed("loud")}], rate: 20, burst: 20}}
    polite: {{keys: [{hashed("polite")}], rate: 1000}}
"""
CLIENTS, EACH, ROUNDS = 32, 10, 5
LINGER = "0.2"  # most of a reply's time is ours, not the turns that a busy machine gives
MOST = 2.0  # times the p99 that it has alone


async def _client(url: str, name: str, took: list[float]) -> None:
    """A polite tenant's pixels and posts in turn, none of them refused."""
    async with aiohttp.ClientSession() as http:
        for number in range(EACH):
            began = time.perf_counter()
            order = f"{name}-{number}"
            if number % 2:
                request = http.post(f"{url}/events?write_key=polite", json={"order_id": order})
            else:
                request = http.get(f"{url}/i?write_key=polite&order_id={order}")
            async with request as reply:
                assert reply.status in (200, 204)
            took.append(time.perf_counter() - began)


async def _p99(url: str, name: str) -> float:
    took: list[float] = []
    await asyncio.gather(*(_client(url, f"{name}-{number}", took) for number in range(CLIENTS)))
    return sorted(took)[int(len(took) * 0.99)]


@contextmanager
def _flood(port: int, statuses: Counter[str]) -> Iterator[None]:
    command = [sys.executable, "-m", "tests.bounds.flood", str(port), "loud"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as flooding:
        assert flooding.stdout is not None and flooding.stdin is not None
        try:
            assert json.loads(flooding.stdout.readline()) == {"flooding": True}
            yield
        finally:
            flooding.stdin.close()
            statuses.update(json.loads(flooding.stdout.read() or b"{}"))


@pytest.mark.slow
async def test_a_flood_of_one_tenant_does_not_slow_another(
    pubsub_host: str, project: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", pubsub_host)
    topics = Topics(project)
    topics.create("hits", "work")
    schema = str(tenants.file(tmp_path, LIST))
    collector = process.start_collector(
        project, PIPE_SCHEMA=schema, PIPE_LINGER_SECONDS=LINGER, PIPE_PUBLISH_TIMEOUT_SECONDS="20"
    )
    statuses: Counter[str] = Counter()
    try:
        port = collector.ready["port"]
        url = f"http://127.0.0.1:{port}"
        await _p99(url, "before")  # connections, caches
        ratios = []
        for number in range(ROUNDS):  # one right after the other: whatever else this machine does comes and goes
            alone = await _p99(url, f"alone{number}")
            with _flood(port, statuses):
                ratios.append(await _p99(url, f"beside{number}") / alone)
    finally:
        collector.stop()
        collector.log.unlink()
    hits = [one for message in topics.pull("work") for one in hit.unpack(message.data, dict(message.attributes))]
    polite = [one for one in hits if one.tenant == "polite"]
    loud = [one for one in hits if one.tenant == "loud"]
    assert len(polite) == len(hits) - len(loud) == (1 + 2 * ROUNDS) * CLIENTS * EACH
    assert not any(one.limited for one in polite)
    # It was a flood: many times what was let through.
    assert statuses["429"] + statuses["200"] > 10 * len(loud), (statuses, len(loud))
    assert statistics.median(ratios) < MOST, f"p99 beside a flood, times that alone: {ratios}; {statuses}"
