"""Whether the emulator and GoogleSQL agree on a statement, and what they are allowed to disagree on."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from google.api_core.exceptions import BadRequest, GoogleAPICallError, NotFound
from google.cloud import bigquery

from tests.emulators.bigquery.oracle import Aborted, SqlRefused, Table, oracle

Rows = list[tuple[Any, ...]]

# The emulator may always say that it does not know a construct: that is never a wrong answer.
OUT_OF_REACH = re.compile("local BigQuery emulator (does not|cannot|has no)")
# What the evaluator lacks: functions that it knows by name, %F and %T of PARSE_TIMESTAMP, large values.
LACKING = re.compile(
    "Unsupported built-in function|Code: 12,|[Oo]ut of memory|Failed to parse input string"
    "|Cannot generate arrays with more than|exceeds max allowed output size"
)


@dataclass(frozen=True)
class Known:
    """A disagreement that stays: of which statements and answers, why, and who says so."""

    applies: Callable[[str, Any, Any], object]  # the statement, the emulator's rows or refusal, GoogleSQL's
    reason: str
    authority: str


SPARING = r"\bNULL\b|\bIN UNNEST\(|\bWHERE\b|\bCASE\b|\bIN \(|\b(?:AND|OR)\b"


def _refused(words: str) -> Callable[[str, Any, Any], object]:
    return lambda sql, left, right: isinstance(left, SqlRefused) and words in str(left)


def _not_needed(sql: str, left: Any, right: Any) -> bool:
    """A value that could not be computed, where the result may be known without it."""
    failed = isinstance(right, SqlRefused) and "Code: 11" in str(right)
    return failed and not isinstance(left, SqlRefused) and re.search(SPARING, sql) is not None


KNOWN = [
    Known(
        lambda sql, left, right: "Europe/Berlin" in sql and "'0001-01-01 " in sql,
        "Local mean time, before there were time zones, has seconds; GoogleSQL cuts its offset to minutes.",
        "the time zone database: Europe/Berlin was +00:53:28 until 1893",
    ),
    Known(
        _refused("Array cannot have a null element"),
        "A result has no NULL in an array.",
        "BigQuery's documentation of ARRAY: “an error if a query result has arrays which contain NULL elements”",
    ),
    Known(
        _refused("Duplicate column names in the result"),
        "A result names no column twice.",
        "BigQuery's error “Duplicate column names in the result are not supported”; GoogleSQL itself has no such rule",
    ),
    Known(
        lambda sql, left, right: "ANY_VALUE(" in sql,
        "Which value ANY_VALUE gives is open.",
        "GoogleSQL's documentation: “which row is chosen is nondeterministic”",
    ),
    Known(
        lambda sql, left, right: "JSON_" in sql and "None" in repr(left) and not isinstance(right, SqlRefused),
        "GoogleSQL reads JSON in a string only as far as it must; here it must be JSON to its end.",
        "BigQuery's documentation promises nothing of malformed JSON but NULL",
    ),
    Known(
        _refused("Overflow in multiplication of DECIMAL"),
        "NUMERIC products of more than 38 digits before rounding are refused.",
        "DuckDB has no wider decimal; an error, never a wrong value",
    ),
    Known(
        lambda sql, left, right: re.search(r"\b(?:STDDEV|VAR)", sql) and not isinstance(right, SqlRefused),
        "The last digits of a statistic depend on the order of the additions.",
        "IEEE 754; GoogleSQL promises no order",
    ),
    Known(
        _refused("Input calculates to invalid date"),
        "DATE(2024, 9007199254740993, 29) is refused, and GoogleSQL's evaluator takes the lowest 32 bits of the month.",
        "BigQuery's documentation of DATE(year, month, day)",
    ),
    Known(
        _not_needed,
        "DuckDB does not compute what the result does not need: beside a NULL, of rows that are dropped.",
        "GoogleSQL's documentation promises evaluation only as far as it says so, and no order of operands",
    ),
]


@dataclass(frozen=True)
class Verdict:
    sql: str
    word: str  # agree, both refuse, out of reach, not evaluated, known, disagree
    ours: Any
    google: Any

    @property
    def wrong(self) -> bool:
        return self.word == "disagree"

    def report(self, name: str) -> str:
        return f"{name} {self.word}\n  {self.sql}\n  emulator: {self.ours!r}\n  GoogleSQL: {self.google!r}"


class Ours:
    """The emulator's answers, through the official client, without its retries."""

    def __init__(self, client: bigquery.Client) -> None:
        self._client = client

    def evaluate(self, sql: str) -> Rows:
        """The rows; `SqlRefused` for an error of BigQuery's kind. What else goes wrong goes wrong here."""
        try:
            found = self._client.query_and_wait(sql, retry=None, job_retry=None, api_timeout=100, wait_timeout=100)
            return [tuple(row.values()) for row in found]
        except BadRequest as error:
            if (error.errors or [{}])[0].get("reason") not in ("invalidQuery", "required"):
                raise
            raise SqlRefused(error.message) from error
        except NotFound as error:
            raise SqlRefused(error.message) from error


class Google:
    """GoogleSQL's answers."""

    def __init__(self, tables: Sequence[Table] = ()) -> None:
        self._oracle, self._tables = oracle(), tables

    def evaluate(self, sql: str) -> Rows:
        return self._oracle.evaluate(sql, self._tables)


def judge(sql: str, ours: Ours, google: Google) -> Verdict:
    """Ask both."""
    right: Any
    left: Any
    try:
        right = google.evaluate(sql)
    except SqlRefused as error:
        right = error
    except (Aborted, ValueError, OverflowError) as error:
        right = error
    try:
        left = ours.evaluate(sql)
    except SqlRefused as error:
        left = error
    except (GoogleAPICallError, OSError, ValueError, OverflowError) as error:
        return Verdict(sql, "disagree", error, right)
    return Verdict(sql, _word(sql, left, right), left, right)


def _word(sql: str, left: Any, right: Any) -> str:
    if isinstance(left, SqlRefused) and OUT_OF_REACH.search(str(left)):
        return "out of reach"
    if isinstance(right, (Aborted, ValueError, OverflowError)):
        return "not evaluated"
    if isinstance(left, SqlRefused) and isinstance(right, SqlRefused):
        return "both refuse"
    if isinstance(right, SqlRefused) and LACKING.search(str(right)):
        return "not evaluated"
    if not isinstance(left, SqlRefused) and not isinstance(right, SqlRefused):
        if " ORDER BY " not in sql.rsplit(")", 1)[-1]:
            left, right = sorted(left, key=_place), sorted(right, key=_place)
        if same(left, right):
            return "agree"
    return "known" if any(known.applies(sql, left, right) for known in KNOWN) else "disagree"


def _place(row: tuple[Any, ...]) -> str:
    """Where a row stands among others: wherever, as long as a NULL array stands where an empty one does."""
    return repr(row).replace("None", "[]")


def same(left: Any, right: Any) -> bool:
    """Equal in type and value; numbers that libraries of mathematics compute may differ in their last digit."""
    if isinstance(left, float) and isinstance(right, float):
        return left == right or (math.isnan(left) and math.isnan(right)) or math.isclose(left, right, rel_tol=1e-13)
    if isinstance(left, (list, tuple)) and isinstance(right, (list, tuple)):
        return len(left) == len(right) and all(same(a, b) for a, b in zip(left, right, strict=True))
    if {repr(left), repr(right)} == {"None", "[]"}:
        return True  # in a result BigQuery keeps no difference between a NULL array and an empty one
    return type(left) is type(right) and bool(left == right)
