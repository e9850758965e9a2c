"""A day of traffic through a release: pods, backlogs, delays and dollars. A simulation, one step a second, seeded.

It takes from measurement what a hit costs each service, from the chart how it scales, and from Google's documents the
quotas. It is a model of queues: what a service does in a second, not how.
"""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from services.collector.config import Config
from services.ops import capacity_model, cost_model
from services.ops.capacity_model import Plan
from tests.scale.autoscaler import Autoscaler

SECONDS = 24 * 3600
# A pod without a limit on its CPU uses what its node has idle, up to the one core that its process can: so much of what
# it asks for is counted on.
BURST = 2.0
WAITING = 2.0  # seconds of hits that open connections hold; what is beyond is answered 503
STEADY_SECONDS = (
    0.35  # from a hit to its row with nothing in the way: linger, Pub/Sub twice, the loader's linger, append
)


@dataclass(frozen=True)
class Spike:
    """From `second` on, `factor` times the rate of the hour, falling back over `length` seconds."""

    second: int
    factor: float
    length: int


def spikes(chance: random.Random, highest: float) -> list[Spike]:
    """A newsletter, something that spreads, and a machine that sends too much."""
    hours = [chance.randrange(6 * 3600, 22 * 3600) for _ in range(3)]
    return [Spike(hours[0], highest * 0.6, 1800), Spike(hours[1], highest, 900), Spike(hours[2], highest * 0.8, 300)]


def rate(second: int, average: float, peaks: list[Spike]) -> float:
    """Hits a second: a curve with its valley at four in the morning, and the spikes on it."""
    daily = 1 + 0.7 * math.sin((second / SECONDS - 10 / 24) * 2 * math.pi)
    found = average * daily
    for spike in peaks:
        since = second - spike.second
        if 0 <= since < spike.length:
            found = max(found, average * spike.factor * (1 - 0.7 * since / spike.length) * min(1.0, (since + 1) / 20))
    return found


@dataclass
class Queue:
    """What waits before a service, oldest first, as (second, hits)."""

    _items: deque[tuple[int, float]] = field(default_factory=deque)
    hits: float = 0.0

    def put(self, second: int, hits: float) -> None:
        if hits > 0:
            self._items.append((second, hits))
            self.hits += hits

    def take(self, most: float) -> list[tuple[int, float]]:
        taken = []
        while self._items and most > 0:
            second, hits = self._items[0]
            part = min(hits, most)
            most -= part
            self.hits -= part
            taken.append((second, part))
            if part < hits:
                self._items[0] = (second, hits - part)
            else:
                self._items.popleft()
        if not self._items:
            self.hits = 0.0
        return taken


@dataclass(frozen=True)
class Minute:
    """Of one minute: hits a second, pods of each service, the largest backlog, and the longest way to a row."""

    rate: float
    pods: Mapping[str, int]
    backlog: float
    seconds: float


@dataclass(frozen=True)
class Day:
    minutes: list[Minute]
    hits: float
    refused: float
    spooled: float  # hits that Pub/Sub's quota made wait on disk
    loaded: float
    left: float  # on the way at midnight
    late: float  # share of hits that took more than ten seconds
    worst_seconds: float
    most_pods: Mapping[str, int]
    pod_hours: Mapping[str, float]
    dollars: float  # a month of such days

    @property
    def backlog(self) -> float:
        """The most hits that ever waited at the end of a second: on the spool, for a processor or for a loader."""
        return max(one.backlog for one in self.minutes)


def simulate(
    average: float,
    plan: Plan,
    seed: int = 1,
    *,
    highest: float = 5.0,
    quotas: Mapping[str, float] = capacity_model.QUOTAS,
    seconds: int = SECONDS,
) -> Day:
    """A day at that average rate, with a release sized by `plan`; less than a day begins before the highest spike."""
    chance = random.Random(seed)
    peaks = spikes(chance, highest)
    run = _Run(plan, chance, quotas)
    start = 0 if seconds == SECONDS else peaks[1].second - 600
    for second in range(start, start + seconds):
        run.step(second, rate(second, average, peaks) * chance.gauss(1, 0.03))
    return run.day(average, seconds)


class _Run:
    def __init__(self, plan: Plan, chance: random.Random, quotas: Mapping[str, float]) -> None:
        self._plan, self._quotas = plan, quotas
        self._scalers = {
            name: Autoscaler(one.fewest, one.most, one.pods.cpu, one.pods.target, chance)
            for name, one in plan.services.items()
        }
        self._queues = {name: Queue() for name in ("collector", "spool", "processor", "loader")}
        self._minutes: list[Minute] = []
        self._hits = self._refused = self._spooled = self._loaded = self._late = self._worst = 0.0
        self._pod_seconds = dict.fromkeys(plan.services, 0)
        self._most = dict.fromkeys(plan.services, 0)
        self._minute = (0.0, 0.0)  # the largest backlog and delay of the minute so far

    def step(self, second: int, hits: float) -> None:
        queues, collectors = self._queues, self._scalers["collector"]
        self._hits += hits
        room = max(0.0, WAITING * self._most_a_second("collector") - queues["collector"].hits)
        self._refused += max(0.0, hits - room)
        queues["collector"].put(second, min(hits, room))
        accepted = self._served("collector", second)
        size = cost_model.pack_hits(sum(part for _, part in accepted) / max(1, collectors.ready), Config.linger_seconds)
        hits_bytes = cost_model.hits_pack_bytes(size, cost_model.EVENT_BYTES) / size
        rows_bytes = cost_model.rows_pack_bytes(size, cost_model.EVENT_BYTES) / size
        # Rows are published by the same quota; they go first here, since what is not taken stays in Pub/Sub.
        publishable = self._quotas["Pub/Sub publish"] / (hits_bytes + rows_bytes)
        for at, part in accepted:
            queues["spool"].put(at, part)
        published = queues["spool"].take(publishable)
        self._spooled += max(0.0, sum(part for _, part in accepted) - publishable)
        for at, part in published:
            queues["processor"].put(at, part)
        for at, part in self._served("processor", second):
            queues["loader"].put(at, part)
        append = self._quotas["BigQuery append"] / (cost_model.EVENT_BYTES * cost_model.STORED)
        for at, part in self._served("loader", second, append):
            took = second - at + STEADY_SECONDS
            self._loaded += part
            self._late += part if took > 10 else 0.0
            self._worst = max(self._worst, took)
            self._minute = (self._minute[0], max(self._minute[1], took))
        self._count(second, hits)

    def _most_a_second(self, name: str) -> float:
        pods = self._plan.services[name].pods
        return self._scalers[name].ready * min(1.0, BURST * pods.cpu) * 1000 / pods.cpu_ms

    def _served(self, name: str, second: int, most: float = math.inf) -> list[tuple[int, float]]:
        taken = self._queues[name].take(min(most, self._most_a_second(name)))
        used = sum(part for _, part in taken) * self._plan.services[name].pods.cpu_ms / 1000
        self._scalers[name].step(second, used)
        return taken

    def _count(self, second: int, hits: float) -> None:
        backlog = sum(queue.hits for name, queue in self._queues.items() if name != "collector")
        self._minute = (max(self._minute[0], backlog), self._minute[1])
        pods = {name: scaler.pods for name, scaler in self._scalers.items()}
        for name, count in pods.items():
            self._pod_seconds[name] += count
            self._most[name] = max(self._most[name], count)
        if second % 60 == 59:
            self._minutes.append(Minute(hits, pods, *self._minute))
            self._minute = (0.0, 0.0)

    def day(self, average: float, seconds: int) -> Day:
        hours = {name: count / 3600 for name, count in self._pod_seconds.items()}
        steady = cost_model.estimate(average)
        running = {name: count / (seconds / 3600) for name, count in hours.items()}
        dollars = steady.total - steady.pods - steady.metrics + cost_model.metrics(running)
        dollars += sum(running[name] * one.pods.dollars for name, one in self._plan.services.items())
        return Day(
            self._minutes,
            self._hits,
            self._refused,
            self._spooled,
            self._loaded,
            sum(queue.hits for queue in self._queues.values()),
            self._late / max(1.0, self._loaded),
            self._worst,
            self._most,
            hours,
            dollars,
        )
