"""A circuit breaker: after a failure, replies stop waiting for Pub/Sub until a trial publish succeeds. Pure."""

from __future__ import annotations

from collections.abc import Callable

from services.shared.backoff import Backoff

CLOSED, HALF_OPEN, OPEN = 0, 1, 2  # the values of the metric
FIRST_WAIT, LONGEST_WAIT = 0.5, 10.0  # seconds between tries, doubling


class Breaker:
    """Closed: publish. Open: do not publish until `try_at`; then one caller may try, and its outcome decides.

    `now` is a monotonic time in seconds; `changed` is called with the new state.
    """

    def __init__(self, changed: Callable[[int], None]) -> None:
        self._changed = changed
        self._backoff = Backoff(FIRST_WAIT, LONGEST_WAIT, random=lambda: 1.0)  # a try is one pack: no jitter
        self.state = CLOSED
        self.try_at = 0.0

    def failed(self, now: float) -> None:
        if self.state == OPEN:
            return  # it was already under way when the breaker opened
        self.try_at = now + self._backoff.wait()
        self._set(OPEN)

    def succeeded(self) -> None:
        if self.state != CLOSED:
            self._backoff.reset()
            self._set(CLOSED)

    def slow(self, now: float) -> None:
        """A try succeeded, but too slowly for replies: stay open, and allow the next try at once."""
        self._backoff.reset()
        self.try_at = now
        self._set(OPEN)

    def due(self, now: float) -> bool:
        """Whether a try is due and none is under way."""
        return self.state == OPEN and now >= self.try_at

    def may_try(self, now: float) -> bool:
        """Whether the caller may try; if so, it must report the outcome, even if it is cancelled."""
        if self.due(now):
            self._set(HALF_OPEN)
            return True
        return False

    def _set(self, state: int) -> None:
        self.state = state
        self._changed(state)
