"""The proof that nothing is missing, hour by hour: what was collected, and what became of it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from math import inf
from typing import Any

from google.cloud import bigquery

from local import query
from local.feed import Feed
from local.raw_hits import RawHits
from local.refusal import Refused
from services.shared.schema import REJECTS

MOST_HOURS = 48
_TIMEOUT = 20.0
_DAYS = timedelta(days=9)


class Proof:
    """`raw_hits` counts what the collector published, and BigQuery says what arrived, both by the hour of receipt."""

    def __init__(self, client: Any, dataset: str, feed: Feed, raw_hits: RawHits | None) -> None:
        self._client, self._dataset, self._feed, self._raw_hits = client, dataset, feed, raw_hits

    async def by_hour(self, hours: int, state: Mapping[str, Any]) -> dict[str, Any]:
        """{hours, now, since, text}; `state` as /api/state has it. Raises Refused where BigQuery does not answer."""
        ledger = state["ledger"]
        try:
            stored = await asyncio.to_thread(self._read, hours)
        except query.QueryError as error:
            raise Refused(str(error), HTTPStatus.SERVICE_UNAVAILABLE) from error
        since = self._raw_hits.since if self._raw_hits else None
        counted = self._raw_hits.counts if self._raw_hits else {}
        names = sorted({*stored, *counted}, reverse=True)[:hours]
        rows = [_hour(name, stored.get(name, {}), counted.get(name, 0), since) for name in names]
        _settle(rows, _known(state))
        left = sum(abs(row["difference"] or 0) for row in rows)
        return {
            "hours": rows,
            "now": dict(ledger),
            "since": since.isoformat().replace("+00:00", "Z") if since else None,
            "text": _text(rows, left),
        }

    def _read(self, hours: int) -> dict[str, dict[str, int]]:
        """By hour: rows written, rows shown by the views, rejects; of what was received since the page counts too."""
        now = datetime.now(UTC)
        first = now.replace(minute=0, second=0, microsecond=0) - timedelta(hours=hours - 1)
        since = self._raw_hits.since if self._raw_hits else None
        parameters = [
            bigquery.ScalarQueryParameter("day", "DATE", (now - _DAYS).date()),
            bigquery.ScalarQueryParameter("first", "TIMESTAMP", first),
            # The hour in which the page began to count is compared from then on.
            bigquery.ScalarQueryParameter("since", "TIMESTAMP", since or first),
        ]
        parts = []
        for table in self._feed.tables:
            if table.copy:  # its rows are beside those of their hits
                continue
            columns = self._feed.columns[table.name]
            for what, name in (("written", table.log_name), ("shown", table.name)):
                kind = f"{'rejected' if table.name == REJECTS else 'loaded'}_{what}"
                parts.append(
                    f"SELECT '{kind}' AS kind, TIMESTAMP_TRUNC(`{columns.received_at}`, HOUR) AS hour, COUNT(*) AS n "  # noqa: S608
                    f"FROM `{self._dataset}.{name}` WHERE `{columns.day}` >= @day "
                    f"AND `{columns.received_at}` >= @first AND (`{columns.received_at}` >= @since "
                    f"OR `{columns.received_at}` < TIMESTAMP_TRUNC(@since, HOUR)) GROUP BY 2"
                )
        config = bigquery.QueryJobConfig(query_parameters=parameters)
        found: dict[str, dict[str, int]] = {}
        with query.explained():
            for row in query.rows(self._client, " UNION ALL ".join(parts), timeout=_TIMEOUT, config=config):
                one = found.setdefault(str(query.plain(row["hour"])), {})
                one[row["kind"]] = one.get(row["kind"], 0) + row["n"]
        return found


def _known(state: Mapping[str, Any]) -> dict[str, float]:
    """How many hits are dead, were left out by a sample, and are at most on their way."""
    ledger, queues = state["ledger"], state["queues"]
    counted = {} if ledger["error"] is not None else ledger
    found: dict[str, float] = {name: max(0, counted.get(name, 0)) for name in ("dead", "sampled_out", "in_flight")}
    waiting = [queues[name]["messages"] for name in ("hits", "rows") if queues.get(name)]
    if len(waiting) == 2:
        # Each is acked only when the next stage has it. A message has up to a thousand hits, and the counts of
        # services that were started again are no help.
        found["in_flight"] = inf if any(waiting) else 0
    return found


def _settle(rows: list[dict[str, Any]], known: dict[str, float]) -> None:
    """What is dead or on its way is known for all hours together: it is taken from the newest that lack it."""
    for name, left in known.items():
        for row in rows:
            if row["difference"] is None:
                continue
            taken = int(min(left, max(0, row["difference"])))
            row[name], row["difference"], left = taken, row["difference"] - taken, left - taken


def _hour(name: str, stored: Mapping[str, int], counted: int, since: datetime | None) -> dict[str, Any]:
    loaded, rejected = stored.get("loaded_written", 0), stored.get("rejected_written", 0)
    known = since is not None and datetime.fromisoformat(name) + timedelta(hours=1) > since
    return {
        "hour": name,
        "collected": counted if known else None,
        "loaded": loaded,
        "rejected": rejected,
        "shown": stored.get("loaded_shown", 0),
        "dead": 0,
        "sampled_out": 0,
        "in_flight": 0,
        "difference": counted - loaded - rejected if known else None,
    }


def _text(rows: list[dict[str, Any]], left: int) -> str:
    counted = sum(row["collected"] or 0 for row in rows)
    if not counted:
        return "Nothing has been collected yet since the page began to count."
    if not left:
        return f"All {counted} hits collected since the page began to count are accounted for."
    more = [row for row in rows if (row["difference"] or 0) > 0]
    if more:
        missing = sum(row["difference"] for row in more)
        hits = "1 hit is" if missing == 1 else f"{missing} hits are"
        return f"{hits} not in BigQuery: still on the way, or lost if this stays."
    return f"{left} rows more than hits collected: delivered twice, or written by something else. The views count once."
