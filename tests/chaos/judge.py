"""The judge: every id that was acknowledged, looked for in the views and counted in the tables beneath them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Set
from dataclasses import dataclass, replace

from google.cloud import bigquery

from services.shared import resource_names

VIEWS = ("events", "rejects")
TALLY_SECONDS = 10.0  # for the receipts of what is already in the views
LONGEST_TALLY_SECONDS = 90.0  # as long as some are on their way


@dataclass(frozen=True)
class Verdict:
    """`rows` and `rejects` are those of acknowledged events; `duplicated_*` counts what is beyond one an event."""

    acknowledged: int
    rows: int
    rejects: int
    lost: int
    duplicated_view: int
    duplicated_physical: int
    unknown: int  # ids that nobody sent
    seconds: float  # until every acknowledged event was there, or the wait was over
    tallied: int = 0  # acknowledged by the collectors' tallies, which see also what a client sent twice
    difference: int = 0  # of the view `reconciliation`, what is in flight included
    unfinished: int = 0  # collectors that ended without a last tally: they may have acknowledged more than they told


def reconcile(client: bigquery.Client, verdict: Verdict) -> Verdict:
    """The verdict with what the tallies say, asked until they close: collectors that were stopped have told all."""
    end = time.monotonic() + TALLY_SECONDS
    while True:
        sql = (
            "SELECT IFNULL(SUM(acknowledged), 0) AS tallied, IFNULL(SUM(in_flight + difference), 0) AS difference\n"
            f"FROM {resource_names.DATASET}.reconciliation"
        )
        (row,) = client.query_and_wait(sql)
        ended = (
            "SELECT COUNT(*) AS n FROM (SELECT tally_id "
            f"FROM {resource_names.DATASET}.tallies WHERE source = 'collector' "
            "GROUP BY tally_id HAVING NOT LOGICAL_OR(final))"
        )
        (unfinished,) = client.query_and_wait(ended)
        found = replace(verdict, tallied=row["tallied"], difference=row["difference"], unfinished=unfinished["n"])
        now = time.monotonic()
        if found.difference == 0 or now > end + (LONGEST_TALLY_SECONDS if found.difference > 0 else 0):
            return found
        time.sleep(0.2)


def judge(client: bigquery.Client, acknowledged: Set[str], sent: Set[str], wait: float) -> Verdict:
    """Ask until every acknowledged id is in a view, for `wait` seconds at most."""
    began = time.monotonic()
    while True:
        # A count is cheap; the ids are compared when it says that all may be there, and once more at the limit.
        enough = sum(_count(client, view) for view in VIEWS) >= len(acknowledged)
        over = time.monotonic() - began > wait
        if enough or over:
            verdict = _compare(client, acknowledged, sent, time.monotonic() - began)
            if not verdict.lost or over:
                return verdict
        time.sleep(0.1)


def _compare(client: bigquery.Client, acknowledged: Set[str], sent: Set[str], seconds: float) -> Verdict:
    rows, rejects = (Counter(_ids(client, view)) for view in VIEWS)
    there = rows + rejects
    physical = sum(_count(client, f"{view}_log") for view in VIEWS)
    return Verdict(
        acknowledged=len(acknowledged),
        rows=sum(1 for one in rows if one in acknowledged),
        rejects=sum(1 for one in rejects if one in acknowledged),
        lost=sum(1 for one in acknowledged if one not in there),
        duplicated_view=there.total() - len(there),
        duplicated_physical=physical - len(there),
        unknown=sum(1 for one in there if one not in sent),
        seconds=seconds,
    )


def _count(client: bigquery.Client, table: str) -> int:
    (row,) = client.query_and_wait(f"SELECT COUNT(*) AS n FROM {resource_names.DATASET}.{table}")
    return int(row["n"])


def _ids(client: bigquery.Client, view: str) -> list[str]:
    return [row["event_id"] for row in client.query_and_wait(f"SELECT event_id FROM {resource_names.DATASET}.{view}")]
