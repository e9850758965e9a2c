"""A counter for the request path: plain ints, exposed in the same format as prometheus_client's own counters.

`inc()` on a counter with labels takes a lock and three calls: 2.7 µs per request in a prototype, against 0.7 here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector


class FastCounter(Collector):
    """One counter: `by_labels[label values] += 1`, only from the event loop's thread."""

    def __init__(self, name: str, help: str, labels: tuple[str, ...], registry: CollectorRegistry) -> None:
        self._name, self._help = name, help
        self._labelnames = labels  # where prometheus_client's own counters have theirs
        self.by_labels: defaultdict[tuple[str, ...], int] = defaultdict(int)
        registry.register(self)

    def describe(self) -> Iterator[CounterMetricFamily]:
        yield self._family()

    def collect(self) -> Iterator[CounterMetricFamily]:
        family = self._family()
        for values, count in sorted(self.by_labels.items()):
            family.add_metric(values, count)
        yield family

    def _family(self) -> CounterMetricFamily:
        return CounterMetricFamily(self._name, self._help, labels=self._labelnames)
