"""Counters of what each request changes: plain ints, exported as prometheus_client exports its own.

`inc()` of a counter with labels takes a lock and three calls: on a prototype 2.7 µs a request, against 0.7.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector


class Counts(Collector):
    """One counter: `of[values of its labels] += 1`, in the event loop's thread alone."""

    def __init__(self, name: str, help: str, labels: tuple[str, ...], registry: CollectorRegistry) -> None:
        self._name, self._help = name, help
        self._labelnames = labels  # where prometheus_client's own counters have theirs
        self.of: defaultdict[tuple[str, ...], int] = defaultdict(int)
        registry.register(self)

    def describe(self) -> Iterator[CounterMetricFamily]:
        yield self._family()

    def collect(self) -> Iterator[CounterMetricFamily]:
        family = self._family()
        for values, count in sorted(self.of.items()):
            family.add_metric(values, count)
        yield family

    def _family(self) -> CounterMetricFamily:
        return CounterMetricFamily(self._name, self._help, labels=self._labelnames)
