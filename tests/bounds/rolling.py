"""Processors and loaders as processes of their own, which a test starts and ends one by one."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from services.shared import hit, identity, resource_names
from services.shared.hit import Hit
from tests import admin, process
from tests.process import Child, free_port, wait_for
from tests.schemas import SCHEMA_FILE
from tests.topics import Topics


@dataclass
class Pod:
    """A service that is ready, and what its admin port says."""

    name: str
    process: Child
    port: int

    def metric(self, name: str) -> float:
        """Summed over its labels."""
        return admin.metrics(self.port).get(f"pixelpipe_{self.name}_{name}", 0.0)


@contextmanager
def pod(name: str, project: str, **settings: str) -> Iterator[Pod]:
    """The Google clients' addresses come from this process's environment."""
    port = free_port()
    env = {
        "PIPE_PROJECT": project,
        "PIPE_HOST": "127.0.0.1",
        "PIPE_ADMIN_PORT": str(port),
        "PIPE_SCHEMA": str(SCHEMA_FILE),
    }
    started = process.start(f"services.{name}", env={**env, **settings}, wait_ready=False)

    def ready() -> bool:
        assert started.process.poll() is None, started.output()
        return admin.ready(port)

    try:
        wait_for(ready, 60, f"the {name} to be ready")
        yield Pod(name, started, port)
    finally:
        started.stop(timeout=60)
        started.log.unlink()


class Pipe(Topics):
    """Topics and subscriptions as provisioned, but for a short ack deadline."""

    def __init__(self, project: str) -> None:
        super().__init__(project)
        self.create(resource_names.DEAD_TOPIC)
        for topic, subscription in (
            (resource_names.HITS_TOPIC, resource_names.HITS_SUBSCRIPTION),
            (resource_names.ROWS_TOPIC, resource_names.ROWS_SUBSCRIPTION),
        ):
            self.create(topic)
            self.subscribe(topic, subscription, backoff=1, deadline=10, dead=resource_names.DEAD_TOPIC)

    def publish_hits(self, users: list[str]) -> None:
        now = time.time_ns() // 1000
        made = [Hit(id=identity.uuid7(now), at=now, method="GET", path="/i", query=f"user_id={user}") for user in users]
        self.publish(resource_names.HITS_TOPIC, *hit.pack([hit.encode(one) for one in made], identity.uuid7(now)))
