"""`query`: runs one SQL statement on the stack's BigQuery, through Google's client; prints a table or JSON lines."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, TextIO

import requests
from google.api_core import exceptions
from google.auth.credentials import AnonymousCredentials
from google.auth.exceptions import GoogleAuthError
from google.cloud import bigquery
from rich.console import Console
from rich.table import Table
from rich.text import Text

from services.shared import fault

TIMEOUT = 60.0  # seconds a query may take
TABLE_ROWS = 1_000  # a table is laid out in memory; JSON lines have no such limit
_MOST_COLUMNS = 10_000  # the width of the table where output goes to a file
# Escaped in JSON, since a terminal might act on them: delete, the C1 controls, and changes of writing direction.
_UNSAFE = re.compile("[\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


class QueryError(Exception):
    """The query failed; the text is one line that says why."""


def client(project: str, url: str) -> Any:
    """Google's client, pointed at a BigQuery emulator."""
    return bigquery.Client(project=project, credentials=AnonymousCredentials(), client_options={"api_endpoint": url})


def rows(client: Any, sql: str, timeout: float = TIMEOUT, limit: int | None = None, config: Any = None) -> Any:
    """The RowIterator of a query; read it inside `explained()`. Never retries: someone is waiting."""
    return client.query_and_wait(
        sql,
        job_config=config,
        retry=None,
        job_retry=None,
        api_timeout=timeout,
        wait_timeout=timeout,
        max_results=limit,
    )


@contextmanager
def explained() -> Iterator[None]:
    """Turn whatever the client raises into a QueryError."""
    try:
        yield
    except exceptions.GoogleAPICallError as error:
        raise QueryError(_reason(error)) from error
    except exceptions.GoogleAPIError as error:
        raise QueryError(str(error)) from error
    except TimeoutError as error:  # of futures: BigQuery answered, but not with the result
        raise QueryError("it took too long") from error
    except requests.ConnectionError as error:
        raise QueryError("BigQuery does not answer") from error
    except requests.RequestException as error:
        raise QueryError(f"no answer from BigQuery: {error}") from error
    except GoogleAuthError as error:  # in a cluster, where a page is left open for days
        raise QueryError(
            f"no credentials: gcloud auth application-default login ({fault.words(error)[:200]})"
        ) from error


def _reason(error: exceptions.GoogleAPICallError) -> str:
    for detail in error.errors:
        if isinstance(detail, dict) and detail.get("message"):
            return f"{detail.get('reason') or 'error'}: {fault.words(detail['message'])}"
    return fault.words(error.message or error)


def print_table(found: Any, out: TextIO) -> None:
    """An aligned table and the number of rows. Expects at most TABLE_ROWS + 1 rows."""
    names = [field.name for field in found.schema]
    if not names:
        print("done", file=out)
        return
    kept = []
    for row in found:
        kept.append([_text(value) for value in row.values()])
        if len(kept) > TABLE_ROWS:
            break
    more = len(kept) > TABLE_ROWS
    del kept[TABLE_ROWS:]
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name, field in zip(names, found.schema, strict=True):
        number = field.field_type in ("INTEGER", "INT64", "FLOAT", "FLOAT64", "NUMERIC")
        table.add_column(Text(name), justify="right" if number else "left", no_wrap=not out.isatty())
    for cells in kept:
        table.add_row(*(Text(cell, style="dim") if cell == "NULL" else Text(cell) for cell in cells))
    Console(file=out, highlight=False, width=None if out.isatty() else _width(names, kept)).print(table)
    print(f"({len(kept)} rows)" if len(kept) != 1 else "(1 row)", file=out)
    if more:
        print(f"only the first {TABLE_ROWS} rows are shown; use LIMIT, or --format json for all", file=out)


def print_json(found: Any, out: TextIO) -> None:
    """One JSON object per row, printed as it arrives."""
    for line in json_lines(found):
        print(line, file=out)


def json_lines(found: Any) -> Iterator[str]:
    for row in found:
        text = json.dumps({name: plain(value) for name, value in row.items()}, ensure_ascii=False)
        yield _UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def plain(value: Any) -> Any:
    """A client value as JSON: times as RFC 3339 in UTC, NUMERIC, NaN and infinities as text."""
    match value:
        case datetime():
            return value.astimezone(UTC).isoformat().replace("+00:00", "Z") if value.tzinfo else str(value)
        case date():
            return value.isoformat()
        case Decimal():
            return format(value, "f")
        case bytes():
            return base64.b64encode(value).decode()
        case float() if value != value or value in (float("inf"), float("-inf")):
            return {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}[str(value)]
        case dict():
            return {str(key): plain(item) for key, item in value.items()}
        case list() | tuple():
            return [plain(item) for item in value]
        case None | bool() | int() | float() | str():
            return value
        case _:
            return str(value)


def _text(value: Any) -> str:
    """One line without control characters, since events are untrusted input."""
    if value is None:
        return "NULL"
    ready = plain(value)
    if isinstance(ready, bool):
        return str(ready).lower()
    text = ready if isinstance(ready, str) else json.dumps(ready, ensure_ascii=False)
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def _width(names: Sequence[str], lines: Sequence[Sequence[str]]) -> int:
    widest = [max([Text(name).cell_len, *(Text(line[i]).cell_len for line in lines)]) for i, name in enumerate(names)]
    return max(1, min(_MOST_COLUMNS, sum(widest) + 2 * len(names)))
