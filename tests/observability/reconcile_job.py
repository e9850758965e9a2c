"""The daily Job as the chart runs it, on emulators and a port of the loopback interface."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import requests

from tests import process
from tests.process import SCHEMA_FILE, wait_for


@contextmanager
def running(emulators: Mapping[str, str], project: str, port: int, report: Path) -> Iterator[None]:
    """Its report is in the file, and its numbers are served until the context is left."""
    command = [sys.executable, "-m", "services.ops", "reconcile", "--json", "--wait", "2"]
    command += ["--metrics", f"127.0.0.1:{port}", "--metrics-seconds", "3600"]
    env = {**os.environ, **emulators, "PIPE_PROJECT": project, "PIPE_SCHEMA": str(SCHEMA_FILE)}
    with report.open("w") as out:
        job = subprocess.Popen(command, cwd=process.ROOT, env=env, stdout=out, stderr=subprocess.PIPE, text=True)
    try:
        wait_for(lambda: _serves(job, port), 100, "the Job to serve its numbers")
        yield
    finally:
        job.terminate()
        job.communicate(timeout=60)


def _serves(job: subprocess.Popen[str], port: int) -> bool:
    if job.poll() is not None:
        assert job.stderr is not None
        raise AssertionError(f"the Job ended with {job.returncode}: {job.stderr.read()}")
    try:
        return requests.get(f"http://127.0.0.1:{port}/metrics", timeout=5).ok
    except (requests.ConnectionError, requests.Timeout):
        return False
