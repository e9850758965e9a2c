"""Percentiles of many durations in bounded memory: counts in buckets, each a hundredth wider than the one before."""

from __future__ import annotations

import math

_GROWTH = math.log(1.01)
_LEAST = 1e-5  # seconds; what is shorter counts as that
_BUCKETS = math.ceil(math.log(3_600 / _LEAST) / _GROWTH)  # about 2,000, up to an hour


class Latencies:
    """Durations in seconds; percentiles are at most 1 % above what was measured."""

    def __init__(self) -> None:
        self._counts = [0] * (_BUCKETS + 1)
        self.count = 0
        self.longest = 0.0

    def add(self, seconds: float) -> None:
        place = math.ceil(math.log(max(seconds, _LEAST) / _LEAST) / _GROWTH)
        self._counts[min(place, _BUCKETS)] += 1
        self.count += 1
        self.longest = max(self.longest, seconds)

    def percentile(self, percent: float) -> float:
        """Seconds that so many per cent of all took at most; 0 without any."""
        wanted = math.ceil(self.count * percent / 100)
        seen = 0
        for place, count in enumerate(self._counts):
            seen += count
            if seen >= wanted > 0:
                return min(_LEAST * math.exp(place * _GROWTH), self.longest)
        return 0.0

    def milliseconds(self) -> dict[str, float]:
        """What a report shows."""
        found = {f"p{percent:g}": self.percentile(percent) for percent in (50, 90, 99, 99.9)}
        return {name: round(seconds * 1000, 2) for name, seconds in {**found, "max": self.longest}.items()}
