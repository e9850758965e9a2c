"""What came: events, rejects and rows with problems, newest last, as BigQuery gets them. Bounded however much comes.

BigQuery cannot push, and a row's time of receipt is no order of arrival: what was spooled comes late. So the rows of
each log are counted, and where there are more than before the newest are read; when those are not the new ones, more
are. What is more than fits is counted as skipped. What went wrong has room of its own and is counted apart: it is never
hidden by what went well.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice, takewhile
from math import inf
from typing import Any

from google.cloud import bigquery

from local import item, query
from local.item import Columns
from services.shared.lru_set import LruSet
from services.shared.schema import REJECTS, Schema, Table

KEPT = 2_000  # items of what went wrong, and as many others
MOST, WIDE = 200, 2_000  # rows read of a table at a time; of rejects, and to find what went wrong or came late
TABLES = 8  # a schema with a table for each tenant may have hundreds
# Between two looks: while the page is open, while a test waits, while nobody looks, and at Google's BigQuery.
SECONDS, HURRIED, UNWATCHED, REMOTE = 1.0, 0.1, 5.0, 15.0
# A second, read of Google's BigQuery, so for 6 cents an hour: looks that read more are rarer.
REMOTE_BYTES = 10 * 2**30 / 3600
_KNOWN = 50_000
_TIMEOUT, _REMOTE_TIMEOUT = 10.0, 60.0  # what is given up is billed all the same
_REST_FACTOR, _LONGEST_REST = 2, 3.0  # after a slow look, a rest of so many times as long, and at most so many seconds
_DAYS = timedelta(days=8)  # an event's day is at most a week before it was received
_REMOTE_DAYS = timedelta(days=1)  # each costs


@dataclass(frozen=True)
class Entry:
    number: int
    item: dict[str, Any]


class Feed:
    """`changed()` waits for what comes next; `since` is the last reset; of a `remote` BigQuery each look costs."""

    def __init__(self, client: Any, dataset: str, schema: Schema, *, remote: bool = False) -> None:
        self._client, self._dataset, self.remote = client, dataset, remote
        self.tables = [*[table for name, table in schema.tables.items() if name != REJECTS][:TABLES], schema.rejects]
        self.columns = {table.name: Columns.of(table) for table in self.tables}
        self._well: deque[Entry] = deque(maxlen=KEPT)
        self._wrong: deque[Entry] = deque(maxlen=KEPT)
        self._known = LruSet[str](_KNOWN)
        self._counts: dict[str, int] = {}
        self._number = 0  # of the last entry
        self._bytes = 0  # read by the look
        self._skipped: deque[tuple[int, int]] = deque(maxlen=KEPT)  # (number of the entry after, how many)
        self._waiters, self._watched = 0, -inf
        self._wake = asyncio.Event()
        self._change = asyncio.Event()
        self.since: datetime | None = None
        self.resets = 0
        self.wrong: int | None = None  # rows that went wrong, of the days looked at or since the reset; None: not known
        self.error: str | None = None

    async def run(self) -> None:
        while True:
            began = time.monotonic()
            await self.look()
            took = time.monotonic() - began
            if self.remote:
                pause = REMOTE if self.error is None else _REMOTE_TIMEOUT
                await asyncio.sleep(max(pause, self._bytes / REMOTE_BYTES))
                if not self._is_watched():
                    self._wake.clear()
                    await self._wake.wait()
                continue
            pause = HURRIED if self._waiters else SECONDS if self._is_watched() else UNWATCHED
            rest = min(_LONGEST_REST, _REST_FACTOR * took)
            self._wake.clear()
            try:
                await asyncio.wait_for(self._wake.wait(), max(pause, rest))
            except TimeoutError:
                continue

    async def changed(self, seconds: float, hurry: bool = False) -> None:
        """Wait until something came or was reset, at most so long; who waits makes the looks more frequent."""
        if not self._is_watched() or (hurry and not self._waiters):
            self._wake.set()
        self._watched = time.monotonic()
        self._waiters += hurry
        change = self._change
        try:
            await asyncio.wait_for(change.wait(), seconds)
        except TimeoutError:
            return
        finally:
            self._waiters -= hurry

    def _is_watched(self) -> bool:
        return time.monotonic() - self._watched < UNWATCHED

    def reset(self) -> datetime:
        """Show only what is received from now on."""
        self.since = datetime.now(UTC)
        self.resets += 1
        self._well.clear()
        self._wrong.clear()
        self._skipped.clear()
        self.wrong = 0
        self._announce()
        return self.since

    @property
    def newest(self) -> int:
        return self._number

    def said(self) -> dict[str, Any]:
        """Beside the state."""
        return {"wrong": self.wrong, "feed_error": self.error}

    def after(self, number: int, most: int) -> tuple[list[dict[str, Any]], int, int]:
        """Items after the one of this number, oldest first: they, how many were left out, the last one's number.

        The newest `most` of what went wrong, and as many others. 0 is who has just come, and has missed nothing.
        """
        found = [*_newest(self._well, number, most), *_newest(self._wrong, number, most)]
        found.sort(key=lambda entry: entry.number)
        skipped = self._number - number - len(found) + sum(count for at, count in self._skipped if at > number)
        return [entry.item for entry in found], skipped if number else 0, self._number

    async def look(self) -> None:
        """Read what is new; `error` says why that was not possible, of all tables or of one."""
        try:
            since = self.since
            found, skipped, wrong, self.error = await asyncio.to_thread(self._read, since)
        except query.QueryError as error:
            self.error = str(error)
            return
        except Exception as error:  # noqa: BLE001 - a value that the client cannot read must not end the page
            self.error = f"rows cannot be read: {' '.join(repr(error).split())[:200]}"
            return
        if self.since == since:
            self.wrong = wrong
        if self.since is not None:
            found = [row for row in found if _received(row[1], self.columns[row[0].name]) >= self.since]
        for table, row in sorted(found, key=lambda one: _received(one[1], self.columns[one[0].name])):
            self._number += 1
            made = item.of(table, self.columns[table.name], row)
            (self._well if made["kind"] == item.EVENT else self._wrong).append(Entry(self._number, made))
        if skipped:
            self._skipped.append((self._number, skipped))
        if found or skipped:
            self._announce()

    def _announce(self) -> None:
        self._change.set()
        self._change = asyncio.Event()

    def _read(self, since: datetime | None) -> tuple[list[tuple[Table, dict[str, Any]]], int, int | None, str | None]:
        """New rows, in no order, how many more there are, how many went wrong, and why a part could not be read."""
        self._bytes = 0
        failed: str | None = None
        found, skipped, before = [], 0, dict(self._counts)
        with query.explained():
            counts = self._count()
        for table in self.tables:
            try:
                with query.explained():
                    new, more = self._of_table(table, counts[table.name])
            except query.QueryError as error:
                failed = f"{table.name}: {error}"  # the next look reads it again
                continue
            found += [(table, row) for row in new]
            skipped += more
        wrong = self.wrong
        if wrong is None or counts != before:
            try:
                with query.explained():
                    wrong = self._count_wrong(since)
            except query.QueryError as error:
                wrong, failed = None, failed or f"what went wrong cannot be counted: {error}"
        return found, skipped, wrong, failed

    def _of_table(self, table: Table, count: int) -> tuple[list[dict[str, Any]], int]:
        """Its new rows, and how many more there are. Nothing is known until all has been read."""
        before = self._counts.get(table.name)
        grown = count - (before or 0)
        most = WIDE if table.name == REJECTS else MOST
        fresh: dict[str, None] = {}  # identities, in order
        new: list[dict[str, Any]] = []
        if grown > 0:
            new = self._new(table, fresh, most if before is None else min(most, 2 * grown + 50))
        if before is not None and len(new) < grown <= most:
            new += self._new(table, fresh, WIDE)
        if len(new) < grown:
            new += self._new_problems(table, fresh)
        if len(new) < grown:  # what the list leaves out is not new later
            identifying = item.identity(table, self.columns[table.name])
            fresh |= dict.fromkeys(identity for identity, _ in self._latest(table, identifying, WIDE))
        # What came after the count has been read too: the next look need not search for it.
        self._counts[table.name] = count if before is None else max(count, before + len(new))
        for identity in fresh:
            self._known.add(identity)
        return new, 0 if before is None else max(0, grown - len(new))

    def _count(self) -> dict[str, int]:
        sql = " UNION ALL ".join(
            f"SELECT '{table.name}' AS name, COUNT(*) AS n FROM `{self._dataset}.{table.log_name}`"  # noqa: S608
            for table in self.tables
        )
        return {row["name"]: row["n"] for row in query.rows(self._client, sql, timeout=_TIMEOUT)}

    def _count_wrong(self, since: datetime | None) -> int:
        """Each row once, however often it was appended."""
        tables = []
        for table in self.tables:
            columns = self.columns[table.name]
            if (wrong := _wrong(table, columns)) is None:
                continue
            names = ", ".join(f"`{name}`" for name in item.identity(table, columns))
            later = f" AND `{columns.received_at}` >= @since" if since is not None else ""
            tables.append(
                f"SELECT COUNT(*) AS n FROM (SELECT DISTINCT {names} "  # noqa: S608 - as below
                f"FROM `{self._dataset}.{table.log_name}` WHERE `{columns.day}` >= @first AND {wrong}{later})"
            )
        parameters = [self._first(), *([bigquery.ScalarQueryParameter("since", "TIMESTAMP", since)] if since else [])]
        found = self._ask(f"SELECT SUM(n) AS n FROM ({' UNION ALL '.join(tables)})", parameters)  # noqa: S608
        return sum(row["n"] or 0 for row in found)

    def _first(self) -> bigquery.ScalarQueryParameter:
        days = _REMOTE_DAYS if self.remote else _DAYS
        return bigquery.ScalarQueryParameter("first", "DATE", (datetime.now(UTC) - days).date())

    def _ask(self, sql: str, parameters: list[Any]) -> Any:
        config = bigquery.QueryJobConfig(query_parameters=parameters)
        found = query.rows(self._client, sql, timeout=_REMOTE_TIMEOUT if self.remote else _TIMEOUT, config=config)
        self._bytes += found.total_bytes_processed or 0
        return found

    def _new(self, table: Table, fresh: dict[str, None], most: int, where: str = "") -> list[dict[str, Any]]:
        new = []
        for identity, values in self._latest(table, [column.name for column in table.columns], most, where):
            if identity not in self._known and identity not in fresh:
                fresh[identity] = None
                new.append(values)
        return new

    def _latest(
        self, table: Table, names: Sequence[str], most: int, where: str = ""
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """The identity of each row, and its columns of these names."""
        columns = self.columns[table.name]
        listed = ", ".join(f"`{name}`" for name in names)
        sql = (
            f"SELECT {listed} FROM `{self._dataset}.{table.log_name}` "  # noqa: S608 - names the schema file's check let by
            f"WHERE `{columns.day}` >= @first {where} ORDER BY `{columns.received_at}` DESC LIMIT {most}"
        )
        for row in self._ask(sql, [self._first()]):
            values = dict(row.items())
            yield item.key(table, columns, values), values

    def _new_problems(self, table: Table, fresh: dict[str, None]) -> list[dict[str, Any]]:
        """What went wrong is shown even where much went well."""
        wrong = _wrong(table, self.columns[table.name])
        return self._new(table, fresh, WIDE, f"AND {wrong}") if wrong and table.name != REJECTS else []


def _wrong(table: Table, columns: Columns) -> str | None:
    """The condition of a row that went wrong; None where the table cannot tell."""
    return "TRUE" if table.name == REJECTS else f"`{columns.problems}` IS NOT NULL" if columns.problems else None


def _newest(kept: Sequence[Entry], number: int, most: int) -> Iterator[Entry]:
    """After `number`, newest first."""
    return islice(takewhile(lambda entry: entry.number > number, reversed(kept)), most)


def _received(row: dict[str, Any], columns: Columns) -> datetime:
    value = row.get(columns.received_at)
    return value if isinstance(value, datetime) and value.tzinfo else datetime.min.replace(tzinfo=UTC)
