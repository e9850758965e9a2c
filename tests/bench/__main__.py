"""`make bench [ONLY=part]`: measures, prints one table, writes `.local/bench.json`.

Two things are compared in one run, one after the other in turns: hosts drift by half, ratios do not.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.bench import outage

REPORT = Path(".local/bench.json")
PARTS: dict[str, Callable[[], dict[str, float]]] = {"outage": outage.measure}
TARGETS = {"outage_p99_ratio": 5.0}  # at most


def main() -> int:
    """The exit code is 1 where a target is missed."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--only", action="append", choices=sorted(PARTS), help="a part; may be repeated (all of them)")
    figures: dict[str, float] = {}
    for name in parser.parse_args().only or PARTS:
        figures |= PARTS[name]()
    REPORT.parent.mkdir(exist_ok=True)
    REPORT.write_text(json.dumps(figures, indent=1) + "\n")
    table = Table("figure", "value", "target", title=f"Python {platform.python_version()}, {os.cpu_count()} cores")
    for name, value in figures.items():
        table.add_row(name, f"{value:g}", f"at most {TARGETS[name]:g}" if name in TARGETS else "")
    Console().print(table)
    missed = [name for name, most in TARGETS.items() if figures.get(name, 0) > most]
    if missed:
        print(f"missed: {', '.join(missed)}", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
