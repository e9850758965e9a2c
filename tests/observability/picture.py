"""Look at the dashboards without Grafana: `python -m tests.observability.picture` runs the stack with an outage in it.

Load for a while, Pub/Sub away, back again; then each dashboard's queries are asked and drawn as PNG. That of the
pipeline is kept in the repository, as the example in the docs.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import requests

from local import stack as local_stack
from observability.generate import BOARDS, CHART
from tests.local import run_stack
from tests.observability import drawing, load, prometheus, unit

QUIET, OUTAGE, AFTER = 25.0, 20.0, 25.0  # seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--to", type=Path, default=CHART / "dashboards", help="folder of the pictures (%(default)s)")
    parser.add_argument("--board", choices=sorted(BOARDS), action="append", help="only these; else pipeline alone")
    parser.add_argument("--faster", type=float, default=1.0, help="so many times shorter")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for file in taken(Path(folder), options.to, options.board or ["pipeline"], options.faster):
            print(file)


def taken(folder: Path, to: Path, names: list[str], faster: float) -> list[Path]:
    """The pictures, made of one run."""
    with run_stack.running(folder / "local") as stack:
        pods = local_stack.admin_urls(stack.running().ports)
        with prometheus.running(folder, pods, unit.FILES, cloud=False) as started:
            begin = time.time()
            with load.running(stack.url("collector")):
                time.sleep(QUIET / faster)
                fault = {"effect": "error", "method": "Publish", "resource": "*hits", "seconds": OUTAGE / faster}
                assert requests.post(f"{stack.url('pubsub_control')}/faults", json=fault, timeout=10).ok
                time.sleep((OUTAGE + AFTER) / faster)
            end = time.time()
            made = []
            for name in names:
                made.append(to / f"{name}.png")
                note = f"local stack, Pub/Sub away for {OUTAGE / faster:.0f} s"
                drawing.draw(started, name, begin, end, 1.0, made[-1], note)
            return made


if __name__ == "__main__":
    main()
