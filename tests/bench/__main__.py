"""`make bench [ONLY=part]`: measures, prints one table, writes `.local/bench.json`; a whole run also writes BENCH.md.

`make bench QUICK=1` takes about a minute and measures ratios only, which it compares with those stored; STORE=1 stores
them anew.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.bench import machine, ratios, report
from tests.bench.needs import Missing
from tests.bench.ratios import Compared
from tests.bench.report import Report

JSON, DOCUMENT = Path(".local/bench.json"), Path("BENCH.md")
# Each is a module here with `measure(quick)`, which answers figures by name.
PARTS = ("collector", "flood", "processor", "protocols", "loader", "pipeline", "cold_start", "outage", "page")
QUICK_PARTS = ("collector", "processor", "protocols", "loader")


def main() -> int:
    """The exit code: 1 where something could not be measured, a promise is broken, or a ratio became far worse, twice.

    Neighbours that come and go are no reason to fail. A target that is missed is said. So is a part whose tools this
    machine lacks, and the others go on.
    """
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--only", action="append", choices=PARTS, help="a part; may be repeated (all of them)")
    parser.add_argument("--quick", action="store_true", help="ratios only, compared with the stored ones")
    parser.add_argument("--store", action="store_true", help="with --quick: store the ratios instead")
    options = parser.parse_args()
    found, parts = Report(), options.only or (QUICK_PARTS if options.quick else PARTS)
    failed = not _measure(found, parts, options.quick)
    if options.quick:
        worse = {one.name for one in _compare(found, store=options.store) if one.failed}
        if worse and not options.store:
            print("measuring again what became far worse", file=sys.stderr)
            again = Report()
            failed = not _measure(again, ratios.parts(worse, parts), options.quick) or failed
            worse -= {one.name for one in _compare(again, store=False) if one.now.steady and not one.failed}
        return 1 if worse or failed else 0
    JSON.parent.mkdir(exist_ok=True)
    JSON.write_text(found.json())
    if not options.only:
        DOCUMENT.write_text(report.written(DOCUMENT.read_text(), found.markdown(machine.line())))
    _print(report.COLUMNS, found.rows(), machine.line())
    for line in found.said:
        print(line, file=sys.stderr)
    if missed := found.missed():
        print(f"broken: {', '.join(missed)}", file=sys.stderr)
    return 1 if missed or failed else 0


def _measure(found: Report, parts: Sequence[str], quick: bool) -> bool:
    """Whether every part could be measured, or its tools are not here."""
    good = True
    for name in parts:
        began = time.monotonic()
        print(f"measuring {name}", file=sys.stderr, flush=True)
        try:
            found.add(importlib.import_module(f"tests.bench.{name}").measure(quick))
        except Missing as missing:
            found.said.append(f"{name} was not measured: it {missing}")
            continue
        except Exception:  # noqa: BLE001 - whatever it was, the other parts go on
            traceback.print_exc()
            found.said.append(f"{name} could not be measured")
            good = False
        print(f"  {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    return good


def _compare(found: Report, *, store: bool) -> list[Compared]:
    """Print the ratios beside the stored ones."""
    for line in found.said:
        print(line, file=sys.stderr)
    now = ratios.of(found.figures)
    if store:
        ratios.store(now)
    compared = ratios.compare(now, ratios.read())
    cells = [
        (one.name, "" if one.stored is None else report.number(one.stored), report.number(one.now.value), one.verdict)
        for one in compared
    ]
    _print(("ratio", "stored", "now", ""), cells, machine.line())
    return compared


def _print(columns: tuple[str, ...], rows: list[tuple[str, ...]], title: str) -> None:
    table = Table(*columns, title=title)
    for row in rows:
        table.add_row(*row)
    Console(width=None if sys.stdout.isatty() else 140).print(table)


if __name__ == "__main__":
    sys.exit(main())
