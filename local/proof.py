"""The proof that nothing is missing, hour by hour: the view `reconciliation`, as `pixelpipe reconcile` prints it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any

from google.cloud import bigquery

from local import query
from local.raw_hits import RawHits
from local.refusal import Refused
from services.ops import reconcile, reconcile_report
from services.ops.reconcile_report import Group
from services.provision.reconciliation import OPEN_MINUTES

MOST_HOURS = 48
_OPEN = timedelta(minutes=60 + OPEN_MINUTES)  # of an hour, from its begin: what lacks may be on its way
_REMOTE_PAUSE = timedelta(minutes=10)  # at Google's each look costs
_TIMEOUT = 60.0  # someone is looking
_COUNTS = ("loaded", "rejected", "sampled_out")


class Proof:
    """`raw_hits` knows what was published since the collectors' last tally, a minute ago at most; None in a cluster."""

    def __init__(self, client: Any, dataset: str, raw_hits: RawHits | None) -> None:
        self._client, self._dataset, self._raw_hits = client, dataset, raw_hits
        self._one = asyncio.Lock()
        self._groups: list[Group] = []
        self._at: datetime | None = None  # when they were read

    async def by_hour(self, hours: int) -> dict[str, Any]:
        """{hours, text, at, error}: the newest first. `error` says why they are of an earlier time than now.

        Raises Refused where BigQuery does not answer, and has not before.
        """
        # Before BigQuery is asked: what the page sees later may not have arrived there.
        published = Counter(self._raw_hits.counts) if self._raw_hits else Counter[str]()
        every, at, error = await self._all()
        first = at.replace(minute=0, second=0, microsecond=0) - timedelta(hours=hours - 1)
        groups = [one for one in every if one.hour >= first]
        names = {*(one.hour for one in groups), *map(datetime.fromisoformat, published)}
        missing = reconcile_report.missing(groups)
        found = [
            _hour([one for one in groups if one.hour == hour], hour, published[_name(hour)], missing.get(hour, 0), at)
            for hour in sorted(names, reverse=True)
            if hour >= first
        ]
        return {"hours": found, "text": _text(found, at if error else None), "at": _name(at), "error": error}

    async def _all(self) -> tuple[list[Group], datetime, str | None]:
        """Of MOST_HOURS, when they were read, and why not now."""
        async with self._one:
            now, error = datetime.now(UTC), None
            if self._raw_hits is not None or self._at is None or now - self._at > _REMOTE_PAUSE:
                try:
                    self._groups = await asyncio.to_thread(self._ask, now - timedelta(hours=MOST_HOURS))
                except query.QueryError as failed:
                    if self._at is None:
                        raise Refused(str(failed), HTTPStatus.SERVICE_UNAVAILABLE) from failed
                    error = str(failed)
                else:
                    self._at = now
            return self._groups, self._at, error

    def _ask(self, since: datetime) -> list[Group]:
        with query.explained():
            return reconcile.ask(self._client, f"{self._client.project}.{self._dataset}", since, _rows)


def _rows(client: Any, sql: str, parameters: list[Any]) -> Any:
    config = bigquery.QueryJobConfig(use_query_cache=False, query_parameters=parameters)
    return query.rows(client, sql, timeout=_TIMEOUT, config=config)


def _hour(groups: list[Group], hour: datetime, published: int, missing: int, now: datetime) -> dict[str, Any]:
    """`collected` is what collectors have told or the page has seen, whichever is more; `difference` is missing.

    `untold` have arrived though neither knows of them yet.
    """
    sums = {name: sum(one.counts[name] for one in groups) for name in reconcile_report.COUNTS}
    arrived = sum(sums[name] for name in (*_COUNTS, "dead_lettered"))
    collected = max(sums["acknowledged"], published)
    is_open = now - hour < _OPEN
    return {
        "hour": _name(hour),
        "collected": collected,
        **{name: sums[name] for name in _COUNTS},
        "dead": sums["dead_lettered"],
        "in_flight": max(0, collected - arrived) if is_open else 0,
        "untold": max(0, arrived - collected),
        "difference": 0 if is_open else max(missing, published - arrived, 0),
        "unfinished_collectors": max((one.counts["unfinished_collectors"] for one in groups), default=0),
    }


def _name(hour: datetime) -> str:
    return hour.isoformat().replace("+00:00", "Z")


def _text(hours: Sequence[Mapping[str, Any]], at: datetime | None) -> str:
    """`at` where that is not now."""
    said = _verdict(hours)
    return said if at is None else f"As of {at:%H:%M:%S} UTC, {said[0].lower()}{said[1:]}"


def _verdict(hours: Sequence[Mapping[str, Any]]) -> str:
    collected = sum(one["collected"] + one["untold"] for one in hours)
    if missing := sum(one["difference"] for one in hours):
        return f"{missing} of {collected} hits are missing."
    if not collected:
        return "Nothing has been collected yet."
    if left := sum(one["in_flight"] for one in hours):
        way = "1 is on its way" if left == 1 else f"{left} are on their way"
        return f"Nothing is missing: of {collected} hits, {way}."
    return f"Nothing is missing: all {collected} hits are accounted for."
