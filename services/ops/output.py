"""How a command shows its result: a table where a person reads it, one JSON object in a pipe or with `--json`."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, redirect_stdout
from typing import Any, TextIO

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.measure import Measurement
from rich.progress import Progress, ProgressColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from services.ops.dead_letter import printable, to_json

_ANY_WIDTH = 1_000_000  # columns
_DEPTH = 3  # a table in a table is measured again by each around it: what is deeper is shown as JSON


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


@contextmanager
def working(text: str) -> Iterator[Callable[[str], None]]:
    """Shows that something is being done, until a result is printed or the context ends; what it yields says what."""
    with progress(SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()) as shown:
        task = shown.add_task(text, total=None)
        yield lambda other: shown.update(task, description=other)


@contextmanager
def progress(*columns: ProgressColumn) -> Iterator[Progress]:
    """A bar on stderr that goes when a result is printed or the context ends, and nothing where no person sees it.

    What is printed on stderr meanwhile stands above it.
    """
    # Whoever copies a line wants no line breaks of rich's in it.
    console = Console(stderr=True, soft_wrap=True)
    shown = Progress(*columns, console=console, transient=True, disable=not console.is_terminal, redirect_stdout=False)
    on_screen = console.is_terminal and sys.stdout.isatty()
    with shown, redirect_stdout(_Results(sys.stdout, shown)) if on_screen else nullcontext():
        yield shown


class _Results:
    """Stdout while a bar is shown on the same screen: what is written ends that, and stays as it is.

    Rich would print it through the bar's console: on stderr, and broken at the terminal's width.
    """

    def __init__(self, file: TextIO, shown: Progress) -> None:
        self._file, self._shown = file, shown

    def write(self, text: str) -> int:
        self._shown.live.stop()  # which does nothing the second time
        return self._file.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def rendered(value: Any, depth: int = _DEPTH) -> RenderableType:
    """Names with their values, lists of objects as tables, and JSON below `depth` of these in each other.

    No markup of `value` is read.
    """
    if isinstance(value, Mapping) and depth:
        grid = Table.grid(padding=(0, 2))
        for _ in range(2):
            grid.add_column(overflow="fold")  # what is copied must be whole
        for name, one in value.items():
            grid.add_row(Text(_label(name), style="dim"), rendered(one, depth - 1))
        return grid
    if isinstance(value, Sequence) and not isinstance(value, str) and depth:
        if value and all(isinstance(one, Mapping) for one in value):
            return _Rows(value, depth - 1)
        return Text(", ".join(_text(one) for one in value) or "none")
    return Text(_text(value))


class _Rows:
    """Objects as a table; one below the other where it would have to cut a word, such as an id."""

    def __init__(self, values: Sequence[Mapping[str, Any]], depth: int) -> None:
        self._values, self._depth = values, depth
        self._names = list(dict.fromkeys(name for one in values for name in one))

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        table = self._table(console, options)
        return Measurement.get(console, options, self._list() if table is None else table)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        table = self._table(console, options)
        if table is not None:
            size = Measurement.get(console, options.update(max_width=_ANY_WIDTH), table)
            table = table if size.minimum <= options.max_width else None
        yield self._list() if table is None else table

    def _list(self) -> Group:
        parts: list[RenderableType] = []
        for one in self._values:
            parts += ["", rendered(one, self._depth + 1)]
        return Group(*parts[1:])

    def _table(self, console: Console, options: ConsoleOptions) -> Table | None:
        """None of more columns than a line could have: every row would have a cell for each name of any other."""
        if len(self._names) > console.width:
            return None
        table = Table(box=None, header_style="dim", pad_edge=False)
        columns = [[rendered(one.get(name), self._depth) for one in self._values] for name in self._names]
        for name, cells in zip(self._names, columns, strict=True):
            all_cells = (Text(_label(name)), *cells)
            sizes = [Measurement.get(console, options.update(max_width=_ANY_WIDTH), one) for one in all_cells]
            whole = all(size.minimum == size.maximum for size in sizes)  # of single words: others make room
            table.add_column(_label(name), overflow="fold", no_wrap=whole)
        for row in zip(*columns, strict=True):
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
    if isinstance(value, Mapping | list | tuple):
        return printable(json.dumps(value, default=str, ensure_ascii=False))
    return printable(str(value))
