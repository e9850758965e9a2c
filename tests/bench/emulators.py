"""Both emulators, each its own process, with everything provisioned in them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest.mock import patch

from tests import admin, process
from tests.bench.served import IMAGE_ENV
from tests.process import Child, wait_for

PROJECT = "bench"


class Emulators:
    """Until the stack is left. This process and its children find them, and the project, in the environment."""

    def __init__(self, stack: ExitStack) -> None:
        data = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pixelpipe-bench-")))
        self.pubsub = stack.enter_context(process.running("emulators.pubsub", "--port", "0"))
        options = ("--rest-port", "0", "--grpc-port", "0", "--data", str(data / "bigquery.duckdb"))
        self.bigquery = stack.enter_context(process.running("emulators.bigquery", *options))
        addresses = {
            "PUBSUB_EMULATOR_HOST": f"127.0.0.1:{self.pubsub.ready['grpc']}",
            "BIGQUERY_EMULATOR_HOST": f"http://127.0.0.1:{self.bigquery.ready['rest']}",
            "BIGQUERY_STORAGE_EMULATOR_HOST": f"127.0.0.1:{self.bigquery.ready['grpc']}",
            "PIPE_PROJECT": PROJECT,
        }
        stack.enter_context(patch.dict(os.environ, addresses))
        provision = process.start("services.provision", wait_ready=False)
        assert provision.process.wait(120) == 0, provision.output()
        provision.log.unlink()


@contextmanager
def service(name: str, **env: str) -> Iterator[tuple[Child, int]]:
    """One service that is ready, and its admin port."""
    port = process.free_port()
    settings = {**IMAGE_ENV, "PIPE_HOST": "127.0.0.1", "PIPE_ADMIN_PORT": str(port), **env}
    started = process.start(f"services.{name}", env=settings, wait_ready=False)
    try:
        wait_for(lambda: admin.ready(port), 60, f"{name} to be ready")
        yield started, port
    finally:
        started.stop(timeout=40)
        started.log.unlink()
