"""A collector under load, as its own process on chosen cores, with what its metrics say of it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from unittest.mock import patch

from tests import admin, process
from tests.bench import cpu
from tests.process import ROOT, Child
from tests.topics import Topics

COLLECTOR = "services.collector"
PROJECT, TOPIC = "bench", "hits"
# Of how memory is allocated: what is measured runs with it, as it does in its image.
IMAGE_ENV = dict(
    re.findall(r"\b(MALLOC_ARENA_MAX|ARROW_DEFAULT_MEMORY_POOL)=(\w+)", (ROOT / "services/Dockerfile").read_text())
)
GOOD = frozenset({'kind="pixel",status="200"', 'kind="events",status="204"', 'kind="tracker",status="200"'})


@dataclass(frozen=True)
class Served:
    child: Child

    @property
    def pid(self) -> int:
        return self.child.process.pid

    @property
    def port(self) -> int:
        return int(self.child.ready["port"])

    def answered(self) -> float:
        """Hits and posts answered with 200 or 204 since it started; one that is refused is cost without gain."""
        replies = self.metrics()
        return sum(replies.get(f"pixelpipe_collector_http_responses_total{{{labels}}}", 0.0) for labels in GOOD)

    def metrics(self) -> dict[str, float]:
        """Every sample of the admin port, by its name and labels."""
        return admin.samples(self.child.ready["admin_port"])


def address(emulator: Child) -> str:
    return f"127.0.0.1:{emulator.ready['grpc']}"


@contextmanager
def pubsub(core: int) -> Iterator[Child]:
    """The emulator on a core. Its topic has no subscription, so it confirms what is published and keeps none of it."""
    with ExitStack() as stack:
        with cpu.on(core):
            emulator = stack.enter_context(process.running("emulators.pubsub", "--port", "0"))
        with patch.dict(os.environ, PUBSUB_EMULATOR_HOST=address(emulator)):
            Topics(PROJECT).create(TOPIC)
        yield emulator


@contextmanager
def collector(emulator: Child, *cores: int, module: str = COLLECTOR, **settings: str) -> Iterator[Served]:
    """A collector, or what stands for one; the settings are those of its README, without PIPE_, in lower case."""
    env = {
        **IMAGE_ENV,
        "PUBSUB_EMULATOR_HOST": address(emulator),
        "PIPE_PROJECT": PROJECT,
        "PIPE_HITS_TOPIC": TOPIC,
        "PIPE_HOST": "127.0.0.1",
        "PIPE_PORT": "0",
        "PIPE_ADMIN_PORT": "0",
        "PIPE_DRAIN_DELAY_SECONDS": "0",
        "PIPE_SHUTDOWN_TIMEOUT_SECONDS": "1",
        **{f"PIPE_{name.upper()}": value for name, value in settings.items()},
    }
    with cpu.on(*cores):
        started = process.start_listening(module, env)
    try:
        yield Served(started)
    finally:
        started.stop()
        started.log.unlink(missing_ok=True)
