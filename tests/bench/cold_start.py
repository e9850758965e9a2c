"""How long each service takes from its start until `/readyz` answers 200: `cold_start_s_NAME`.

Emulators run, everything is provisioned, Python's byte code is there: what a pod takes after its image is pulled.
"""

from __future__ import annotations

import time
from contextlib import ExitStack

from tests import admin, process
from tests.bench.emulators import Emulators
from tests.bench.figure import Figure, median

SERVICES = ("collector", "processor", "loader")
STARTS, QUICK_STARTS = 5, 2
LONGEST = 30.0  # seconds


def measure(quick: bool = False) -> dict[str, Figure]:
    """The services in turn, again and again."""
    took: dict[str, list[float]] = {name: [] for name in SERVICES}
    with ExitStack() as stack:
        Emulators(stack)
        for number in range(1 + (QUICK_STARTS if quick else STARTS)):
            for name in SERVICES:
                seconds = _start(name)
                if number:  # the first reads from the disk what the others find in memory
                    took[name].append(seconds)
    return {f"cold_start_s_{name}": median(samples) for name, samples in took.items()}


def _start(name: str) -> float:
    port = process.free_port()
    env = {"PIPE_HOST": "127.0.0.1", "PIPE_ADMIN_PORT": str(port)}
    if name == "collector":
        env |= {"PIPE_PORT": "0", "PIPE_DRAIN_DELAY_SECONDS": "0", "PIPE_SHUTDOWN_TIMEOUT_SECONDS": "1"}
    began = time.monotonic()
    started = process.start(f"services.{name}", env=env, wait_ready=False)
    try:
        while not admin.ready(port):
            assert time.monotonic() < began + LONGEST, f"{name} is not ready:\n{started.output()}"
            time.sleep(0.005)
        return time.monotonic() - began
    finally:
        started.stop(timeout=40)
        started.log.unlink()
