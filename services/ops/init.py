"""Writes a schema file to start from: the present one, with a column for what events bring and no column takes.

Names, types and counts come from the events' column of `param.*`. No value is printed, and no name that is not plain.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
from google.cloud import bigquery

from services.ops import deployment, option, output, schema_text, suggested
from services.ops.deployment import TIMEOUT, CommandRefused
from services.ops.observed import Observed
from services.ops.schema_text import NoPlace
from services.ops.suggested import Suggestions
from services.processor import parse
from services.shared import schema_file, schema_yaml
from services.shared.name_rules import NameRules
from services.shared.privacy import OFF
from services.shared.schema import TENANT, Schema, Table

PAGE_ROWS = 1_000
QUERY_SECONDS = 600.0
LONGEST = 65_536  # bytes of one row's parameters; what has more is counted and not looked at


class _Noted(msgspec.Struct):
    """One of a row's problems, without its value."""

    column: str = ""
    reason: str = ""


_noted = msgspec.json.Decoder(list[_Noted])


def add_options(parser: argparse.ArgumentParser) -> None:
    deployment.add_project(parser)
    deployment.add_dataset(parser)
    parser.add_argument("--since", type=option.day, metavar="DAY", help="events of this day and later (yesterday, UTC)")
    parser.add_argument("--rows", type=option.whole(1), default=20_000, help="of each table to look at (%(default)s)")
    parser.add_argument(
        "--share", type=option.number(0, 100), default=1.0, help="percent of the rows that have a name (%(default)s)"
    )
    output.add_json(parser, "one JSON object: the file, and what was looked at")
    parser.add_argument(
        "--columns", type=option.whole(1), default=100, help="to suggest for each table, at most (%(default)s)"
    )


async def run(options: argparse.Namespace) -> int:
    """The file goes to stdout, what was looked at and left out to stderr."""
    file = str(options.schema)
    text = schema_yaml.read(Path(file))
    found = schema_file.parse(text, file)
    names = schema_text.tables(text, file)
    if not names:
        raise CommandRefused(f"{file}: no table has a column from param.*, so nothing knows what no column takes")
    since = options.since or datetime.now(UTC).date() - timedelta(days=1)
    rows = _Rows(
        deployment.bigquery_client(options.project), f"{options.project}.{options.dataset}", since, options.rows
    )
    secrets = NameRules(found.privacy[OFF], anonymize=False)
    lines: dict[str, list[str]] = {}
    looked: dict[str, Any] = {}
    for name, column in names.items():
        with output.working(f"reading {name}"):
            seen, problems = await asyncio.to_thread(_look, rows, _of(found, name), column)
        if not seen.rows:
            print(f"init: {name}: no events since {since}", file=sys.stderr)
            looked[name] = {"events": 0, "columns": [], "left_out": {}}
            continue
        made = suggested.suggest(
            seen,
            _of(found, name)[0],
            least_share=options.share / 100,
            most=options.columns,
            is_secret=lambda path: (rule := secrets.find(path)) is not None and rule.secret,
        )
        lines[name] = _lines(made, seen.rows, problems, since)
        _report(name, made, seen)
        looked[name] = {
            "events": seen.rows,
            "columns": [column.name for column in made.columns],
            "left_out": made.left_out,
        }
    try:
        written = schema_text.insert(text, file, lines)
    except NoPlace as error:
        raise CommandRefused(f"{file}: {error}") from None
    schema_file.parse(written, file)  # what is suggested can be used
    sys.stdout.write(json.dumps({"tables": looked, "schema": written}) + "\n" if options.json else written)
    return 0


def _of(found: Schema, name: str) -> list[Table]:
    """The tables that one of the file's is: itself, or those of its tenants."""
    pattern = re.compile(re.escape(name).replace(re.escape(TENANT), "[A-Za-z0-9_]+"), re.ASCII)
    return [table for table in found.tables.values() if pattern.fullmatch(table.name)]


def _look(rows: _Rows, tables: list[Table], column: str) -> tuple[Observed, Counter[tuple[str, str]]]:
    seen, problems = Observed(), Counter[tuple[str, str]]()
    for table in tables:
        known = {one.name for one in table.columns}
        for params, noted in rows.of(table, column):
            seen.add(params)
            problems.update(_problems(noted, known))
    return seen, problems


def _problems(noted: str | None, known: set[str]) -> Iterator[tuple[str, str]]:
    """Column and reason of each problem, both of ours: the rest of it is a stranger's."""
    try:
        found = _noted.decode(noted) if noted is not None else []
    except msgspec.MsgspecError:
        return
    for one in found:
        top = re.split(r"[.[]", one.column, maxsplit=1)[0]
        if top in known and one.reason in parse.PROBLEMS:
            yield top, one.reason


class _Rows:
    """The parameters and problems of a sample of a table's events, the same ones each time."""

    def __init__(self, client: Any, dataset: str, since: date, most: int) -> None:
        self._client, self._dataset, self._since, self._most = client, dataset, since, most

    def of(self, table: Table, column: str) -> Iterator[tuple[str | None, str | None]]:
        day, event_id = table.filled_by("event.day").name, table.filled_by("event.id").name
        noted = table.column_from("event.problems")
        problems = f"TO_JSON_STRING(`{noted.name}`)" if noted is not None and noted.type == "JSON" else "NULL"
        params = f"TO_JSON_STRING(`{column}`)"
        sql = (
            f"SELECT CASE WHEN BYTE_LENGTH({params}) <= {LONGEST} THEN {params} END AS params,\n"
            f"  {problems} AS problems\n"
            f"FROM `{self._dataset}.{table.name}` WHERE `{day}` >= @since\n"
            f"ORDER BY SHA256(`{event_id}`) LIMIT {self._most}"
        )
        parameters = [bigquery.ScalarQueryParameter("since", "DATE", self._since)]
        config = bigquery.QueryJobConfig(query_parameters=parameters)
        job = self._client.query(sql, job_config=config, timeout=TIMEOUT)
        for row in job.result(page_size=PAGE_ROWS, timeout=QUERY_SECONDS):
            yield row["params"], None if row["problems"] == "null" else row["problems"]


def _lines(made: Suggestions, rows: int, problems: Counter[tuple[str, str]], since: date) -> list[str]:
    lines = [
        f"# {column}: {count:,} values did not fit ({reason})" for (column, reason), count in problems.most_common()
    ]
    if made.columns:
        lines.append(f"# Suggested by `pixelpipe init` from {rows:,} events since {since}: keep what you need.")
    return lines + [column.line(rows) for column in made.columns]


def _report(name: str, made: Suggestions, seen: Observed) -> None:
    said = [f"{count:,} {why}" for why, count in made.left_out.items()]
    said += ["the names that came first, of too many"] if seen.is_full else []
    left = f"; left out: {', '.join(said)}" if said else ""
    print(f"init: {name}: {seen.rows:,} events, {len(made.columns)} columns suggested{left}", file=sys.stderr)
