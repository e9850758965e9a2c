"""The rows of the view `rejects`: which of them to look at, how many there are, and whether their event has arrived."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from google.cloud import bigquery

from services.ops.deployment import TIMEOUT, CommandRefused
from services.provision import view
from services.shared.schema import REJECTS, Schema, Table

PAGE_ROWS = 1_000
QUERY_SECONDS = 600.0
_ID_DAYS = timedelta(days=7)  # how long before its receipt an event may have been made, and so say its day


@dataclass(frozen=True)
class Wanted:
    """Conditions, all of which must hold; an empty one always does. `since` and `until` are of the receipt."""

    reasons: tuple[str, ...] = ()
    tables: tuple[str, ...] = ()
    stages: tuple[str, ...] = ()
    event_ids: tuple[str, ...] = ()
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True)
class Reject:
    """One row; None where it holds NULL or the schema file has no such column. `hit` is JSON text.

    `loaded` says that the event is in a table by now, and leaves `hit` out.
    """

    event_id: str
    stage: str | None
    table: str | None
    reason: str
    detail: str | None
    hit: str | None
    loaded: bool


@dataclass(frozen=True)
class Count:
    """How many rejects there are of one kind, and how many of them are `loaded` by now."""

    stage: str | None
    table: str | None
    reason: str
    rejects: int
    loaded: int


class Rejects:
    """Asks BigQuery; with `pending` it also looks for each event in all tables of the schema file.

    An event that was refused by one table may be taken by another once the schema is fixed: hence all. In each table
    the event is the one of the same key, as far as `rejects` has columns of the names and types of the key's. Only a
    table with `copy` says nothing of the others, nor they of it: of one event, both have a row.
    """

    def __init__(
        self, client: Any, project: str, dataset: str, schema: Schema, wanted: Wanted, *, pending: bool
    ) -> None:
        self._client, self._dataset, self._schema = client, f"{project}.{dataset}", schema
        self._wanted, self._pending = wanted, pending
        self._names = {name: self._column(name) for name in ("stage", "table", "reason", "detail", "hit")}
        for option, name, given in (("--stage", "stage", wanted.stages), ("--table", "table", wanted.tables)):
            if given and self._names[name] is None:
                raise CommandRefused(f"{option}: the schema file's table {REJECTS} has no column from reject.{name}")
        self._copies = sorted(table.name for table in schema.tables.values() if table.copy)
        # The tables of events, by the columns they share with the rejects.
        self._kinds: dict[tuple[str, ...], list[Table]] = {}
        for table in schema.tables.values():
            if table.name != REJECTS:
                self._kinds.setdefault(self._shared(table), []).append(table)
        self._parameters, self._where = self._conditions()

    def counts(self) -> list[Count]:
        """By stage, table and reason, the most frequent first."""
        days = self._days()
        if days is None:
            return []
        sql = (
            f"SELECT r.stage, r.table_name, r.reason, COUNT(*) AS rejects, COUNTIF({self._is_loaded()}) AS loaded\n"
            f"{self._from()}\nGROUP BY r.stage, r.table_name, r.reason\nORDER BY rejects DESC, r.reason"
        )
        return [
            Count(row["stage"], row["table_name"], row["reason"], row["rejects"], row["loaded"])
            for row in self._ask(sql, days)
        ]

    def pages(self) -> Iterator[list[Reject]]:
        """Every reject once, PAGE_ROWS at most at a time."""
        days = self._days()
        if days is None:
            return
        sql = (
            "SELECT r.event_id, r.stage, r.table_name, r.reason, r.detail,\n"
            f"  {self._is_loaded()} AS loaded,\n"
            f"  CASE WHEN NOT {self._is_loaded()} THEN r.hit END AS hit\n"
            f"{self._from()}"
        )
        for page in self._ask(sql, days).pages:
            yield [
                Reject(
                    row["event_id"],
                    row["stage"],
                    row["table_name"],
                    row["reason"],
                    row["detail"],
                    row["hit"],
                    row["loaded"],
                )
                for row in page
            ]

    def _column(self, name: str) -> str | None:
        column = self._schema.rejects.column_from(f"reject.{name}")
        return None if column is None else f"`{column.name}`"

    def _key(self, table: str) -> tuple[str, str]:
        key = self._schema.tables[table].key
        return key[0], key[-1]

    def _shared(self, table: Table) -> tuple[str, ...]:
        """The columns of the table's key, beside day and event id, that a reject has too."""
        own = {column.name: column.type for column in self._schema.rejects.columns}
        return tuple(sorted(name for name in table.key[1:-1] if own.get(name) == table.column(name).type))

    def _is_loaded(self) -> str:
        """Whether one of the tables holds the event, by the columns that this table shares with the rejects."""
        found = " OR ".join(f"r.key_{number} IN UNNEST(l.keys)" for number in range(len(self._kinds)))
        return f"({found})"

    def _conditions(self) -> tuple[list[Any], str]:
        wanted = self._wanted
        day, event_id = self._key(REJECTS)
        received_at = view.source_column(self._schema.rejects, "hit.received_at")
        # A table may want a condition on its partition column; this one holds for every day there can be.
        first = wanted.since.date() - _ID_DAYS if wanted.since is not None else date(1970, 1, 1)
        parameters: list[Any] = [bigquery.ScalarQueryParameter("first_day", "DATE", first)]
        conditions = [f"`{day}` >= @first_day"]
        for name, column, given in (
            ("reasons", self._names["reason"], wanted.reasons),
            ("tables", self._names["table"], wanted.tables),
            ("stages", self._names["stage"], wanted.stages),
            ("event_ids", f"`{event_id}`", wanted.event_ids),
        ):
            if given:
                parameters.append(bigquery.ArrayQueryParameter(name, "STRING", list(given)))
                conditions.append(f"{column} IN UNNEST(@{name})")
        for name, sign, moment in (("since", ">=", wanted.since), ("until", "<", wanted.until)):
            if moment is not None:
                parameters.append(bigquery.ScalarQueryParameter(name, "TIMESTAMP", moment))
                conditions.append(f"`{received_at}` {sign} @{name}")
        return parameters, " AND ".join(conditions)

    def _days(self) -> tuple[date, date] | None:
        """The first and last day of what is wanted; None where nothing is."""
        day, _ = self._key(REJECTS)
        sql = f"SELECT MIN(`{day}`) AS first, MAX(`{day}`) AS last FROM `{self._dataset}.{REJECTS}` WHERE {self._where}"  # noqa: S608
        (row,) = self._ask(sql)
        return None if row["first"] is None else (row["first"], row["last"])

    def _from(self) -> str:
        """The rejects `r`, joined to `l`, which is there where the event is in a table."""
        day, event_id = self._key(REJECTS)
        names = {name: column or "CAST(NULL AS STRING)" for name, column in self._names.items()}
        return (
            "FROM (\n"  # noqa: S608 - names of the schema file; values go as parameters
            f"  SELECT `{day}` AS day, `{event_id}` AS event_id, {names['stage']} AS stage,\n"
            f"    {names['table']} AS table_name, {names['reason']} AS reason, {names['detail']} AS detail,\n"
            + "".join(f"    {self._refused(shared)} AS key_{number},\n" for number, shared in enumerate(self._kinds))
            + f"    TO_JSON_STRING({names['hit']}) AS hit\n"
            f"  FROM `{self._dataset}.{REJECTS}` WHERE {self._where}\n"
            f") AS r\nLEFT JOIN ({self._loaded()}) AS l ON l.day = r.day AND l.event_id = r.event_id"
        )

    def _loaded(self) -> str:
        if not self._pending:
            return (
                "SELECT CAST(NULL AS DATE) AS day, CAST(NULL AS STRING) AS event_id, CAST([] AS ARRAY<STRING>) AS keys"
            )
        # The log tables hold the same keys as their views, and these columns alone cost less than the views' windows.
        parts = []
        for shared, tables in self._kinds.items():
            for table in tables:
                day, event_id = self._key(table.name)
                values = f"CONCAT('{table.name}', {_values(shared)})" if table.copy else _values(shared)
                parts.append(
                    f"SELECT `{day}` AS day, `{event_id}` AS event_id, {values} AS key_values "  # noqa: S608
                    f"FROM `{self._dataset}.{table.log_name}` "
                    f"WHERE `{day}` BETWEEN @first_loaded AND @last_loaded"
                )
        return (
            "SELECT day, event_id, ARRAY_AGG(DISTINCT key_values) AS keys\n"
            f"FROM ({' UNION ALL '.join(parts)})\nGROUP BY day, event_id"
        )

    def _refused(self, shared: tuple[str, ...]) -> str:
        """The key of a reject; that of a copy begins with its table."""
        table = self._names["table"]
        if not self._copies or table is None:
            return _values(shared)
        copies = ", ".join(f"'{name}'" for name in self._copies)
        return f"CONCAT(IF({table} IN ({copies}), {table}, ''), {_values(shared)})"

    def _ask(self, sql: str, days: tuple[date, date] | None = None) -> Any:
        parameters = list(self._parameters)
        if days is not None and self._pending:
            for name, day in zip(("first_loaded", "last_loaded"), days, strict=True):
                parameters.append(bigquery.ScalarQueryParameter(name, "DATE", day))
        config = bigquery.QueryJobConfig(query_parameters=parameters, use_query_cache=False)
        job = self._client.query(sql, job_config=config, timeout=TIMEOUT)
        return job.result(page_size=PAGE_ROWS, timeout=QUERY_SECONDS)


def _values(columns: tuple[str, ...]) -> str:
    """The values of these columns as one text, in which their names are too."""
    listed = ", ".join(f"`{name}`" for name in columns)
    return f"TO_JSON_STRING(STRUCT({listed}))" if columns else "'{}'"
