"""The same collector, publishing each event by itself: `python -m tests.bench.per_event`.

What a team writes first: the official `PublisherClient`, `publish()` once an event with the batching it comes with, and
a reply when its future is done. Everything before that is the collector's own code.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from google.cloud import pubsub_v1
from prometheus_client import CollectorRegistry

from services.collector.app import App
from services.collector.config import Config
from services.collector.metrics import Metrics
from services.collector.outbox import OnSettled, Reservation
from services.collector.service import serving
from services.collector.tally_counter import TallyCounter
from services.shared import lifecycle, log, schema_file
from services.shared.admin import Admin
from services.shared.background import Background
from services.shared.resource_names import topic_path


class PerEvent:
    """Where the outbox would be."""

    def __init__(self, cfg: Config) -> None:
        self._client = pubsub_v1.PublisherClient()
        self._topic = topic_path(cfg.project, cfg.hits_topic)
        self.tallies = TallyCounter()

    def take_one(self, line: bytes, on_settled: OnSettled | None, _label: object = None) -> None:
        published = asyncio.wrap_future(self._client.publish(self._topic, line))
        if on_settled is not None:
            published.add_done_callback(lambda done: on_settled(done.exception()))

    async def put(self, lines: Sequence[bytes], _trace: object = None, _labels: object = None) -> None:
        await asyncio.gather(*[asyncio.wrap_future(self._client.publish(self._topic, line)) for line in lines])

    @contextmanager
    def reserve(self) -> Iterator[Reservation]:
        yield Reservation(self)

    def take_room(self, size: int) -> None:
        """There is no bound."""


async def run(cfg: Config, stop: asyncio.Event) -> None:
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    app = App(cfg, schema_file.load(cfg.schema), PerEvent(cfg), metrics)
    async with (
        Background() as background,
        Admin(cfg.host, cfg.admin_port, registry, background) as admin,
        serving(cfg, app, metrics, background) as port,
    ):
        log.get("per_event").info("listening", port=port, admin_port=admin.port)
        await stop.wait()


if __name__ == "__main__":
    lifecycle.main("per_event", Config, run)
