from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from services.shared import resource_names
from tests import process
from tests.emulators.fault_client import Control
from tests.google_front import PUBSUB, STORAGE, google_front
from tests.loader.write_server import WriteServer
from tests.metadata_server import MetadataServer, metadata_server
from tests.process import Child
from tests.topics import Topics


@pytest.fixture(scope="session")
def emulator() -> Iterator[Child]:
    with process.running("emulators.pubsub", "--port", "0", "--control-port", "0") as emulator:
        yield emulator


@pytest.fixture(scope="session")
def pubsub_host(emulator: Child) -> str:
    return f"127.0.0.1:{emulator.ready['grpc']}"


@pytest.fixture
def faults(emulator: Child) -> Iterator[Control]:
    control = Control(emulator.ready["control"])
    yield control
    control.clear()


@pytest.fixture
async def bigquery() -> AsyncIterator[WriteServer]:
    async with WriteServer() as server:
        yield server


@pytest.fixture
def metadata() -> Iterator[MetadataServer]:
    with metadata_server() as server:
        yield server


@pytest.fixture
def topics(pubsub_host: str, project: str, monkeypatch: pytest.MonkeyPatch) -> Topics:
    """As provisioned, made without credentials."""
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", pubsub_host)
    topics = Topics(project)
    topics.create(resource_names.HITS_TOPIC, resource_names.HITS_SUBSCRIPTION)
    topics.create(resource_names.ROWS_TOPIC, resource_names.ROWS_SUBSCRIPTION)
    topics.create(resource_names.DEAD_TOPIC, resource_names.DEAD_SUBSCRIPTION)
    return topics


@pytest.fixture
def pod(
    topics: Topics, pubsub_host: str, bigquery: WriteServer, metadata: MetadataServer, tmp_path: Path
) -> Iterator[dict[str, str]]:
    """The environment of a service as in a pod: Google by its real names, credentials from the metadata server."""
    with google_front(tmp_path, {PUBSUB: pubsub_host, STORAGE: bigquery.address}) as front:
        yield {
            **front,
            **metadata.env,
            "PUBSUB_EMULATOR_HOST": "",
            "BIGQUERY_STORAGE_EMULATOR_HOST": "",
            "PIPE_PROJECT": topics.project,
            "PIPE_HOST": "127.0.0.1",
        }
