"""The whole local stack for a test: `python -m local run` on free ports, found through its run.json."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery

from local import run_file
from local.run_file import NotRunning, Running
from tests import process

# On a busy machine: what Pub/Sub confirms late is no outage, and is not sent again from the spool.
PATIENT = {"PIPE_PUBLISH_TIMEOUT_SECONDS": "5"}


@dataclass
class Stack:
    child: process.Child
    data: Path

    def running(self) -> Running:
        return run_file.read(self.data)

    def pids(self) -> dict[str, int]:
        return {service["name"]: service["pid"] for service in self.running().children}

    def url(self, port: str) -> str:
        return f"http://127.0.0.1:{getattr(self.running().ports, port)}"

    def fire(self, query: str) -> int:
        return requests.get(f"{self.url('collector')}/pixel.gif?{query}", timeout=60).status_code

    def query(self, sql: str, *options: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "local", "query", sql, "--data", str(self.data), *options],
            cwd=process.ROOT,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def rows(self, sql: str) -> list[dict[str, Any]]:
        """Asked through the official client, which is quicker than a command each time."""
        client = bigquery.Client("local", AnonymousCredentials(), client_options={"api_endpoint": self.url("bigquery")})
        return [dict(row.items()) for row in client.query_and_wait(sql)]

    def said(self) -> str:
        return self.child.output()


@contextmanager
def running(data: Path, **env: str) -> Iterator[Stack]:
    """Ready; stopped at the end unless the test has done so."""
    with begun(data, **env) as started:
        stack = Stack(started, data)
        process.wait_for(lambda: _ready(stack) and _seen(stack), 150, "the stack to be ready")
        yield stack


@contextmanager
def begun(data: Path, *options: str, **env: str) -> Iterator[process.Child]:
    """Started with the tests' schema file, not awaited."""
    everything = ("--port-base", process.port_base(), "--data", str(data), *options)
    started = process.start(
        "local", "run", *everything, env={"PIPE_SCHEMA": str(process.SCHEMA_FILE), **env}, wait_ready=False
    )
    try:
        yield started
    finally:
        started.stop(timeout=100)
        started.log.unlink()


def _ready(stack: Stack) -> bool:
    code = stack.child.process.poll()
    assert code is None, f"the stack ended with {code}:\n{stack.said()}"
    try:
        return stack.running().ready
    except NotRunning:
        return False


def _seen(stack: Stack) -> bool:
    """Whether the page has seen all of it run: it began to look while the services were still starting."""
    state = requests.get(f"{stack.url('page')}/api/state", timeout=60).json()
    well = {part["status"] for part in state["parts"]} == {"ready", "running"}
    return bool(state["ready"]) and well and state["ledger"]["error"] is None
