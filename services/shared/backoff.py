"""Waits that double, up to a bound, with jitter, so that many clients do not come back at one moment."""

from __future__ import annotations

import random
from collections.abc import Callable


class Backoff:
    """`first` and `most` are the first and the largest bound of a wait, in seconds; `random` is uniform in [0, 1)."""

    def __init__(self, first: float, most: float, random: Callable[[], float] = random.random) -> None:
        self._first, self._most, self._random = first, most, random
        self._bound = min(first, most)

    def wait(self) -> float:
        """The next wait in seconds: at most the doubled bound, at least half of it."""
        bound = self._bound
        self._bound = min(2 * bound, self._most)
        return bound * (0.5 + self._random() / 2)

    def reset(self) -> None:
        """What was waited for has come: begin again."""
        self._bound = min(self._first, self._most)
