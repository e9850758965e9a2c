"""Keeps a log line that strangers can cause from filling the log."""

from __future__ import annotations

import time
from collections.abc import Callable


class Throttle:
    """Lets one through every `seconds`, and says then how many there were since the last."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds, self._clock = seconds, clock
        self._count, self._again_at = 0, float("-inf")

    def add(self, count: int) -> int:
        """How many to report now; 0 while it is too early, or if there are none."""
        self._count += count
        now = self._clock()
        if not self._count or now < self._again_at:
            return 0
        self._again_at = now + self._seconds
        told, self._count = self._count, 0
        return told
