"""A clock that never goes back, and the one task that calls the broker when something is due."""

from __future__ import annotations

import asyncio
import time

from emulators.pubsub.broker import Broker

# Deadlines that fall closer together than this are served together.
_GRAIN = 0.01


class Clock:
    """Unix seconds: the wall clock at the start, the monotonic clock from there."""

    def __init__(self) -> None:
        self._offset = time.time() - time.monotonic()

    def now(self) -> float:
        return self._offset + time.monotonic()


class Alarm:
    """Sleeps until the earliest time it was given; `run` calls `Broker.advance` then, and at no other time."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._time = float("inf")
        self._changed = asyncio.Event()

    def sooner(self, time: float) -> None:
        if time < self._time:
            self._time = time
            self._changed.set()

    async def run(self, broker: Broker) -> None:
        while True:
            self._changed.clear()
            wait = self._time - self._clock.now()
            try:
                # An hour at most: the loop's own limit on a timer is far below a subscription's 31 days.
                async with asyncio.timeout(min(max(wait, _GRAIN), 3_600)):
                    await self._changed.wait()
            except TimeoutError:
                if self._clock.now() >= self._time:
                    self._time = float("inf")
                    self._time = broker.advance(self._clock.now())
