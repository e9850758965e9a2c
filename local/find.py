"""Looks for events and rejects in BigQuery's views, and waits for what is on its way: for tests of trackers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any

from google.cloud import bigquery

from local import item, query
from local.feed import REMOTE, Feed
from local.refusal import Refused
from services.shared.schema import KEY_COLUMNS, REJECTS, Column, Table

MOST, LIMIT, LONGEST = 1_000, 100, 30.0  # rows, rows where nothing is said, seconds of waiting
WAITERS = 64
_TIMEOUT = 30.0
DAYS = timedelta(days=8)
_SOURCES = {
    "event_id": ("event.id",),
    "user_id": ("param.user_id",),
    "anonymous_id": ("param.anonymous_id",),
    "type": item.TYPE,
    "protocol": ("hit.protocol",),
    "tenant": ("hit.tenant", "param.tenant"),
    "reason": ("reject.reason",),
    "column": ("reject.column",),
}
_OTHERS = ("table", "limit", "wait", "count")


@dataclass(frozen=True)
class Wanted:
    filters: Mapping[str, str]
    table: str | None
    limit: int
    wait: float
    count: int
    before_reset: bool = False  # also what was received before
    most: int = item.MOST_CHARACTERS  # of a value


def wanted(given: Mapping[str, str]) -> Wanted:
    """From the query string. Raises Refused naming the parameter."""
    for name in given:
        if name not in (*_SOURCES, *_OTHERS):
            raise Refused(f"{name[:40]!r} is not a parameter here; use some of {', '.join((*_SOURCES, *_OTHERS))}")
    for name, value in given.items():
        refuse_null(name, value)
    wait = _number(given, "wait", 0.0, LONGEST)
    return Wanted(
        {name: given[name] for name in _SOURCES if name in given},
        given.get("table"),
        int(_number(given, "limit", LIMIT, MOST)),
        wait,
        int(_number(given, "count", 1 if wait else 0, MOST)),
    )


def refuse_null(name: str, value: str) -> None:
    """Raises Refused."""
    if "\0" in value:
        raise Refused(f"{name}: nothing can be looked for by a null byte")


def _number(given: Mapping[str, str], name: str, usual: float, most: float) -> float:
    if name not in given:
        return usual
    try:
        value = float(given[name])
        if not 0 <= value <= most:
            raise ValueError
    except ValueError:
        raise Refused(f"{name}={given[name][:40]!r}: use a number from 0 to {most:g}") from None
    return value


class Finder:
    def __init__(self, client: Any, dataset: str, feed: Feed) -> None:
        self._client, self._dataset, self._feed = client, dataset, feed
        self._waiting = 0

    async def events(self, asked: Wanted) -> dict[str, Any]:
        tables = [table for table in self._feed.tables if table.name != REJECTS]
        if asked.table is not None:
            tables = [table for table in tables if table.name == asked.table]
            if not tables:
                known = ", ".join(table.name for table in self._feed.tables if table.name != REJECTS)
                raise Refused(f"no table {asked.table[:40]!r}; it has {known}")
        return await self._found(tables, asked)

    async def rejects(self, asked: Wanted) -> dict[str, Any]:
        """`table` is the one they were meant for."""
        return await self._found([self._feed.tables[-1]], asked)

    async def _found(self, tables: list[Table], asked: Wanted) -> dict[str, Any]:
        """{items, waited, complete}. Raises Refused where BigQuery does not answer."""
        if self._waiting >= WAITERS:
            raise Refused(f"{WAITERS} requests wait already", HTTPStatus.TOO_MANY_REQUESTS)
        began = time.monotonic()
        self._waiting += 1
        try:
            while True:
                items = await self.look(tables, asked)
                waited = time.monotonic() - began
                if len(items) >= asked.count or waited >= asked.wait:
                    break
                # What came between the look and this wait is seen at the next look, half a second later at most; where
                # each costs, when the feed has something new.
                await self._feed.changed(min(REMOTE if self._feed.remote else 0.5, asked.wait - waited), hurry=True)
        finally:
            self._waiting -= 1
        return {"items": items, "waited": round(waited, 3), "complete": len(items) >= asked.count}

    async def look(self, tables: list[Table], asked: Wanted) -> list[dict[str, Any]]:
        """Newest first. Raises Refused."""
        found: list[dict[str, Any]] = []
        try:
            for table in tables:
                found += await asyncio.to_thread(self._read, table, asked)
        except query.QueryError as error:
            raise Refused(str(error), HTTPStatus.SERVICE_UNAVAILABLE) from error
        found.sort(key=lambda one: str(one["at"]), reverse=True)
        return found[: asked.limit]

    async def one(self, event_id: str, table: str | None = None) -> dict[str, Any] | None:
        """The row of an event, of `table` or else of any, rejects last."""
        tables = [one for one in self._feed.tables if table in (None, one.name)]
        asked = Wanted({"event_id": event_id}, None, 1, 0.0, 0, before_reset=True, most=item.WHOLE)
        for one in tables:
            if found := await self.look([one], asked):
                return found[0]
        return None

    def _read(self, table: Table, asked: Wanted) -> list[dict[str, Any]]:
        columns = self._feed.columns[table.name]
        parameters = [bigquery.ScalarQueryParameter("first", "DATE", (datetime.now(UTC) - DAYS).date())]
        where = [f"`{columns.day}` >= @first"]
        if self._feed.since is not None and not asked.before_reset:
            where.append(f"`{columns.received_at}` >= @since")
            parameters.append(bigquery.ScalarQueryParameter("since", "TIMESTAMP", self._feed.since))
        filters = dict(asked.filters)
        if asked.table is not None and table.name == REJECTS:
            filters["table"] = asked.table
        for name, value in filters.items():
            column = _column(table, name)
            if column is None:
                # A reject has no such column: its hit holds what was sent.
                if (hit := columns.reject.get("hit")) is not None:
                    where.append(f"STRPOS(TO_JSON_STRING(`{hit}`), @{name}) > 0")
                else:
                    raise Refused(f"table {table.name} has no column for {name}")
            else:
                where.append(f"CAST(`{column.name}` AS STRING) = @{name}")
            parameters.append(bigquery.ScalarQueryParameter(name, "STRING", value))
        names = ", ".join(f"`{column.name}`" for column in table.columns)
        sql = (
            f"SELECT {names} FROM `{self._dataset}.{table.name}` "  # noqa: S608 - names the schema file's check let by
            f"WHERE {' AND '.join(where)} ORDER BY `{columns.received_at}` DESC LIMIT {asked.limit}"
        )
        with query.explained():
            config = bigquery.QueryJobConfig(query_parameters=parameters)
            found = query.rows(self._client, sql, timeout=_TIMEOUT, config=config)
            return [item.of(table, columns, dict(row.items()), asked.most) for row in found]


def _column(table: Table, name: str) -> Column | None:
    """The one of this name, where that identifies an event, whatever fills it; else the one that is filled by it."""
    if name in KEY_COLUMNS:
        for column in table.columns:
            if column.name == name:
                return column
    found = (table.column_from(source) for source in _SOURCES.get(name, (f"reject.{name}",)))
    return next(filter(None, found), None)
