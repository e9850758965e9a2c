"""SIGTERM under load: another pod takes over, nothing is lost, and next to nothing is delivered or written twice."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from contextlib import ExitStack

import pytest

from tests.bounds.rolling import Pipe, pod
from tests.loader import harness
from tests.loader.write_server import WriteServer
from tests.process import wait_for

HITS = 20  # in a pack
PACKS = 50.0  # a second


class Load:
    """Packs of hits at a steady rate, in a thread."""

    def __init__(self, pipe: Pipe) -> None:
        self._pipe, self._stop = pipe, threading.Event()
        self.users: list[str] = []
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        begin = time.monotonic()
        while not self._stop.wait(max(0.0, begin + len(self.users) / HITS / PACKS - time.monotonic())):
            users = [f"user-{len(self.users) + number}" for number in range(HITS)]
            self._pipe.publish_hits(users)
            self.users += users

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()


def _users(bigquery: WriteServer) -> list[str]:
    """Of the events written; receipts have none."""
    return [row["user_id"] for _, row in bigquery.written if "user_id" in row]


def _roll(project: str, bigquery: WriteServer) -> tuple[list[str], dict[str, float]]:
    """The users sent while each service is replaced, and how many messages came to the new ones a second time."""
    pipe = Pipe(project)
    with ExitStack() as stack:
        old = [stack.enter_context(pod(name, project)) for name in ("processor", "loader")]
        load = Load(pipe)
        stack.callback(load.stop)
        wait_for(lambda: len(bigquery.written) > 500, what="the first rows")
        new = [stack.enter_context(pod(name, project)) for name in ("processor", "loader")]
        for one in old:
            sent = len(load.users)
            assert one.process.stop(timeout=60) == 0, one.process.output()
            wait_for(lambda sent=sent: len(load.users) > sent + 500, what="more load")
        load.stop()
        wait_for(lambda: len(set(_users(bigquery))) >= len(load.users), 90, "all rows")
        again = {
            one.name: one.metric(f"{prefix}redelivered_total")
            for one, prefix in zip(new, ("", "messages_"), strict=True)
        }
        return load.users, again


@pytest.mark.slow
async def test_a_rolling_restart_under_load_loses_nothing_and_repeats_next_to_nothing(
    pubsub_host: str, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with WriteServer() as bigquery:
        harness.point(monkeypatch, pubsub_host, bigquery.address)
        users, again = await asyncio.to_thread(_roll, project, bigquery)
    written = Counter(_users(bigquery))
    assert set(written) == set(users)
    assert written.total() - len(written) <= len(users) / 100
    packs = len(users) / HITS
    assert max(again.values()) <= packs / 100, again
