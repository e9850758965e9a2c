"""How a command shows its result: a table where a person reads it, one JSON object in a pipe or with `--json`."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.measure import Measurement
from rich.progress import Progress, ProgressColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from services.ops.dead_letter import printable, to_json

_ANY_WIDTH = 1_000_000  # columns


def add_json(parser: argparse.ArgumentParser, text: str = "one JSON object, also on a terminal") -> None:
    parser.add_argument("--json", action="store_true", help=text)


def for_people(options: argparse.Namespace) -> bool:
    return not options.json and sys.stdout.isatty()


def console() -> Console:
    """Of stdout. NO_COLOR takes away every style: rich alone would leave bold and dim."""
    return Console(color_system=None if os.environ.get("NO_COLOR") else "auto")


def show(
    options: argparse.Namespace,
    result: Mapping[str, Any],
    indent: int | None = None,
    *,
    people: Mapping[str, Any] | None = None,
) -> None:
    """Print what a command found, for people in the words of `people`. Its values may be strangers' text."""
    if for_people(options):
        console().print(rendered(result if people is None else people))
    else:
        print(to_json(result, indent=indent))


def line(options: argparse.Namespace, text: str) -> None:
    """Print one of many results, an object as JSON has it."""
    if for_people(options):
        console().print(rendered(json.loads(text)), "")
    else:
        print(text)


def working(text: str) -> AbstractContextManager[object]:
    """Shows that something is being done, until the context ends."""
    shown = progress(SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    shown.add_task(text, total=None)
    return shown


def progress(*columns: ProgressColumn) -> Progress:
    """A bar on stderr that goes when it ends, and nothing where no person sees it.

    On a terminal what is printed meanwhile stands above it.
    """
    console = Console(stderr=True)
    return Progress(
        *columns,
        console=console,
        transient=True,
        disable=not console.is_terminal,
        redirect_stdout=sys.stdout.isatty(),  # else it would go to stderr
    )


def rendered(value: Any) -> RenderableType:
    """Names with their values, lists of objects as tables; nested as deep as it is. No markup of `value` is read."""
    if isinstance(value, Mapping):
        grid = Table.grid(padding=(0, 2))
        for _ in range(2):
            grid.add_column(overflow="fold")  # what is copied must be whole
        for name, one in value.items():
            grid.add_row(Text(_label(name), style="dim"), rendered(one))
        return grid
    if isinstance(value, Sequence) and not isinstance(value, str):
        if value and all(isinstance(one, Mapping) for one in value):
            return _Rows(value)
        return Text(", ".join(_text(one) for one in value) or "none")
    return Text(_text(value))


class _Rows:
    """Objects as a table; one below the other where it would have to cut a word, such as an id."""

    def __init__(self, values: Sequence[Mapping[str, Any]]) -> None:
        self._values = values
        names = dict.fromkeys(name for one in values for name in one)
        self._columns = {name: [rendered(one.get(name)) for one in values] for name in names}

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement.get(console, options, self._table(console, options))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        table = self._table(console, options)
        if Measurement.get(console, options.update(max_width=_ANY_WIDTH), table).minimum <= options.max_width:
            yield table
            return
        for number, one in enumerate(self._values):
            if number:
                yield ""
            yield rendered(one)

    def _table(self, console: Console, options: ConsoleOptions) -> Table:
        table = Table(box=None, header_style="dim", pad_edge=False)
        for name, cells in self._columns.items():
            all_cells = (Text(_label(name)), *cells)
            sizes = [Measurement.get(console, options.update(max_width=_ANY_WIDTH), one) for one in all_cells]
            whole = all(size.minimum == size.maximum for size in sizes)  # of single words: others make room
            table.add_column(_label(name), overflow="fold", no_wrap=whole)
        for row in zip(*self._columns.values(), strict=True):
            table.add_row(*row)
        return table


def _label(name: Any) -> str:
    return printable(str(name)).replace("_", " ")


def _text(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return f"{value:,}"
    return printable(str(value))
