"""The SQL box: one reading statement, bounded in time and size, its error with the place; and the schema beside it."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from concurrent import futures
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from google.cloud import bigquery

from local import item, query
from local.refusal import Refused
from services.shared.schema import EVENTS, LOG_SUFFIX, REJECTS

LIMIT, MOST = 1_000, 10_000  # rows: where nothing is said, and at most
MOST_BYTES = 8_000_000  # of the values of a result
SECONDS = 20.0
_AT_ONCE = 2  # in threads of their own, so that nobody else waits behind them
_LIMIT = re.compile(r"\bLIMIT\s+\S+(\s+OFFSET\s+\S+)?\s*$|(--|#|\*/)[^\n]*$", re.IGNORECASE)
_AT = re.compile(r"\s*(?:at )?\[(\d+):(\d+)\]")
_NAMED = re.compile(r"(?:Unrecognized name: |function |keyword |Table [\w-]+:)`?([\w.]+)`?")
_CODE = re.compile(r"^(invalidQuery|invalid|notFound): ")
_LACKS = re.compile(r"Required keyword: '\w+' missing for <class '[^']*'>")
_TOKEN = re.compile(r"<Token token_type: [^>]*?text: ([^,]*), [^>]*>")


@dataclass
class _Question:
    """`job` once BigQuery has it; `given_up` once nobody waits for its answer."""

    sql: str
    limit: int
    job: Any = None
    given_up: bool = False


class SqlBox:
    """`close` it in the end. `any_sql` is the command that runs what this box does not, where there is one."""

    def __init__(self, client: Any, project: str, dataset: str, any_sql: str | None) -> None:
        self._client, self._project, self._dataset, self._any_sql = client, project, dataset, any_sql
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._threads = futures.ThreadPoolExecutor(2 * _AT_ONCE, "sql")  # as many for what is given up and not over

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def run(self, sql: Any, limit: Any = LIMIT) -> dict[str, Any]:
        """{columns, rows, truncated, bytes, seconds}. Raises Refused, with line and column where they are known.

        A statement whose asker is gone, or that takes longer than SECONDS, is stopped in BigQuery too.
        """
        if not isinstance(sql, str) or not sql.strip():
            raise Refused(f"the SQL is empty; try SELECT user_id, type FROM {self._dataset}.{EVENTS}")  # noqa: S608
        if not isinstance(limit, int) or isinstance(limit, bool) or not 1 <= limit <= MOST:
            raise Refused(f"limit: use a whole number from 1 to {MOST}")
        question = _Question(sql, limit)
        loop = asyncio.get_running_loop()
        async with self._slots:
            try:
                async with asyncio.timeout(SECONDS):
                    return await loop.run_in_executor(self._threads, self._run, question)
            except TimeoutError as error:
                raise Refused(f"it was stopped after {SECONDS:g} s; let it read less, such as fewer days") from error
            finally:
                question.given_up = True
                if question.job is not None and question.job.state != "DONE":
                    # No thread of the pool, which may be closed: the page may be ending.
                    threading.Thread(target=_stop, args=(question.job,), name="sql-stop").start()

    def _run(self, question: _Question) -> dict[str, Any]:
        began = time.monotonic()
        sql, limit = question.sql, question.limit
        no_retry: dict[str, Any] = {"retry": None, "job_retry": None}  # someone is waiting
        try:
            with query.explained():
                config = bigquery.QueryJobConfig(dry_run=True)
                dry = self._client.query(sql, job_config=config, timeout=SECONDS, **no_retry)
                if dry.statement_type != "SELECT":
                    elsewhere = f"; {self._any_sql} runs any" if self._any_sql else ""
                    raise Refused(f"this box only reads: use SELECT, not {dry.statement_type}{elsewhere}")
                if question.given_up:
                    raise query.QueryError("nobody waits for it")
                question.job = self._client.query(_limited(sql, limit + 1), timeout=SECONDS, **no_retry)
                if question.given_up:
                    _stop(question.job)
                found = question.job.result(timeout=SECONDS, max_results=limit + 1, **no_retry)
                return self._result(found, limit, dry.total_bytes_processed or 0, began)
        except query.QueryError as error:
            raise _refusal(str(error), sql) from error

    def _result(self, found: Any, limit: int, read: int, began: float) -> dict[str, Any]:
        rows: list[list[Any]] = []
        size, truncated = 0, False
        for row in found:
            values = [item.shown(value) for value in row.values()]
            size += sum(len(value) if isinstance(value, str) else 8 for value in values)
            if len(rows) == limit or size > MOST_BYTES:
                truncated = True
                break
            rows.append(values)
        return {
            "columns": [{"name": field.name, "type": _type(field)} for field in found.schema],
            "rows": rows,
            "truncated": truncated,
            "bytes": int(read),
            "seconds": round(time.monotonic() - began, 3),
        }

    async def schema(self) -> dict[str, Any]:
        """Every table and view of the dataset as BigQuery has it, and statements to begin with. Raises Refused."""
        try:
            tables = await asyncio.to_thread(self._tables)
        except query.QueryError as error:
            raise Refused(str(error), HTTPStatus.SERVICE_UNAVAILABLE) from error
        names = {table["name"] for table in tables}
        columns = {table["name"]: {column["name"] for column in table["columns"]} for table in tables}
        return {"tables": tables, "examples": self._examples(names, columns)}

    def _tables(self) -> list[dict[str, Any]]:
        with query.explained():
            listed = self._client.list_tables(f"{self._project}.{self._dataset}", timeout=SECONDS, retry=None)
            found = []
            for one in listed:
                table = self._client.get_table(one.reference, timeout=SECONDS, retry=None)
                kind = "view" if table.view_query else "log" if table.table_id.endswith(LOG_SUFFIX) else "table"
                found.append(
                    {
                        "name": table.table_id,
                        "kind": kind,
                        "description": table.description or "",
                        "columns": [
                            {"name": f.name, "type": _type(f), "mode": f.mode, "description": f.description or ""}
                            for f in table.schema
                        ],
                    }
                )
        order = {"view": 0, "table": 1, "log": 2}
        return sorted(found, key=lambda one: (one["name"] not in (EVENTS, REJECTS), order[one["kind"]], one["name"]))

    def _examples(self, names: set[str], columns: dict[str, set[str]]) -> list[dict[str, str]]:
        """Of what this dataset has."""
        events, rejects = f"{self._dataset}.{EVENTS}", f"{self._dataset}.{REJECTS}"
        week = "day >= DATE_SUB(CURRENT_DATE(), INTERVAL 7 DAY)"
        found = []
        have = columns.get(EVENTS, set())
        if {"day", "received_at"} <= have:
            found = [
                ("The latest events", f"SELECT *\nFROM {events}\nWHERE {week}\nORDER BY received_at DESC\nLIMIT 20"),
                (
                    "Events a minute",
                    "SELECT TIMESTAMP_TRUNC(received_at, MINUTE) AS minute, COUNT(*) AS events\n"
                    f"FROM {events}\nWHERE {week}\nGROUP BY minute\nORDER BY minute",
                ),
            ]
            for name in ("type", "protocol"):
                if name in have:
                    title = f"Events by {name}"
                    sql = f"SELECT {name}, COUNT(*) AS events\nFROM {events}\nWHERE {week}\nGROUP BY {name}\n"
                    found.append((title, sql + "ORDER BY events DESC"))
            found.append(("How many in all", f"SELECT COUNT(*) AS events\nFROM {events}\nWHERE {week}"))
        if {"day", "reason"} <= columns.get(REJECTS, set()):
            sql = f"SELECT reason, `column`, COUNT(*) AS rejects\nFROM {rejects}\nWHERE {week}\n"
            found.append(("Why events were refused", sql + "GROUP BY reason, `column`\nORDER BY rejects DESC"))
        found += [
            (f"The view {name}", f"SELECT *\nFROM {self._dataset}.{name}\nLIMIT 100")
            for name in ("page_views", "sessions", "campaigns", "daily_active")
            if name in names
        ]
        return [{"name": name, "sql": sql} for name, sql in found]


def _stop(job: Any) -> None:
    with suppress(query.QueryError), query.explained():  # it may have ended, or BigQuery with it
        job.cancel(timeout=SECONDS, retry=None)


def _limited(sql: str, most: int) -> str:
    """With a LIMIT, where it ends without one: rows that nobody sees need not be made."""
    text = sql.rstrip().removesuffix(";")
    return sql if _LIMIT.search(text) else f"{text}\nLIMIT {most}"


def _type(field: Any) -> str:
    """As SQL spells it."""
    legacy = {"INTEGER": "INT64", "FLOAT": "FLOAT64", "BOOLEAN": "BOOL", "RECORD": "STRUCT"}
    name = legacy.get(field.field_type, field.field_type)
    return f"ARRAY<{name}>" if field.mode == "REPEATED" else name


def _refusal(message: str, sql: str) -> Refused:
    """The place is what BigQuery says, else where the name that it does not know stands first."""
    message = _TOKEN.sub(lambda found: f"{found[1]!r}", _CODE.sub("", message))
    message = _LACKS.sub("something is missing here", message)
    if at := _AT.search(message):
        text = (message[: at.start()] + message[at.end() :]).strip()
        return Refused(text, line=int(at[1]), column=int(at[2]))
    if named := _NAMED.search(message):
        name = re.escape(named[1].rpartition(".")[2])
        if found := re.search(rf"(?<![\w`']){name}(?![\w'])|`{name}`", sql, re.IGNORECASE):
            before = sql[: found.start()]
            return Refused(message, line=before.count("\n") + 1, column=found.start() - before.rfind("\n"))
    return Refused(message)
