"""The last rows of each table, for the page."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

from local import query
from services.shared.schema import REJECTS, Schema, Table

ROWS = 20
_TABLES = 8  # a schema with a table for each tenant may have hundreds
_TIMEOUT = 10.0
_FRESH_SECONDS = 1.0
_REST_FACTOR = 4  # the cache lasts at least this many times as long as the last query took


class Recent:
    """Queries BigQuery on demand, one query at a time, and caches the result briefly."""

    def __init__(self, client: Any, dataset: str, schema: Schema) -> None:
        self._client, self._dataset = client, dataset
        events = [table for name, table in schema.tables.items() if name != REJECTS]
        self._tables = [*events[:_TABLES], schema.rejects]
        self._answer: list[dict[str, Any]] = []
        self._good_until = 0.0
        self._lock = asyncio.Lock()

    async def tables(self) -> list[dict[str, Any]]:
        """{name, columns, rows, error} of each table, rows newest first as lists of values; `error` is null or text."""
        async with self._lock:
            began = time.monotonic()
            if began > self._good_until:
                self._answer = [await asyncio.to_thread(self._read, table) for table in self._tables]
                took = time.monotonic() - began
                self._good_until = began + took + max(_FRESH_SECONDS, _REST_FACTOR * took)
            return self._answer

    def _read(self, table: Table) -> dict[str, Any]:
        try:
            with query.explained():
                found = query.rows(self._client, _sql(table, self._dataset), timeout=_TIMEOUT, limit=ROWS)
                return {
                    "name": table.name,
                    "columns": [field.name for field in found.schema],
                    "rows": [[_shown(value) for value in row.values()] for row in found],
                    "error": None,
                }
        except query.QueryError as error:
            return {"name": table.name, "columns": [], "rows": [], "error": str(error)}


def _shown(value: Any) -> Any:
    """A value for the browser: JavaScript numbers are doubles, so integers and JSON go as text."""
    ready = query.plain(value)
    if ready is None or isinstance(ready, (bool, float, str)):
        return ready
    return json.dumps(ready, ensure_ascii=False)


def _sql(table: Table, dataset: str) -> str:
    """The newest rows of the view; an event's day is at most a week before it was received."""
    day, received_at = table.column_from("event.day"), table.column_from("hit.received_at")
    if day is None or received_at is None:
        raise ValueError(f"table {table.name} has no column for the day or the time of receipt")
    columns = ", ".join(
        f"`{column.name}`" for column in sorted(table.columns, key=lambda column: column.name != received_at.name)
    )
    return (
        f"SELECT {columns} FROM `{dataset}.{table.name}` "  # noqa: S608 - names checked when the file was read
        f"WHERE `{day.name}` >= DATE_SUB(CURRENT_DATE(), INTERVAL 8 DAY) "
        f"ORDER BY `{received_at.name}` DESC LIMIT {ROWS}"
    )
