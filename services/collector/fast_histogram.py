"""The histogram of request durations: an observation costs one binary search, and no lock."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from itertools import accumulate

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

KINDS = ("pixel", "events")
BOUNDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)  # seconds


class FastHistogram(Collector):
    """Observed only from the event loop's thread. Requests that are neither pixel nor events are not counted."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._counts = {kind: [0] * (len(BOUNDS) + 1) for kind in KINDS}
        self._sums = dict.fromkeys(KINDS, 0.0)
        registry.register(self)

    def observe(self, kind: str, seconds: float) -> None:
        counts = self._counts.get(kind)
        if counts is not None:
            counts[bisect_left(BOUNDS, seconds)] += 1
            self._sums[kind] += seconds

    def collect(self) -> Iterator[Metric]:
        family = HistogramMetricFamily(
            "pixelpipe_collector_http_request_duration_seconds",
            "Time from a request's header to its reply, by kind of request",
            labels=("kind",),
        )
        names = [*map(str, BOUNDS), "+Inf"]
        for kind, counts in self._counts.items():
            family.add_metric([kind], list(zip(names, accumulate(counts), strict=True)), self._sums[kind])
        yield family
