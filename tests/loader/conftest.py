from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.loader import harness
from tests.loader.write_server import WriteServer


@pytest.fixture
async def bigquery(monkeypatch: pytest.MonkeyPatch, pubsub_host: str) -> AsyncIterator[WriteServer]:
    """A BigQuery that answers as the test says; the Google clients of this process use it and the Pub/Sub emulator."""
    async with WriteServer() as server:
        harness.point(monkeypatch, pubsub_host, server.address)
        yield server


@pytest.fixture
def topics(bigquery: WriteServer, project: str) -> Iterator[harness.RowTopics]:
    made = harness.RowTopics(project)
    yield made
    made.close()
