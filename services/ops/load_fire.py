"""Fires events at a collector: as fast as it answers, or at a rate, whatever it answers."""

from __future__ import annotations

import asyncio
import itertools
import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import aiohttp
import msgspec
from yarl import URL

from services.ops.latency import Latencies
from services.ops.load_events import Event
from services.shared import fault, hit
from services.shared.hit import Hit

_REPLY_SECONDS = 60.0
_HOPELESS = 200  # refused in a row from the first on: nobody is there
_SAMPLE = 1_000  # events whose bytes are measured


@dataclass
class Fired:
    """What was sent: the ids that were acknowledged with 2xx, and how long that took since each was due."""

    acknowledged: set[str] = field(default_factory=set)
    refused: int = 0
    seconds: float = 0.0
    latencies: Latencies = field(default_factory=Latencies)
    behind: float = 0.0  # seconds that an event was sent too late at most, since all connections were busy
    failure: str = ""  # the first
    event_bytes: float = 0.0  # of a hit as JSON, on average

    @property
    def sent(self) -> int:
        return len(self.acknowledged) + self.refused


def schedule(rate: float, ramp: float, seconds: float) -> Iterator[float]:
    """When each event is due, in seconds from the beginning: the rate rises evenly during `ramp`, then stays."""
    rising = rate * ramp / 2  # events until the rate is reached
    for number in itertools.count():
        due = math.sqrt(2 * number * ramp / rate) if number < rising else ramp + (number - rising) / rate
        if due >= seconds:
            return
        yield due


async def fire(
    url: str,
    events: Iterable[Event],
    connections: int,
    due: Iterable[float] | None = None,
    seconds: float = math.inf,
    progress: Callable[[Fired, float], object] = lambda _fired, _elapsed: None,
) -> Fired:
    """Send every event once, over so many connections; those without a time in `due` as soon as one is free.

    Latency counts from when an event was due, so that a collector that stalls is charged for all it kept waiting. No
    event is begun after `seconds`, nor if nobody is there.
    """
    fired, begin = Fired(), time.perf_counter()
    waiting, times = iter(events), itertools.repeat(None) if due is None else iter(due)
    timeout = aiohttp.ClientTimeout(total=_REPLY_SECONDS)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=connections), timeout=timeout) as http:

        async def one_connection() -> None:
            for at in times:
                now = time.perf_counter() - begin
                if now >= seconds or (not fired.acknowledged and fired.refused >= _HOPELESS):
                    return
                if at is not None and at > now:
                    await asyncio.sleep(at - now)
                elif at is not None:
                    fired.behind = max(fired.behind, now - at)
                event = next(waiting, None)  # made when it happens, as its id and its times say
                if event is None:
                    return
                failure = await _send(http, url, event)
                ended = time.perf_counter() - begin
                fired.latencies.add(ended - (now if at is None else at))
                _count(fired, event, failure)
                progress(fired, ended)

        async with asyncio.TaskGroup() as tasks:
            for _ in range(connections):
                tasks.create_task(one_connection())
    fired.seconds = time.perf_counter() - begin
    return fired


def _count(fired: Fired, event: Event, failure: str | None) -> None:
    if fired.sent < _SAMPLE:
        fired.event_bytes += (_bytes(event) - fired.event_bytes) / (fired.sent + 1)
    if failure is None:
        fired.acknowledged.add(event.id)
    else:
        fired.refused += 1
        fired.failure = fired.failure or failure


def _bytes(event: Event) -> int:
    """As the collector encodes it, nearly."""
    headers = {name.lower(): value for name, value in event.headers.items()} | {"host": "track.example.com"}
    body = msgspec.Raw(event.body or b"")
    method = "GET" if event.body is None else "POST"
    return len(hit.encode(Hit(event.id, 1, method, event.path, event.query, headers, "203.0.113.0", body)))


async def _send(http: aiohttp.ClientSession, url: str, event: Event) -> str | None:
    """Why it was not acknowledged; None if it was."""
    target = URL(url.rstrip("/") + event.path + (f"?{event.query}" if event.query else ""), encoded=True)
    method = "GET" if event.body is None else "POST"
    try:
        async with http.request(method, target, data=event.body, headers=event.headers) as reply:
            await reply.read()
            return None if reply.status in (200, 204) else f"answered {reply.status}"
    except (aiohttp.ClientError, TimeoutError) as error:
        return fault.words(error)  # nobody said it is safe
