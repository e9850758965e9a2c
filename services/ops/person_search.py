"""Finds, exports and deletes the rows of people in the log tables of one dataset."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from google.api_core import exceptions
from google.cloud import bigquery

from services.ops import person_sql
from services.ops.deployment import TIMEOUT
from services.ops.people import People
from services.ops.person_match import Matcher
from services.ops.person_sql import Condition, Target
from services.shared import fault
from services.shared.schema import CONFLICTS, LOG_SUFFIX, Schema

QUERY_SECONDS = 1_800.0  # one statement on one table may take
PAGE_ROWS = 1_000
MOST_DIGESTS = 50_000  # in one statement, which then is 4 MB
BUFFER_PAUSE = 30.0  # seconds between looks at a streaming buffer
# BigQuery gives up a statement that met another one on the same rows; it says so, and takes it again.
_CONCURRENT = ("concurrent update", "could not serialize")
_ATTEMPTS = 8
_BACKOFF = 0.5  # seconds, doubled each time


class StillBuffered(Exception):
    """BigQuery does not change these rows yet; the text is its own."""


class Ended(Exception):
    """Before the next statement, as end() said."""


@dataclass
class Found:
    """The rows of one table: how many in each partition, for each condition that finds some."""

    target: Target
    columns: Sequence[str]
    parts: list[tuple[Condition, dict[date, int]]] = field(default_factory=list)

    @property
    def rows(self) -> int:
        return sum(count for _, days in self.parts for count in days.values())


class PersonSearch:
    """Searches for one set of people; `waiting` is called with a text before a pause, and with "" after it."""

    def __init__(
        self,
        client: Any,
        project: str,
        dataset: str,
        schema: Schema,
        people: People,
        *,
        waiting: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._client, self._dataset = client, f"{project}.{dataset}"
        self._schema, self._people, self._waiting = schema, people, waiting
        self.matcher = Matcher(people, schema)
        self._ended = threading.Event()

    def end(self) -> None:
        """From any thread: delete() begins no other statement."""
        self._ended.set()

    def tables(self) -> tuple[list[Target], dict[str, list[str]], list[str]]:
        """Where to look, the columns of each table, and the tables that are not there."""
        columns: dict[str, list[str]] = {}
        absent = []
        for name in (*self._schema.tables, CONFLICTS):
            try:
                found = self._client.get_table(f"{self._dataset}.{name}{LOG_SUFFIX}", timeout=TIMEOUT)
            except exceptions.NotFound:
                absent.append(name)
            else:
                columns[name] = [one.name for one in found.schema]
        return list(person_sql.targets(self._schema, self._people, columns)), columns, absent

    def find(self, target: Target, columns: Sequence[str]) -> Found:
        """Counts the rows of the people in one table. A row that two conditions find counts twice."""
        found = Found(target, columns)
        for wanted in person_sql.conditions(target, self._people):
            self._count(found, wanted)
        if target.hits and not self._people.everyone:
            digests = self._hits(target)
            for start in range(0, len(digests), MOST_DIGESTS):
                self._count(found, person_sql.holding(target, digests[start : start + MOST_DIGESTS]))
        return found

    def delete(self, found: Found, *, buffer_seconds: float) -> Iterator[int]:
        """Deletes what was found, and how many rows each statement did. Raises StillBuffered after that long; Ended."""
        for wanted, days in found.parts:
            yield self._change(
                person_sql.delete(found.target, self._dataset, days, wanted), time.monotonic() + buffer_seconds
            )

    def export(self, found: Found) -> Iterator[str]:
        """What was found, a JSON object for each row."""
        for wanted, days in found.parts:
            for row in self._rows(person_sql.export(found.target, self._dataset, found.columns, days, wanted)):
                yield row["found"]

    def _hits(self, target: Target) -> list[str]:
        """The SHA-256 of the texts of hits that hold one of the people."""
        digests = dict.fromkeys(
            hashlib.sha256(row["text"].encode()).hexdigest()
            for row in self._rows(person_sql.read_hits(target, self._people, self._dataset))
            if row["text"] is not None and self.matcher.reject(row["text"])
        )
        return list(digests)

    def _count(self, found: Found, wanted: Condition) -> None:
        rows = self._rows(person_sql.by_day(found.target, self._dataset, wanted))
        if days := {row["day"]: int(row["found"]) for row in rows}:
            found.parts.append((wanted, days))

    def _rows(self, asked: Condition) -> Any:
        return self._job(asked).result(page_size=PAGE_ROWS, timeout=QUERY_SECONDS)

    def _job(self, asked: Condition) -> Any:
        # A cached answer would show rows as they were before.
        config = bigquery.QueryJobConfig(query_parameters=list(asked.parameters), use_query_cache=False)
        return self._client.query(asked.sql, job_config=config, timeout=TIMEOUT)

    def _change(self, asked: Condition, buffer_until: float) -> int:
        attempts = 0
        while not self._ended.is_set():
            try:
                job = self._job(asked)
                job.result(timeout=QUERY_SECONDS)
                return int(job.num_dml_affected_rows or 0)
            except exceptions.GoogleAPICallError as error:
                text = str(error)
                if "streaming buffer" in text:
                    pause = min(BUFFER_PAUSE, buffer_until - time.monotonic())
                    if pause <= 0:
                        raise StillBuffered(fault.words(error)) from error
                    self._waiting("rows are in the streaming buffer")
                elif any(sign in text.lower() for sign in _CONCURRENT) and attempts < _ATTEMPTS:
                    pause = _BACKOFF * 2**attempts
                    attempts += 1
                    self._waiting("another statement changes this table")
                else:
                    raise
                self._ended.wait(pause)
                self._waiting("")
        raise Ended
