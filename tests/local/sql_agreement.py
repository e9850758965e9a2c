"""Whether the emulator and GoogleSQL agree on a statement, and what they are allowed to disagree on."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from google.api_core.exceptions import BadRequest, GoogleAPICallError
from google.cloud import bigquery

from tests.local.oracle import Aborted, Refused, Table, oracle

Rows = list[tuple[Any, ...]]

# The emulator may always say that it does not know a construct: that is never a wrong answer.
OUT_OF_REACH = re.compile("local BigQuery emulator (does not|cannot)")
# The evaluator lacks some functions that it knows by name.
LACKING = re.compile("Unsupported built-in function|Code: 12,|not supported by the reference|Out of memory|out of memory")


@dataclass(frozen=True)
class Exception_:
    """A disagreement that stays: which statements, why, and who says so."""

    statement: re.Pattern[str]
    reason: str
    authority: str


KNOWN: list[Exception_] = []


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
        """The rows; `Refused` for an error of BigQuery's kind. What else goes wrong goes wrong here."""
        try:
            found = self._client.query_and_wait(sql, retry=None, job_retry=None, api_timeout=20, wait_timeout=20)
            return [tuple(row.values()) for row in found]
        except BadRequest as error:
            if (error.errors or [{}])[0].get("reason") != "invalidQuery":
                raise
            raise Refused(error.message) from error


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
    except Refused as error:
        right = error
    except (Aborted, ValueError, OverflowError) as error:
        return Verdict(sql, "not evaluated", None, error)
    try:
        left = ours.evaluate(sql)
    except Refused as error:
        left = error
    except (GoogleAPICallError, OSError, ValueError, OverflowError) as error:
        return Verdict(sql, "disagree", error, right)
    return Verdict(sql, _word(sql, left, right), left, right)


def _word(sql: str, left: Any, right: Any) -> str:
    if isinstance(left, Refused) and OUT_OF_REACH.search(str(left)):
        return "out of reach"
    if isinstance(left, Refused) and isinstance(right, Refused):
        return "both refuse"
    if isinstance(right, Refused) and LACKING.search(str(right)):
        return "not evaluated"
    if any(known.statement.search(sql) for known in KNOWN):
        return "known"
    if isinstance(left, Refused) or isinstance(right, Refused):
        return "disagree"
    if " ORDER BY " not in sql.rsplit(")", 1)[-1]:
        left, right = sorted(left, key=repr), sorted(right, key=repr)
    return "agree" if same(left, right) else "disagree"


def same(left: Any, right: Any) -> bool:
    """Equal in type and value; numbers that libraries of mathematics compute may differ in their last digit."""
    if isinstance(left, float) and isinstance(right, float):
        return left == right or (math.isnan(left) and math.isnan(right)) or math.isclose(left, right, rel_tol=1e-13)
    if isinstance(left, (list, tuple)) and isinstance(right, (list, tuple)):
        return len(left) == len(right) and all(same(a, b) for a, b in zip(left, right, strict=True))
    return type(left) is type(right) and bool(left == right)
