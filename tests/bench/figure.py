"""A figure of the bench: a median of samples, and how far they were apart."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

WIDEST = 0.15  # of the median; a figure whose samples are further apart is refused


@dataclass(frozen=True)
class Figure:
    """`spread` is half the distance between the quartiles over the median: 0 for what is counted, not timed.

    `units` is of a rate: what one of them takes, in the unit of tests/bench/unit.py, sampled in turn with it.
    """

    value: float
    spread: float = 0.0
    units: Figure | None = None

    @property
    def steady(self) -> bool:
        """Whether the figure may be shown."""
        return self.spread <= WIDEST


def median(samples: Sequence[float]) -> Figure:
    """The median of samples of one thing."""
    if len(samples) < 2:
        return Figure(samples[0])
    lower, middle, upper = statistics.quantiles(samples, n=4, method="inclusive")
    return Figure(middle, (upper - lower) / 2 / middle if middle else 0.0)


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> Figure:
    """The median ratio of pairs measured one right after the other, so that a drift of the host is in both."""
    return median([one / other for one, other in zip(ours, theirs, strict=True)])


def rate(per_second: Sequence[float], unit_us: Sequence[float]) -> Figure:
    """The median of rates, and what one takes in units: the two were sampled in turn."""
    found = median(per_second)
    units = [1e6 / one / unit for one, unit in zip(per_second, unit_us, strict=True)]
    return Figure(found.value, found.spread, median(units))
