"""Waits that double, up to a bound, with jitter, so that many clients do not come back at one moment."""

from __future__ import annotations

import random as _random
from collections.abc import Callable


class Backoff:
    """The waits between attempts at one thing; all times are in seconds."""

    def __init__(self, first: float, most: float, random: Callable[[], float] = _random.random) -> None:
        """`random` gives numbers from 0 to 1."""
        self._first, self._most, self._random = first, most, random
        self._bound = min(first, most)

    def wait(self) -> float:
        """The next wait in seconds: at most the doubled bound, at least half of it."""
        bound = self._bound
        self._bound = min(bound * 2, self._most)
        return bound * (1 + self._random()) / 2

    def reset(self) -> None:
        """What was waited for has come: begin again."""
        self._bound = min(self._first, self._most)
