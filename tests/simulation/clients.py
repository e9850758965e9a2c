"""Clients: they send hits, send again what was not acknowledged, with the same event id, and remember what was."""

from __future__ import annotations

import asyncio
import json

import msgspec

from services.collector.outbox import HitsRefused
from services.shared import hit, identity
from services.shared.hit import Hit
from tests.simulation.events import KINDS, Event
from tests.simulation.fleet import Collector, Fleet
from tests.simulation.world import value

PATIENCE_SECONDS = 60.0  # a client waits for a reply


class Clients:
    def __init__(self, fleet: Fleet) -> None:
        self._fleet, self._world = fleet, fleet.world
        self.events: list[Event] = []
        self.broken: set[bytes] = set()  # lines that must become dead letters, alone

    async def run(self, number: int) -> None:
        """One client, which returns once all it has sent is acknowledged."""
        random, loop = self._world.random, self._world.loop
        requests: list[asyncio.Task[None]] = []
        for _ in range(random.randint(1, 12)):
            await asyncio.sleep(random.uniform(0, max(0.0, min(15, self._world.until - loop.time()))))
            for _ in range(random.choice((1, 1, 1, 20))):  # now and then a burst
                requests.append(
                    loop.create_task(self.send([self._event(number) for _ in range(random.choice((1, 1, 3)))]))
                )
        await asyncio.gather(*requests)

    async def send(self, events: list[Event]) -> None:
        while True:
            if collectors := self._fleet.collectors:
                collector = self._world.random.choice(collectors)
                if await self._request(collector, events):
                    return
            await self._world.pause(3)

    async def foreign(self) -> None:
        """A collector that is not ours publishes packs in which one line cannot be read."""
        world = self._world
        while world.loop.time() < world.until:
            await world.pause(20)
            events = [self._event(99) for _ in range(world.random.randint(1, 3))]
            lines = [self._line(event, posted=False) for event in events]
            self.broken.add(line := b'{"broken":%d' % len(self.broken))
            lines.insert(world.random.randint(0, len(lines)), line)
            pack = identity.uuid7(world.now_us(), world.entropy(10))
            self._fleet.broker.add("hits", *hit.pack(lines, pack))
            for event in events:
                event.acknowledged = f"at {world.loop.time():.3f} s by Pub/Sub"

    async def probe(self) -> None:
        """Once all is well, one try is enough."""
        for collector in list(self._fleet.collectors):
            if not await self._request(collector, [self._event(0)], reliable=True):
                self._world.problem(f"{collector.process.name} refuses a hit although all is well")

    def _event(self, client: int) -> Event:
        number = len(self.events)
        if self._world.chance(0.5):
            name = identity.uuid7(self._world.now_us(), self._world.entropy(10))
        else:
            name = f"client-{client}-event-{number}"
        event = Event(name, self._world.random.choice(("good", "good", "good", *KINDS)))
        self.events.append(event)
        return event

    async def _request(self, collector: Collector, events: list[Event], *, reliable: bool = False) -> bool:
        """Whether the events were acknowledged, as far as the client knows."""
        world, process = self._world, collector.process
        reply = world.loop.create_future()
        lines = [self._line(event, posted=len(events) > 1) for event in events]
        handling = process.run(_handle(collector, lines, reply))
        collector.requests.add(handling)
        handling.add_done_callback(collector.requests.discard)
        world.saw("pending bytes", value(collector.metrics.pending_bytes))
        await asyncio.wait({reply, process.ended}, timeout=PATIENCE_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        if not reply.done() and process.alive:
            world.problem(f"{process.name} gave no reply in {PATIENCE_SECONDS:.0f} s to {events[0].id}")
        if not reply.done() or not reply.result() or (not reliable and world.chance(0.02)):
            reply.cancel()
            return False
        for event in events:
            if event.id not in world.safe:
                world.problem(f"acknowledged by {process.name} while neither Pub/Sub nor a disk has it: {event.id}")
            event.acknowledged = f"at {world.loop.time():.3f} s by {process.name}"
            world.note("acknowledged", event.id, process.name)
        return True

    def _line(self, event: Event, *, posted: bool) -> bytes:
        now = self._world.now_us()
        made = Hit(identity.uuid7(now, self._world.entropy(10)), now, "GET", "/i")
        if posted:
            made.method, made.path, made.body = "POST", "/events", msgspec.Raw(json.dumps(event.members).encode())
        else:
            made.query = "&".join(f"{name}={text}" for name, text in event.members.items())
        return hit.encode(made)


async def _handle(collector: Collector, lines: list[bytes], reply: asyncio.Future[bool]) -> None:
    """As `App` does: a pixel by `take_one`, a post by `put`. The reply is whether the hits are safe."""

    def settled(error: Exception | None) -> None:
        if collector.process.alive and not reply.done():
            reply.set_result(error is None)

    try:
        if len(lines) == 1:
            collector.outbox.take_one(lines[0], settled, (0, hit.NATIVE, ""))
        else:
            await collector.outbox.put(lines)
            settled(None)
    except HitsRefused as error:
        settled(error)
