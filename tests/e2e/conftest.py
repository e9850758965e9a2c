from __future__ import annotations

import json
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, sync_playwright

from local import query
from local.stack import PROJECT
from tests import forks, process
from tests.process import Child, wait_for
from tests.tools import require


@dataclass
class Stack:
    """The whole pipeline as `make run` starts it, on free ports."""

    process: Child
    data: Path
    ports: dict[str, int]

    def stop(self, how: int = signal.SIGTERM) -> int:
        """Its exit code; its processes end one after the other."""
        return self.process.stop(how, timeout=100)

    @property
    def collector(self) -> str:
        return f"http://127.0.0.1:{self.ports['collector']}"

    @property
    def bigquery(self) -> str:
        return f"http://127.0.0.1:{self.ports['bigquery']}"

    @cached_property
    def _client(self) -> Any:
        return query.client(PROJECT, self.bigquery)

    def query(self, sql: str) -> list[dict[str, Any]]:
        """What `make query FORMAT=json` prints, asked in this process: to start the command takes a second."""
        return [json.loads(line) for line in query.json_lines(query.rows(self._client, sql))]

    def rows(self, sql: str, wanted: int = 1) -> list[dict[str, Any]]:
        """The rows of a query, once there are as many as wanted."""
        found: list[dict[str, Any]] = wait_for(
            lambda: rows if len(rows := self.query(sql)) >= wanted else None, 60, f"{wanted} rows of {sql}"
        )
        assert len(found) == wanted
        return found


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser that asks for nothing but the pages it is shown."""
    options = "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=require("chromium", "apt-get install chromium"),
            args=[*options.split(), "--disable-component-update", "--disable-sync"],
            timeout=90_000,
        )
        yield browser
        browser.close()


def start_stack(data: Path, env: Mapping[str, str] | None = None) -> Stack:
    # A busy machine is no outage: what Pub/Sub confirms after half a second is in the log, and in the table twice.
    usual = {"PIPE_SCHEMA": str(process.SCHEMA_FILE), "PIPE_PUBLISH_TIMEOUT_SECONDS": "20"}
    env = {**usual, **(env or {})}
    everything = ("--port-base", process.port_base(), "--data", str(data))
    started = process.start("local", "run", *everything, env=env, wait_ready=False)

    def ready() -> dict[str, Any] | None:
        assert started.process.poll() is None, started.output()
        try:
            running: dict[str, Any] = json.loads((data / "run.json").read_text())
        except FileNotFoundError:
            return None
        return running if running["ready"] else None

    try:
        return Stack(started, data, wait_for(ready, 150, "the stack")["ports"])
    except AssertionError as error:
        started.stop(timeout=100)
        raise AssertionError(f"{error}\n{started.output()}") from None


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Of processes that import what they need by themselves: no other test of `make test` starts all of them so."""
    with forks.off():
        running = start_stack(tmp_path_factory.mktemp("stack"))
    yield running
    assert running.stop() == 0, running.process.output()
