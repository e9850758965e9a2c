"""What the admin port of a service says."""

from __future__ import annotations

import urllib.error
import urllib.request


def samples(port: int) -> dict[str, float]:
    """Every sample, by its name and labels as they are written."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        lines = answer.read().decode().splitlines()
    pairs = (line.rpartition(" ") for line in lines if not line.startswith("#"))
    return {name: float(value) for name, _, value in pairs}


def metrics(port: int) -> dict[str, float]:
    """Every sample, summed over its labels."""
    found: dict[str, float] = {}
    for sample, value in samples(port).items():
        name = sample.partition("{")[0]
        found[name] = found.get(name, 0.0) + value
    return found


def ready(port: int) -> bool:
    """Whether /readyz answers 200; nobody listening is not ready."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
            return int(answer.status) == 200
    except urllib.error.HTTPError:
        return False
    except OSError:
        return False
