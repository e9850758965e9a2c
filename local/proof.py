"""The proof that nothing is missing, hour by hour: the view `reconciliation`, as `pixelpipe reconcile` prints it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any, NamedTuple

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
_LAG = timedelta(minutes=1)  # of a hit at most, from its receipt to its message
_ARRIVES = timedelta(minutes=OPEN_MINUTES)  # what has left the spool has so long to become a row


class _Waiting(NamedTuple):
    """What was seen to wait at a time: since when, in the spool and in Pub/Sub, and how many hits the spool had."""

    seen: datetime
    spool: datetime | None
    pubsub: datetime | None
    hits: int


class Proof:
    """`raw_hits` knows what was published since the collectors' last tally, a minute ago at most; None in a cluster."""

    def __init__(self, client: Any, dataset: str, raw_hits: RawHits | None) -> None:
        self._client, self._dataset, self._raw_hits = client, dataset, raw_hits
        self._one = asyncio.Lock()
        self._groups: list[Group] = []
        self._at: datetime | None = None  # when they were read
        self._before: dict[datetime, int] = {}  # what collectors of earlier runs told, by hour
        self._waiting: list[_Waiting] = []  # of the last _ARRIVES

    async def begin(self) -> None:
        """Before the collector's first tally: what is told then is of earlier runs, of which the page saw nothing."""
        if self._raw_hits is not None:
            with suppress(Refused):  # then only what the page sees is known until the tallies arrive
                groups, _, _ = await self._all()
                for one in groups:
                    self._before[one.hour] = self._before.get(one.hour, 0) + one.counts["acknowledged"]

    async def by_hour(self, hours: int, queues: Mapping[str, Any]) -> dict[str, Any]:
        """{hours, text, at, error}: the newest first. `error` says why they are of an earlier time than now.

        `queues` are those of the state. Raises Refused where BigQuery does not answer, and has not before.
        """
        # Before BigQuery is asked: what the page sees or finds waiting later may not have arrived there.
        published = self._published()
        self._note(queues, datetime.now(UTC))
        every, at, error = await self._all()
        first = at.replace(minute=0, second=0, microsecond=0) - timedelta(hours=hours - 1)
        groups = [one for one in every if one.hour >= first]
        names = {*(one.hour for one in groups), *published}
        missing = reconcile_report.missing(groups)
        found = [
            _hour([one for one in groups if one.hour == hour], hour, published[hour], missing.get(hour, 0), at)
            for hour in sorted(names, reverse=True)
            if hour >= first
        ]
        self._excuse(found)
        return {"hours": found, "text": _text(found, at if error else None), "at": _name(at), "error": error}

    def _published(self) -> Counter[datetime]:
        """Hits by hour of receipt, as far as the page knows: what earlier runs told, and what it has seen since.

        What it saw of an earlier run, from its spool, that run's tally has too.
        """
        found = Counter[datetime]()
        if self._raw_hits is not None:
            for name, count in self._raw_hits.counts.items():
                hour = datetime.fromisoformat(name)
                found[hour] = max(count, self._before.get(hour, 0) + count - self._raw_hits.earlier[name])
        return found

    def _note(self, queues: Mapping[str, Any], now: datetime) -> None:
        def since(*names: str) -> datetime | None:
            held = [queue for name in names if (queue := queues.get(name)) and queue["oldest_seconds"] is not None]
            return min((now - timedelta(seconds=queue["oldest_seconds"]) for queue in held), default=None)

        spooled = (queues.get("spool") or {}).get("hits") or 0
        self._waiting = [one for one in self._waiting if now - one.seen < _ARRIVES]
        self._waiting.append(_Waiting(now, since("spool"), since("hits", "rows"), spooled))

    def _excuse(self, found: Sequence[dict[str, Any]]) -> None:
        """What a closed hour lacks is on its way, not missing, where something that old waits, or did until just now.

        How many hits a message has nobody knows, but of the spool that is known.
        """
        spooled = max(one.hits for one in self._waiting)
        for hour in reversed(found):  # the oldest leave the spool first
            until = datetime.fromisoformat(hour["hour"]) + timedelta(hours=1) + _LAG
            if any(one.pubsub is not None and one.pubsub <= until for one in self._waiting):
                excused = hour["unsure"] = hour["difference"]
            elif any(one.spool is not None and one.spool <= until for one in self._waiting):
                excused = min(hour["difference"], spooled)
                spooled -= excused
            else:
                continue
            hour["in_flight"] += excused
            hour["difference"] -= excused

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

    `untold` have arrived though neither knows of them yet; `unsure` of those in flight may be missing.
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
        "unsure": 0,
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
    known = "known to be " if any(one["unsure"] or one["unfinished_collectors"] for one in hours) else ""
    if left := sum(one["in_flight"] for one in hours):
        way = "1 is on its way" if left == 1 else f"{left} are on their way"
        return f"Nothing is {known}missing: of {collected} hits, {way}."
    return f"Nothing is {known}missing: all {collected} hits are accounted for."
