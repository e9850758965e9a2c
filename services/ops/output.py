"""How a command shows its result: a table where a person reads it, one JSON object in a pipe or with `--json`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

from google.api_core import exceptions
from rich.console import Console, RenderableType
from rich.progress import Progress, ProgressColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from services.ops.dead_letter import printable, to_json


def add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="one JSON object, also on a terminal")


def show(options: argparse.Namespace, result: Mapping[str, Any], indent: int | None = None) -> None:
    """Print what a command found. Its values may be strangers' text."""
    if options.json or not sys.stdout.isatty():
        print(to_json(result, indent=indent))
    else:
        Console().print(rendered(result))


def one_line(error: Exception) -> str:
    """What went wrong; of Google's errors their own words, without address and job."""
    text = str(error)
    if isinstance(error, exceptions.GoogleAPICallError):
        told = (one.get("message") for one in error.errors if isinstance(one, dict))
        text = next(filter(None, told), None) or error.message or text
    return " ".join(str(text).split())


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
        for name, one in value.items():
            grid.add_row(Text(_label(name), style="dim"), rendered(one))
        return grid
    if isinstance(value, Sequence) and not isinstance(value, str):
        if value and all(isinstance(one, Mapping) for one in value):
            return _rows(value)
        return Text(", ".join(_text(one) for one in value) or "none")
    return Text(_text(value))


def _rows(values: Sequence[Mapping[str, Any]]) -> Table:
    names = list(dict.fromkeys(name for one in values for name in one))
    table = Table(*(_label(name) for name in names), box=None, header_style="dim", pad_edge=False)
    for one in values:
        table.add_row(*(rendered(one.get(name)) for name in names))
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
