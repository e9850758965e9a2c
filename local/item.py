"""A row of BigQuery as an item of the page's list: what it is, who, when, what is wrong with it. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from local import query
from services.shared.schema import REJECTS, Table

EVENT, REJECT, PROBLEM = "event", "reject", "problem"
MOST_CHARACTERS = 2_000  # of a value
WHOLE = 1_000_000  # of one where an event is told whole
_SUMMARY = 160
_WHO = ("param.user_id", "param.anonymous_id", "hit.visitor_id")
TYPE = ("param.type", "param.event")
_REJECT = ("reason", "column", "value", "detail", "table", "stage", "hit")


@dataclass(frozen=True)
class Columns:
    """Which columns of a table say what; None where the schema file has no such column."""

    day: str
    event_id: str
    received_at: str
    who: tuple[str, ...]
    type: str | None
    protocol: str | None
    problems: str | None
    reject: Mapping[str, str | None]

    @classmethod
    def of(cls, table: Table) -> Columns:
        def name(source: str) -> str | None:
            column = table.column_from(source)
            return column.name if column else None

        return cls(
            day=table.filled_by("event.day").name,
            event_id=table.filled_by("event.id").name,
            received_at=name("hit.received_at") or table.filled_by("event.day").name,
            who=tuple(filter(None, map(name, _WHO))),
            type=next(filter(None, map(name, TYPE)), None),
            protocol=name("hit.protocol"),
            problems=name("event.problems"),
            reject={one: name(f"reject.{one}") for one in _REJECT} if table.name == REJECTS else {},
        )


def shown(value: Any, most: int = MOST_CHARACTERS) -> Any:
    """A value for the browser: JavaScript numbers are doubles, so integers and JSON go as text; long ones are cut."""
    ready = query.plain(value)
    if ready is None or isinstance(ready, (bool, float)):
        return ready
    text = ready if isinstance(ready, str) else json.dumps(ready, ensure_ascii=False)
    return text if len(text) <= most else text[: most - 1] + "…"


def key(table: Table, columns: Columns, row: Mapping[str, Any]) -> str:
    return "\x1f".join([table.name, *(str(row.get(name)) for name in identity(table, columns))])


def identity(table: Table, columns: Columns) -> tuple[str, ...]:
    """The columns that identify a row; of rejects, one event may have several."""
    return (columns.day, columns.event_id, columns.received_at) if table.name == REJECTS else table.key


def of(table: Table, columns: Columns, row: Mapping[str, Any], most: int = MOST_CHARACTERS) -> dict[str, Any]:
    """`row` has the client's values by column."""
    problems = _problems(row.get(columns.problems)) if columns.problems else []
    kind = REJECT if table.name == REJECTS else PROBLEM if problems else EVENT
    said = {name: shown(row.get(column)) if column else None for name, column in columns.reject.items()}
    who = next((text for name in columns.who if (text := shown(row.get(name)))), None)
    type_ = shown(row.get(columns.type)) if columns.type else None
    return {
        "key": key(table, columns, row),
        "id": shown(row.get(columns.event_id)),
        "table": table.name,
        "kind": kind,
        "at": _time(row.get(columns.received_at)),
        "type": type_,
        "who": who,
        "protocol": shown(row.get(columns.protocol)) if columns.protocol else None,
        "summary": _summary(kind, type_, who, said, problems),
        "reason": said.get("reason"),
        "column": said.get("column"),
        "detail": said.get("detail"),
        "problems": problems,
        "row": {name: shown(value, most) for name, value in row.items()},
    }


def _problems(value: Any) -> list[dict[str, Any]]:
    """As the processor wrote them; anything else there is shown in the row alone."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return []
    if not isinstance(value, list):
        return []
    names = ("column", "reason", "detail", "value")
    return [{name: shown(one.get(name)) for name in names} for one in value if isinstance(one, dict)]


def _time(value: Any) -> str | None:
    found = query.plain(value) if isinstance(value, datetime) else value
    return None if found is None else str(found)


def _summary(
    kind: str, type_: str | None, who: str | None, said: Mapping[str, Any], problems: list[dict[str, Any]]
) -> str:
    if kind == REJECT:
        about = ": ".join(str(part) for part in (said.get("column"), said.get("detail")) if part)
        text = f"{said.get('reason')}: {about}" if about else str(said.get("reason"))
    else:
        text = " by ".join(part for part in (type_ or "event", who) if part)
        if problems:
            text += ": " + ", ".join(f"{one['column']} {one['reason']}" for one in problems)
    line = " ".join(text.split())
    return line if len(line) <= _SUMMARY else line[: _SUMMARY - 1] + "…"
