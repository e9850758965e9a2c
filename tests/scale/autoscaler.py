"""A HorizontalPodAutoscaler as Kubernetes has it, with the chart's behaviour, and pods that take a while to start."""

from __future__ import annotations

import math
import random
from collections import deque
from dataclasses import dataclass, field

PERIOD = 15  # seconds between two looks
TOLERANCE = 0.1  # a ratio this near to 1 changes nothing
METRICS_DELAY = 30  # seconds until use shows: the window of the metrics server, and its scrape
DOWN_WINDOW = 300  # seconds: the highest wish of them counts
# Seconds from the decision until a pod is ready: where a node has room, and where one must be made.
START, NODE = (8.0, 15.0), (60.0, 100.0)
NODE_SHARE = 0.3  # of pods that need a new node


@dataclass
class Autoscaler:
    """One service's pods. `step` is called once a second, with the CPU that all pods used in it."""

    fewest: int
    most: int
    cpu: float  # that a pod asks for
    target: float  # share of it that is aimed for
    chance: random.Random
    ready: int = 0
    _starting: list[float] = field(default_factory=list)
    _used: deque[float] = field(default_factory=lambda: deque(maxlen=METRICS_DELAY))
    _wishes: deque[int] = field(default_factory=lambda: deque(maxlen=DOWN_WINDOW // PERIOD))
    _sizes: deque[tuple[int, int]] = field(default_factory=deque)

    def __post_init__(self) -> None:
        self.ready = self.fewest

    @property
    def pods(self) -> int:
        """Those that are paid for: ready, or starting."""
        return self.ready + len(self._starting)

    def step(self, second: int, used_cpu: float) -> None:
        arrived = [at for at in self._starting if at <= second]
        self._starting = [at for at in self._starting if at > second]
        self.ready += len(arrived)
        self._used.append(used_cpu)
        if second % PERIOD == 0 and len(self._used) == METRICS_DELAY:
            self._look(second, sum(list(self._used)[:PERIOD]) / PERIOD)

    def _look(self, second: int, used_cpu: float) -> None:
        ratio = used_cpu / (self.pods * self.cpu) / self.target  # a pod that starts counts as idle
        wish = self.pods if abs(ratio - 1) <= TOLERANCE else math.ceil(self.pods * ratio)
        self._wishes.append(min(self.most, max(self.fewest, wish)))
        self._sizes.append((second, self.pods))
        before = {seconds: self._pods_before(second - seconds) for seconds in (30, 60)}
        if self._wishes[-1] > self.pods:
            self._grow(second, min(self._wishes[-1], max(2 * before[30], before[30] + 2)))
        elif max(self._wishes) < self.pods:
            self._shrink(max(max(self._wishes), math.floor(before[60] / 2)))

    def _pods_before(self, second: int) -> int:
        while len(self._sizes) > 1 and self._sizes[1][0] <= second - 60:
            self._sizes.popleft()
        return next((pods for at, pods in self._sizes if at >= second), self._sizes[-1][1])

    def _grow(self, second: int, wanted: int) -> None:
        for _ in range(wanted - self.pods):
            span = NODE if self.chance.random() < NODE_SHARE else START
            self._starting.append(second + self.chance.uniform(*span))

    def _shrink(self, wanted: int) -> None:
        for _ in range(self.pods - wanted):
            if self._starting:
                self._starting.pop()
            elif self.ready > self.fewest:
                self.ready -= 1
