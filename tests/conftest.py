from __future__ import annotations

import atexit
import gc
import os
import signal
import socket
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import structlog
from hypothesis import settings

from tests import forks, google_differences, process

# What a shell starts in the background ignores Ctrl-C, and what nohup starts a hangup: so would every process of the
# tests. A handler is not inherited.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, lambda _number, _frame: None)

# The processes that tests start see no package that no image has: Google's clients would import pandas and NumPy, which
# are here for the tests of the emulators' clients, and take half a second of the CPU for it.
os.environ["PYTHONPATH"] = os.pathsep.join(
    path for path in (str(Path(__file__).with_name("unshipped")), os.environ.get("PYTHONPATH")) if path
)

forks.on = True

# A logger that kept the configuration of its first use would not be heard by `capture_logs` after another test had
# configured structlog anew, as each command of an operator does.
_configure = structlog.configure
structlog.configure = lambda **settings: _configure(**{**settings, "cache_logger_on_first_use": False})

# As .ci/run sets it.
IN_CI = os.environ.get("REQUIRE_TOOLS") == "1"

# HOST:PORT of Google's own Pub/Sub emulator, for `make test-google`.
GOOGLE = os.environ.get("PUBSUB_EMULATOR", "")

# Tests that share what takes seconds to start or render: a stack, a browser, the chart. With `--dist loadgroup` those
# of one line run in one worker. They come before all others, those that take the longest first.
TOGETHER = (
    "tests/provision/test_analyst_views.py",
    "tests/observability/test_live_alerts.py",
    "tests/chaos/",
    # Minutes of waiting, each with a pod of its own: side by side in `make test-slow`.
    "tests/credentials/test_outage.py::test_a_processor_",
    "tests/local/test_page.py",
    "tests/credentials/test_outage.py::test_a_loader_",
    "tests/credentials/test_outage.py::test_a_collector_",
    "tests/credentials/",
    "tests/local/",
    "tests/e2e/test_tracker.py",
    "tests/e2e/",
    "tests/trackers/",
    "tests/chart/",
    "tests/local/test_ledger.py",
    "tests/docs/",
    "tests/emulators/faults/",
    "tests/ops/test_archive.py",
    "tests/collector/test_outage.py",
    "tests/emulators/pubsub/test_bad_input.py",
    "tests/observability/test_live.py",
    "tests/observability/test_tracing.py",
    "tests/emulators/bigquery/test_bq.py",
)
# A file of at least so many tests is a line too, its slow ones apart. They are short ones then, of which a worker
# remembers what it parsed for the one before, and the process that hands out ten thousand one by one would be busy.
MANY = 30

# A busy machine is no reason to fail: pytest-timeout bounds what a test may take. Each run draws other examples: few in
# each of many runs find what many in one would. But CI judges a change: it draws the same each time, so that what it
# finds is of that change.
settings.register_profile("pixelpipe", deadline=None, max_examples=40, derandomize=IN_CI)
settings.load_profile("pixelpipe")


@dataclass(frozen=True)
class BigQueryAddress:
    rest: str  # http://127.0.0.1:PORT, for BIGQUERY_EMULATOR_HOST
    grpc: str  # 127.0.0.1:PORT, for BIGQUERY_STORAGE_EMULATOR_HOST


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Group tests, and begin with the long groups.

    Against Google's emulator, keep the tests that use `pubsub_host`; the rest use no Pub/Sub or one of their own.
    """
    files = Counter(item.path for item in items)
    rank = dict[str, int]()
    for item in items:
        group = max((prefix for prefix in TOGETHER if item.nodeid.startswith(prefix)), key=len, default=None)
        if group is None and files[item.path] >= MANY and item.get_closest_marker("slow") is None:
            group = item.nodeid.partition("::")[0]
        if group is not None:
            item.add_marker(pytest.mark.xdist_group(group))
        rank[item.nodeid] = TOGETHER.index(group) if group in TOGETHER else len(TOGETHER) + (group is None)
    items.sort(key=lambda item: rank[item.nodeid])  # xdist hands them out in this order: --no-loadscope-reorder
    if GOOGLE:
        kept = [item for item in items if "pubsub_host" in getattr(item, "fixturenames", ())]
        config.hook.pytest_deselected(items=[item for item in items if item not in kept])
        items[:] = kept
        google_differences.mark(items)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection() -> Iterator[None]:
    """Ten thousand tests stay until the end: the collector of cycles need not walk them again and again."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.collect()
        gc.freeze()
        atexit.register(gc.unfreeze)  # not before pytest's own last collections, but DuckDB misses what is left then


@pytest.fixture(scope="session")
def archive_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the Pub/Sub emulator writes objects, as BUCKET/OBJECT."""
    return tmp_path_factory.mktemp("archive")


@pytest.fixture(scope="session")
def pubsub_host(archive_folder: Path) -> Iterator[str]:
    """The Pub/Sub emulator as its own process, one per test session; tests use a project id each."""
    if GOOGLE:
        host, _, port = GOOGLE.rpartition(":")
        try:
            socket.create_connection((host, int(port)), timeout=5).close()
        except (OSError, ValueError) as error:
            pytest.exit(f"PUBSUB_EMULATOR={GOOGLE} is not the HOST:PORT of a running emulator: {error}", returncode=2)
        yield GOOGLE
        return
    archive = ("--archive-dir", str(archive_folder), "--archive-seconds", "0.2")
    with process.running("emulators.pubsub", "--port", "0", *archive) as emulator:
        yield f"127.0.0.1:{emulator.ready['grpc']}"


@pytest.fixture(scope="session")
def bigquery_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BigQueryAddress]:
    """The BigQuery emulator as its own process, one per test session; tests use a project id each."""
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
