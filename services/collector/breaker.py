"""A circuit breaker: after a failure nobody waits for Pub/Sub until one try has shown that it answers again. Pure."""

from __future__ import annotations

from collections.abc import Callable

CLOSED, HALF_OPEN, OPEN = 0, 1, 2  # the values of the metric
FIRST_WAIT, LONGEST_WAIT = 0.5, 10.0  # seconds between tries, doubling


class Breaker:
    """Closed: publish. Open: do not, until `try_at`; then one may try, and its outcome decides.

    `now` is a monotonic time in seconds; `changed` is called with the new state.
    """

    def __init__(self, changed: Callable[[int], None]) -> None:
        self._changed = changed
        self._wait = FIRST_WAIT
        self.state = CLOSED
        self.try_at = 0.0

    def failed(self, now: float) -> None:
        if self.state == CLOSED:
            self._wait = FIRST_WAIT
        elif self.state == HALF_OPEN:
            self._wait = min(self._wait * 2, LONGEST_WAIT)
        else:
            return  # one of those that were under way when it opened
        self.try_at = now + self._wait
        self._set(OPEN)

    def succeeded(self) -> None:
        if self.state != CLOSED:
            self._set(CLOSED)

    def slow(self, now: float) -> None:
        """A try was answered, but later than replies can wait: stay open, and try the next at once."""
        self._wait = FIRST_WAIT
        self.try_at = now
        self._set(OPEN)

    def due(self, now: float) -> bool:
        """Whether it is time for a try, and nobody tries."""
        return self.state == OPEN and now >= self.try_at

    def may_try(self, now: float) -> bool:
        """Whether the caller is the one to try; it must report how it went, whatever happens to it."""
        if self.due(now):
            self._set(HALF_OPEN)
            return True
        return False

    def _set(self, state: int) -> None:
        self.state = state
        self._changed(state)
