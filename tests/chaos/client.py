"""The load: a client that sends an event again until it is acknowledged, and remembers which were."""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import urlencode

import aiohttp

from services.shared import identity

CONNECTIONS = 64
BATCH = 20  # events of a POST
POSTED = 0.15  # of the requests
BAD = 100  # one event in so many is bad: no row can be made of it
REQUEST_SECONDS = 10.0
GIVE_UP_SECONDS = 60.0  # after the load's end
KEPT = 10_000  # acknowledged events that may be sent again
_DAY_US = 24 * 3600 * 1_000_000
_WAITS = (0.05, 1.0)  # first and longest wait before an event is sent again, doubling

Event = dict[str, str]


@dataclass
class Client:
    """Fires about `rate` events a second at collectors, in turn, until `stop()`: of so many `days`, the last today.

    `acknowledged` has the id of every event answered 200 or 204; `sent` of every one that was tried.
    """

    urls: Sequence[str]
    rate: float
    days: int = 1
    acknowledged: set[str] = field(default_factory=set)
    sent: set[str] = field(default_factory=set)
    refused: int = 0  # answers other than 200 and 204
    broken: int = 0  # requests that got no answer
    _stopped: float | None = None
    _kept: deque[Event] = field(default_factory=lambda: deque(maxlen=KEPT))

    async def __aenter__(self) -> Client:
        # A connection a worker: what one collector's death breaks must not wait for another's.
        self._http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=REQUEST_SECONDS)
        )
        self._requests = self._made()
        self._workers = [asyncio.create_task(self._work(number)) for number in range(CONNECTIONS)]
        return self

    async def __aexit__(self, *_error: object) -> None:
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)
        await self._http.close()

    async def stop(self) -> None:
        """Begin no more requests, and return when each that was begun is acknowledged or given up."""
        self._stopped = time.monotonic()
        await asyncio.gather(*self._workers)

    async def until_acknowledged(self, count: int, seconds: float = 120) -> None:
        """Wait for so many acknowledged events in all."""
        end = time.monotonic() + seconds
        while len(self.acknowledged) < count:
            for worker in self._workers:
                if worker.done():
                    worker.result()
            assert time.monotonic() < end, f"{len(self.acknowledged)} of {count} events acknowledged in {seconds} s"
            await asyncio.sleep(0.02)

    async def repeat(self, count: int) -> None:
        """Send so many events that were acknowledged again, as a client does that has not seen the replies."""
        events = random.sample(self._kept, min(count, len(self._kept)))
        for first in range(0, len(events), BATCH):
            await self._until_acknowledged(first, events[first : first + BATCH])

    def _made(self) -> Iterator[tuple[float, list[Event]]]:
        """Requests, and when each is due."""
        due = time.monotonic()
        number = 0
        while True:
            events = [self._event(number + n) for n in range(BATCH if random.random() < POSTED else 1)]
            number += len(events)
            yield due, events
            # A client that was held up does not make up for it all at once.
            due = max(due + len(events) / self.rate, time.monotonic() - 1)

    def _event(self, number: int) -> Event:
        happened = time.time_ns() // 1000 - random.randrange(self.days) * _DAY_US
        event = {
            "event_id": identity.uuid7(happened),
            "tenant": f"shop-{number % 7}",
            "user_id": f"user-{random.randrange(100_000)}",
            "type": random.choice(("view", "click", "order")),
            "url": f"https://shop.example.com/products/{random.randrange(10_000)}",
            "session": random.randbytes(32).hex(),
        }
        if self.days > 1:
            event["event_time"] = datetime.fromtimestamp(happened / 1_000_000, UTC).isoformat()
            if number % 2:
                event["event_id"] = random.randbytes(16).hex()  # which says no day, so event_time does
        if number % BAD == 0:
            event["user_id"] = ""
        return event

    async def _work(self, number: int) -> None:
        while self._stopped is None:
            due, events = next(self._requests)
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            if self._stopped is None:
                await self._until_acknowledged(number, events)

    async def _until_acknowledged(self, turn: int, events: list[Event]) -> None:
        ids = [event["event_id"] for event in events]
        self.sent.update(ids)
        wait, longest = _WAITS
        while self._stopped is None or time.monotonic() < self._stopped + GIVE_UP_SECONDS:
            if await self._send(self.urls[turn % len(self.urls)], events):
                self.acknowledged.update(ids)
                self._kept.extend(events)
                return
            turn += 1
            await asyncio.sleep(wait * random.uniform(0.5, 1))
            wait = min(wait * 2, longest)

    async def _send(self, url: str, events: list[Event]) -> bool:
        try:
            if len(events) > 1:
                request = self._http.post(f"{url}/events", json=events)
            else:
                request = self._http.get(f"{url}/pixel.gif?{urlencode(events[0])}")
            async with request as reply:
                await reply.read()
        except (aiohttp.ClientError, TimeoutError):
            self.broken += 1
            return False
        if reply.status not in (200, 204):
            self.refused += 1
            return False
        return True
