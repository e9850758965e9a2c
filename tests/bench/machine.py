"""What the figures were measured on: nothing that names the machine or its owner."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from tests.bench import needs

PACKAGES = ("aiohttp", "uvloop", "google-cloud-pubsub", "google-cloud-bigquery-storage", "grpcio", "pyarrow", "duckdb")


def line() -> str:
    """The day, the processor, the kernel, the versions."""
    kernel = re.match(r"[0-9]+(\.[0-9]+)*", platform.release())
    parts = [
        f"{datetime.now(UTC):%Y-%m-%d}: {_cpu()}, {len(os.sched_getaffinity(0))} cores",
        f"{platform.system()} {kernel[0] if kernel else ''}",
        f"Python {platform.python_version()}",
        *(f"{name} {metadata.version(name)}" for name in PACKAGES),
    ]
    return ", ".join([*parts, *_nginx()]) + "."


def _cpu() -> str:
    found = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return " ".join(found[1].split()) if found else platform.machine()


def _nginx() -> list[str]:
    try:
        answer = subprocess.run([needs.tool("nginx"), "-v"], capture_output=True, text=True, timeout=10, check=False)
    except needs.Missing:
        return []
    found = re.search(r"nginx/([0-9.]+)", answer.stderr)
    return [f"nginx {found[1]}"] if found else []
