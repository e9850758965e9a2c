"""A simulated Pub/Sub: topics, subscriptions with leases, and what the services use of both.

`Publisher` and `Subscriber` promise what those of `services/shared` do. Delivery is at least once and in no
order, as it is on Google Cloud, and more often twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from types import SimpleNamespace

from services.provision.subscriptions import DELIVERY_ATTEMPTS, RETRY_SECONDS
from services.shared import zstd_frame
from services.shared.publisher import Unconfirmed
from services.shared.subscriber import Delivery
from tests.simulation.loop import never
from tests.simulation.process import Process
from tests.simulation.world import World

LEASE_SECONDS = 20.0
FLUSH_SECONDS = 0.1  # an answer is on its way for at most so long, and lost with its process


@dataclass(eq=False)
class Message:
    """`due` is when it may be delivered; `holder` has the lease."""

    number: int
    data: bytes
    attributes: dict[str, str]
    published_us: int
    due: float
    attempt: int = 0
    holder: object = None


class Subscription:
    def __init__(self, world: World, name: str, dead: list[Message]) -> None:
        self.world, self.name, self._dead = world, name, dead
        self.waiting: dict[int, Message] = {}
        self._listeners: list[asyncio.Event] = []
        world.changed.append(self.wake)

    def listen(self, event: asyncio.Event) -> None:
        self._listeners.append(event)

    def leave(self, event: asyncio.Event) -> None:
        self._listeners.remove(event)

    def wake(self) -> None:
        for event in self._listeners:
            event.set()

    def add(self, message: Message) -> None:
        self.waiting[message.number] = message
        self._wait(message, self.world.random.uniform(0, 0.05))

    def take(self, holder: object) -> Message | None:
        """Lease any message that is due."""
        now = self.world.loop.time()
        due = [message for message in self.waiting.values() if message.holder is None and message.due <= now]
        if not due or self.world.fault("pull") == "starved":
            return None
        message = self.world.random.choice(due)
        if message.attempt == DELIVERY_ATTEMPTS:
            del self.waiting[message.number]
            self._dead.append(message)
            return None
        message.attempt += 1
        message.holder = holder
        if self.world.fault("pull") == "lease_lost":
            self.world.loop.call_later(self.world.random.uniform(0, 3), self.release, message, holder)
        return message

    def acknowledge(self, message: Message, holder: object) -> None:
        if self.world.fault("pull") == "ack_lost":
            self.world.loop.call_later(LEASE_SECONDS, self.release, message, holder)
        else:
            self.waiting.pop(message.number, None)

    def release(self, message: Message, holder: object) -> None:
        """The lease ends without an acknowledgement: the retry policy says when the message comes again."""
        if message.holder is holder and message.number in self.waiting:
            message.holder = None
            self._wait(message, min(RETRY_SECONDS[0] * 2.0 ** (message.attempt - 1), RETRY_SECONDS[1]))

    def _wait(self, message: Message, seconds: float) -> None:
        message.due = self.world.loop.time() + seconds
        self.world.loop.call_at(message.due, self.wake)


class Broker:
    """The three topics; `dead` are the messages of the dead-letter topic, which nobody reads."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.dead: list[Message] = []
        self.hits = Subscription(world, "hits", self.dead)
        self.rows = Subscription(world, "rows", self.dead)
        self._numbers = count(1)

    def add(self, topic: str, data: bytes, attributes: Mapping[str, str]) -> str:
        now = self.world.loop.time()
        message = Message(next(self._numbers), data, dict(attributes), self.world.now_us(), now)
        self.world.note("broker", topic, message.number, attributes.get("pack", ""))
        if topic == "dead":
            self.dead.append(message)
        else:
            {"hits": self.hits, "rows": self.rows}[topic].add(message)
        if topic == "hits":
            self.world.keeps(data)
        return str(message.number)


class Publisher:
    def __init__(self, broker: Broker, process: Process, *, in_flight: int, timeout: float) -> None:
        self._broker, self._process, self._timeout = broker, process, timeout
        self._world = broker.world
        self._slots = asyncio.Semaphore(in_flight)

    async def publish(self, topic: str, data: bytes, attributes: Mapping[str, str]) -> str:
        try:
            async with asyncio.timeout(self._timeout), self._slots:
                wait = 0.05
                while (number := await self._try(topic, data, attributes)) is None:
                    await asyncio.sleep(wait)
                    wait = min(wait * 2, 1.0)
                return number
        except TimeoutError:
            raise Unconfirmed(f"{topic}: no answer in {self._timeout} s") from None

    async def _try(self, topic: str, data: bytes, attributes: Mapping[str, str]) -> str | None:
        """The id of the message; None for an error that may pass."""
        fault = await self._world.operation(self._process, "publish", f"{topic} {attributes.get('pack', '')}")
        if fault == "refused":
            return None
        if fault == "denied":
            raise Unconfirmed(f"{topic}: permission denied")
        if fault == "hang":
            await never()
        if fault == "late":  # the message arrives when nobody waits for its reply any more
            self._world.loop.call_later(self._world.random.uniform(0, 40), self._broker.add, topic, data, attributes)
            await never()
        number = self._broker.add(topic, data, attributes)
        if fault == "reply_lost":
            return None if self._world.chance(0.5) else await never()
        await self._world.latency(self._process)
        return number


class Subscriber:
    """Also counts what is out: `held` bytes of messages taken and not answered, decompressed."""

    def __init__(self, source: Subscription, process: Process, *, max_messages: int) -> None:
        self.subscription = source.name
        self._source, self._process, self._max_messages = source, process, max_messages
        self._wake = asyncio.Event()
        self._draining = False
        self._out: dict[int, Message] = {}
        self.held = 0

    async def __aenter__(self) -> Subscriber:
        self._source.listen(self._wake)
        self._process.ended.add_done_callback(lambda _: self._lose())
        return self

    async def __aexit__(self, *_: object) -> None:
        self.drain()
        if self._process.alive:
            await asyncio.sleep(2 * FLUSH_SECONDS)  # the answers given go out

    def drain(self) -> None:
        self._draining = True
        self._wake.set()

    def __aiter__(self) -> Subscriber:
        return self

    async def __anext__(self) -> Delivery:
        while True:
            self._process.reach()
            if self._draining:
                raise StopAsyncIteration
            if len(self._out) < self._max_messages and (message := self._source.take(self)) is not None:
                return self._deliver(message)
            self._wake.clear()
            await self._wake.wait()

    def answer(self, message: SimpleNamespace, ack: bool) -> None:
        leased: Message = message.leased
        world = self._source.world
        if not self._process.alive:
            return
        world.note(self._process.name, "acks" if ack else "nacks", self.subscription, leased.number)
        if self._out.pop(leased.number, None) is not None:
            self.held -= zstd_frame.held(leased.data)
        world.loop.call_later(world.random.uniform(0, FLUSH_SECONDS), self._send, leased, ack)
        self._wake.set()

    def _deliver(self, message: Message) -> Delivery:
        self._source.world.note(self._process.name, "takes", self.subscription, message.number, message.attempt)
        if message.number not in self._out:
            self._out[message.number] = message
            self.held += zstd_frame.held(message.data)
            if self.subscription == "hits":  # the loader bounds what it holds by a metric of its own
                self._source.world.saw("pulled bytes", self.held)
        received = SimpleNamespace(
            data=message.data,
            attributes=message.attributes,
            message_id=str(message.number),
            publish_time=datetime.fromtimestamp(message.published_us / 1_000_000, UTC),
            delivery_attempt=message.attempt,
            leased=message,
        )
        return Delivery(received, self.answer)

    def _send(self, message: Message, ack: bool) -> None:
        if not self._process.alive:
            return
        if ack:
            self._source.acknowledge(message, self)
        else:
            self._source.release(message, self)

    def _lose(self) -> None:
        """The process is gone, and with it all answers it had not sent: its leases end."""
        self._source.leave(self._wake)
        for message in self._source.waiting.values():
            if message.holder is self:
                seconds = self._source.world.random.uniform(0, LEASE_SECONDS)
                self._source.world.loop.call_later(seconds, self._source.release, message, self)
