"""How the rows of a table go into BigQuery, by what its `write` says. Pure: `now` is a monotonic time in seconds."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from math import inf

EXPECTED_SECONDS = 15.0  # a job takes, as long as none was seen
REMEMBERED_SECONDS = 1_800.0  # a job counts; a slow hour must not rule out jobs for ever
REMEMBERED_JOBS = 20


@dataclass(frozen=True)
class Way:
    """Seconds a row may wait: `linger` for company, `patience` until its job begins; with 0 there is no job."""

    linger: float
    patience: float

    @property
    def by_job(self) -> bool:
        return self.patience > 0


class Ways:
    """Remembers how long jobs took. `linger` and `interval` are seconds a row waits for its append or its job."""

    def __init__(self, *, linger: float, interval: float, target: float, slot: float) -> None:
        self._at_once = Way(linger, 0.0)
        self._by_job = Way(interval, inf)
        self._target, self._slot = target, slot
        self._took: dict[str, deque[tuple[float, float]]] = {}  # when a job of a table ended, and its seconds

    def took(self, table: str, seconds: float, now: float) -> None:
        self._took.setdefault(table, deque(maxlen=REMEMBERED_JOBS)).append((now, seconds))

    def choose(self, table: str, write: str, now: float) -> Way:
        """`auto` is by job if a whole slot goes by between company and the last moment from which a job is in time."""
        if write == "load_job":
            return self._by_job
        if write == "auto":
            patience = self._target - self._expected(table, now)
            if patience >= self._slot:
                return Way(min(patience - self._slot, self._by_job.linger), patience)
        return self._at_once

    def _expected(self, table: str, now: float) -> float:
        recent = [took for ended, took in self._took.get(table, ()) if now - ended <= REMEMBERED_SECONDS]
        return max(recent, default=EXPECTED_SECONDS)
