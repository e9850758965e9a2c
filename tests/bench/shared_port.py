"""A collector that shares its port with others on the same machine: `python -m tests.bench.shared_port`.

Pods have an address each, so a deployment never needs this. The benchmark does, to measure what a second process adds
behind one address.
"""

from __future__ import annotations

from functools import partial

from services.collector import service
from services.collector.config import Config
from services.shared import lifecycle

if __name__ == "__main__":
    lifecycle.main("collector", Config, partial(service.run, reuse_port=True))
