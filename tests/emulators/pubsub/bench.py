"""A Pub/Sub broker on a bench: its clock is set by the test, its consumers are driven by hand."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from google.pubsub_v1 import types

from emulators.pubsub.broker import Broker
from emulators.pubsub.consumer import Consumer
from emulators.pubsub.errors import PubsubError
from emulators.pubsub.message import Delivery

TOPIC = "projects/shop/topics/hits"
DEAD = "projects/shop/topics/dead"
SUB = "projects/shop/subscriptions/hits-sub"
DEAD_SUB = "projects/shop/subscriptions/dead-sub"
START = 1_800_000_000.0


@dataclass
class Bench:
    """A broker with a topic and a subscription, at a time that only the test moves."""

    settings: dict[str, Any] = field(default_factory=dict)
    max_bytes: int = 1 << 30
    now: float = START
    wanted: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.broker = Broker(self.max_bytes, first_number=1, sooner=self.wanted.append)
        for name in (TOPIC, DEAD):
            self.broker.create_topic(types.Topic.pb()(name=name))
        self.subscribe(DEAD_SUB, DEAD)
        self.subscribe(SUB, TOPIC, **self.settings)

    def subscribe(self, name: str, topic: str, **settings: Any) -> None:
        self.broker.create_subscription(
            types.Subscription.pb(types.Subscription(name=name, topic=topic, **settings)), self.now
        )

    def publish(self, *bodies: str, topic: str = TOPIC) -> None:
        raw = [types.PubsubMessage.pb()(data=body.encode()) for body in bodies]
        self.broker.publish(topic, raw, self.now)

    def consumer(self, max_messages: int = 0, max_bytes: int = 0, name: str = SUB) -> Taker:
        return Taker(self, name, max_messages, max_bytes)

    def take(self, name: str = SUB, seconds: float = 10, most: int = 1000) -> list[Delivery]:
        """Pull once, as a consumer that goes away at once."""
        with self.consumer(name=name) as taker:
            return taker.take(seconds, most)

    def ack(self, *deliveries: Delivery) -> None:
        self.broker.acknowledge(SUB, [delivery.ack_id for delivery in deliveries], self.now)

    def modify(self, seconds: float, *deliveries: Delivery) -> None:
        self.broker.modify(SUB, [(delivery.ack_id, seconds) for delivery in deliveries], self.now)

    def sleep(self, seconds: float) -> float:
        self.now += seconds
        return self.broker.advance(self.now)


class Taker:
    """One consumer of a bench's subscription; `woken` counts how often it was called."""

    def __init__(self, bench: Bench, name: str, max_messages: int, max_bytes: int) -> None:
        self.bench = bench
        self.backlog = bench.broker.backlog(name, bench.now)
        self.woken = 0
        self.finished: list[PubsubError] = []
        self.consumer = Consumer(max_messages, max_bytes, self._wake, self.finished.append)

    def __enter__(self) -> Taker:
        self.backlog.join(self.consumer)
        return self

    def __exit__(self, *_: object) -> None:
        self.backlog.leave(self.consumer, self.bench.now)

    def _wake(self) -> None:
        self.woken += 1

    def take(self, seconds: float = 10, most: int = 1000, most_bytes: int = 1 << 30) -> list[Delivery]:
        return self.backlog.take(self.consumer, seconds, most, most_bytes, self.bench.now)

    def wait(self) -> None:
        self.backlog.wait(self.consumer)


def bodies(deliveries: list[Delivery]) -> list[str]:
    return [body(delivery) for delivery in deliveries]


def body(delivery: Delivery) -> str:
    return types.PubsubMessage.pb().FromString(delivery.message.encoded).data.decode()
