"""What `compact` logs, gathered for a terminal: a table of days, one of tables, and each failure as it happens."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import structlog
from structlog.typing import EventDict


class Report:
    """A processor of structlog that takes every line. `step` is told what was done."""

    def __init__(self, step: Callable[[str], None]) -> None:
        self._step = step
        self._days: list[dict[str, Any]] = []
        self._tables: dict[str, dict[str, Any]] = {}
        self._done: EventDict = {}

    def __call__(self, _logger: Any, method: str, line: EventDict) -> EventDict:
        message = line.pop("event")
        line.pop("component")
        place = " ".join(str(line[name]) for name in ("table", "day") if name in line)
        if method == "error":
            print(f"compact: {place}{': ' if place else ''}{message}: {line['reason']}", file=sys.stderr)
        elif message in ("compacted", "counted"):
            self._days.append({"table": line.pop("table"), **line})
            self._step(f"{place} {message}")
        elif message == "done":
            self._done = dict(line)
        else:  # of a table
            self._tables.setdefault(line.pop("table"), {}).update(line)
        raise structlog.DropEvent

    @property
    def result(self) -> dict[str, Any]:
        """As `output.show` takes it; empty where the command was refused."""
        if not self._done:
            return {}
        return {
            "dry_run": self._done["dry_run"],
            "days": self._days,
            "tables": [{"table": name, **line} for name, line in self._tables.items()],
            "failed": self._done["failed"],
        }
