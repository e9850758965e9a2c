"""Asks admin and control ports; what a service counts is read into samples that can be compared over time."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

import aiohttp

from services.shared import fault
from services.shared.reconciliation import Sample, samples

SECONDS = 1.0  # limit for one request; the page asks every second
_MOST_BYTES = 16_000_000  # of one answer


class NoAnswer(Exception):
    """A process did not answer; the text names it, the reason and its log."""


async def ask(session: aiohttp.ClientSession, name: str, url: str, log: str | None = None) -> tuple[int, str]:
    """Status and text of GET `url`, which belongs to the process `name`. Raises NoAnswer."""
    hint = f"; see its log {log}" if log else ""
    try:
        async with session.get(url, timeout=aiohttp.ClientTimeout(total=SECONDS)) as response:
            data = await response.content.read(_MOST_BYTES)
            while more := await response.content.read(_MOST_BYTES - len(data)):
                data += more
            return response.status, data.decode(errors="replace")
    except TimeoutError as error:
        raise NoAnswer(f"{name} did not answer in {SECONDS:g} s{hint}") from error
    except (aiohttp.ClientError, OSError) as error:
        why = getattr(error, "strerror", None) or fault.words(error)
        raise NoAnswer(f"{name} does not answer: {why}{hint}") from error


async def ask_json(session: aiohttp.ClientSession, name: str, url: str) -> dict[str, Any]:
    """The JSON object at `url`. Raises NoAnswer."""
    status, text = await ask(session, name, url)
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if status != 200 or not isinstance(found, dict):
        raise NoAnswer(f"{name} answers {status} at its control port")
    return found


@dataclass(frozen=True)
class Scrape:
    """What a service counted at `at`, in seconds of a monotonic clock; only those of one `started` compare."""

    at: float
    all: Sequence[Sample]
    samples: Mapping[str, list[Sample]]

    @property
    def started(self) -> float:
        return self.value("process_start_time_seconds")

    def value(self, name: str, **labels: str) -> float:
        """The sum of all series of a metric that have these labels; 0 without any."""
        return sum(
            (
                one.value
                for one in self.samples.get(name, ())
                if all(one.labels.get(label) == value for label, value in labels.items())
            ),
            0.0,
        )

    def by(self, name: str, label: str) -> dict[str, float]:
        """The sums of a metric by one of its labels."""
        found: dict[str, float] = {}
        for one in self.samples.get(name, ()):
            key = one.labels.get(label, "")
            found[key] = found.get(key, 0.0) + one.value
        return found

    def buckets(self, name: str) -> dict[float, float]:
        """The cumulative buckets of a histogram, over all its labels."""
        found: dict[float, float] = {}
        for one in self.samples.get(name + "_bucket", ()):
            bound = float(one.labels["le"])
            found[bound] = found.get(bound, 0.0) + one.value
        return found


def read(where: str, text: str, at: float) -> Scrape:
    """Raises reconciliation.Incomplete for what are no metrics."""
    every = samples(where, text)
    found: dict[str, list[Sample]] = {}
    for one in every:
        found.setdefault(one.name, []).append(one)
    return Scrape(at, every, found)


class Recent:
    """The last scrapes of one service: how much a counter grew in `seconds`, and how fast."""

    def __init__(self, seconds: float = 10.0) -> None:
        self._seconds = seconds
        self._kept: list[Scrape] = []

    def add(self, scrape: Scrape | None) -> None:
        """None: it did not answer, and what is known of it is no longer so."""
        if scrape is None:
            self._kept.clear()
            return
        self._kept = [
            one for one in self._kept if scrape.at - one.at <= self._seconds and one.started == scrape.started
        ]
        self._kept.append(scrape)

    @property
    def last(self) -> Scrape | None:
        return self._kept[-1] if self._kept else None

    def grown(self, name: str, **labels: str) -> float:
        """By how much within `seconds`; a process that just started has counted from 0."""
        if len(self._kept) < 2:
            return 0.0
        return max(0.0, self._kept[-1].value(name, **labels) - self._kept[0].value(name, **labels))

    def grown_by(self, name: str, label: str) -> dict[str, float]:
        if len(self._kept) < 2:
            return {}
        now, before = self._kept[-1].by(name, label), self._kept[0].by(name, label)
        return {key: grown for key, value in now.items() if (grown := value - before.get(key, 0.0)) > 0}

    def per_second(self, *names: str, **labels: str) -> float | None:
        """Over the last two scrapes; None if there are no two."""
        if len(self._kept) < 2:
            return None
        before, now = self._kept[-2:]
        grown = sum(now.value(name, **labels) - before.value(name, **labels) for name in names)
        return max(0.0, grown / max(now.at - before.at, 1e-3))

    def quantile(self, name: str, share: float) -> float | None:
        """Of a histogram's observations within `seconds`, interpolated as Prometheus does; None without any."""
        if len(self._kept) < 2:
            return None
        now, before = self._kept[-1].buckets(name), self._kept[0].buckets(name)
        return quantile({bound: count - before.get(bound, 0.0) for bound, count in now.items()}, share)


def quantile(buckets: Mapping[float, float], share: float) -> float | None:
    """A quantile of cumulative buckets; of what is above the last bound, that bound. None without observations."""
    bounds = sorted(buckets)
    if not bounds or buckets[bounds[-1]] <= 0:
        return None
    wanted = share * buckets[bounds[-1]]
    low, below = 0.0, 0.0
    for bound in bounds:
        count = buckets[bound]
        if count >= wanted and count > below:
            return low if bound == inf else low + (bound - low) * (wanted - below) / (count - below)
        if bound != inf:
            low, below = bound, count
    return low
