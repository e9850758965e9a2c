"""Several collectors on one port: real processes, and the kernel deals them new connections."""

from __future__ import annotations

import urllib.request
from collections.abc import Callable, Iterator

import pytest

from tests import admin, process
from tests.process import Child, wait_for
from tests.topics import Topics

Start = Callable[..., Child]


@pytest.fixture
def start(pubsub_host: str, project: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", pubsub_host)
    Topics(project).create("hits")
    started: list[Child] = []

    def go(**settings: str) -> Child:
        env = {
            "PIPE_PROJECT": project,
            "PIPE_HITS_TOPIC": "hits",
            "PIPE_HOST": "127.0.0.1",
            "PIPE_PORT": "0",
            "PIPE_ADMIN_PORT": "0",
            "PIPE_DRAIN_DELAY_SECONDS": "0",
            **settings,
        }
        started.append(process.start_service("collector", env))
        return started[-1]

    yield go
    for one in started:
        one.stop()
        one.log.unlink(missing_ok=True)


def _hits(one: Child) -> float:
    return admin.metrics(one.ready["admin_port"]).get("pixelpipe_collector_hits_total", 0.0)


def test_two_collectors_serve_one_port_and_one_goes_on_when_the_other_ends(start: Start) -> None:
    first = start(PIPE_REUSE_PORT="true")
    port = first.ready["port"]
    second = start(PIPE_REUSE_PORT="true", PIPE_PORT=str(port))
    sent = 0

    def hit() -> None:
        nonlocal sent
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/i", timeout=30) as reply:  # a connection of its own
            assert reply.status == 200
        sent += 1

    def both_served() -> bool:
        hit()
        return min(_hits(first), _hits(second)) > 0

    wait_for(both_served, 60, "a hit at each collector")
    assert _hits(first) + _hits(second) == sent
    assert first.stop() == 0
    before = _hits(second)
    for _ in range(5):
        hit()
    assert _hits(second) == before + 5


def test_without_the_setting_a_port_is_one_collectors(start: Start) -> None:
    port = start().ready["port"]
    with pytest.raises(AssertionError, match="Address already in use"):
        start(PIPE_PORT=str(port), PIPE_REUSE_PORT="true")
