"""Breaks the pipeline in every way there is and counts what was lost: `python -m tests.chaos [--only FAULT]`."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
import traceback
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.chaos.faults import FAULTS, clean
from tests.chaos.run import Result, run
from tests.chaos.scene import FULL, QUICK, Unavailable

FOLDER = Path(".local/chaos")
REPORT = Path(".local/chaos.json")
_COLUMNS = ("fault", "load", "acknowledged", "rows", "rejects", "lost", "duplicated_view", "duplicated_physical")
PLANTED = "kill-collector"  # the fault that shows a collector that replies too soon


async def main() -> int:
    """The exit code: 0 if nothing was lost or counted twice, and the planted bug was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--only", action="append", choices=sorted(FAULTS), metavar="FAULT", help=", ".join(FAULTS))
    parser.add_argument("--quick", action="store_true", help="short faults")
    parser.add_argument("--plant", action="store_true", help="with a collector that replies before it publishes")
    options = parser.parse_args()
    pace = QUICK if options.quick else FULL
    results: list[Result] = []
    failed: list[str] = []
    began = time.monotonic()
    for name in options.only or FAULTS:
        print(f"{name} …", end=" ", flush=True, file=sys.stderr)
        try:
            result = await run(FAULTS[name], pace, FOLDER / name, plant=options.plant)
        except Unavailable as error:
            print(f"skipped: {error}", file=sys.stderr)
            if os.environ.get("REQUIRE_TOOLS") == "1":
                failed.append(name)
            continue
        except Exception:  # noqa: BLE001 - the other faults are still of interest
            traceback.print_exc()
            failed.append(name)
            continue
        results.append(result)
        sound = result.kept and result.reconciled
        print("kept" if sound else f"BROKEN, see {FOLDER / name}", file=sys.stderr)
        if sound:
            clean(FOLDER / name)
        else:
            failed.append(name)
    _show(results, time.monotonic() - began)
    if not options.plant:
        REPORT.write_text(json.dumps([result.row() for result in results], indent=1) + "\n")
    if not options.only and not options.plant:
        planted = await run(FAULTS[PLANTED], QUICK, FOLDER / "planted", plant=True, wait=15)
        clean(FOLDER / "planted")
        print(f"planted bug (the collector replies before it publishes): {planted.verdict.lost} events lost")
        if not planted.verdict.lost:
            failed.append("the planted bug was not found")
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def _show(results: list[Result], seconds: float) -> None:
    table = Table(*("fault", "events/s", "200s", "rows", "rejects", "lost", "twice in the view", "twice on disk"))
    table.add_column("difference")
    table.add_column("recovery s")
    for result in results:
        row = result.row()
        table.add_row(*(str(row[column]) for column in _COLUMNS), str(row["difference"]), str(row["recovery_s"]))
    console = Console(width=None if sys.stdout.isatty() else 132)
    console.print(table)
    total = sum(result.verdict.acknowledged for result in results)
    lost = sum(result.verdict.lost for result in results)
    console.print(f"{total} acknowledged, {lost} lost, in {len(results)} faults and {seconds / 60:.1f} minutes")


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
