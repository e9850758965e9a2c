from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import settings

from tests import process

# A busy machine is no reason to fail: pytest-timeout bounds what a test may take.
settings.register_profile("pixelpipe", deadline=None)
settings.load_profile("pixelpipe")


@dataclass(frozen=True)
class BigQueryAddress:
    rest: str  # http://127.0.0.1:PORT, for BIGQUERY_EMULATOR_HOST
    grpc: str  # 127.0.0.1:PORT, for BIGQUERY_STORAGE_EMULATOR_HOST


@pytest.fixture(scope="session")
def pubsub_host() -> Iterator[str]:
    """The Pub/Sub emulator as its own process, one a test session; tests keep apart by project id."""
    with process.running("emulators.pubsub", "--port", "0") as emulator:
        yield f"127.0.0.1:{emulator.ready['grpc']}"


@pytest.fixture(scope="session")
def bigquery_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BigQueryAddress]:
    """The BigQuery emulator as its own process, one a test session; tests keep apart by project id."""
    data: Path = tmp_path_factory.mktemp("bigquery") / "bigquery.duckdb"
    with process.running("emulators.bigquery", "--rest-port", "0", "--grpc-port", "0", "--data", str(data)) as emulator:
        ports = emulator.ready
        yield BigQueryAddress(f"http://127.0.0.1:{ports['rest']}", f"127.0.0.1:{ports['grpc']}")


@pytest.fixture
def project() -> str:
    """A project id no other test uses."""
    return f"test-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def free_port() -> int:
    return process.free_port()
