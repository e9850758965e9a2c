"""Any order of publishing, taking, acking, nacking, extending and waiting keeps the promises of a subscription."""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, multiple, rule

from emulators.pubsub.message import Delivery
from tests.emulators.pubsub.bench import DEAD, DEAD_SUB, SUB, Bench, Taker, body

MAX_ATTEMPTS = 5
LIMIT = 3


class Subscription(RuleBasedStateMachine):
    """Knows, for every message, until when it is leased, and whether it is done: acked, or dead."""

    held = Bundle("held")

    def __init__(self) -> None:
        super().__init__()
        self.bench = Bench(
            {
                "dead_letter_policy": {"dead_letter_topic": DEAD, "max_delivery_attempts": MAX_ATTEMPTS},
                "retry_policy": {"minimum_backoff": {"seconds": 2}, "maximum_backoff": {"seconds": 5}},
            }
        )
        self.takers = [Taker(self.bench, SUB, LIMIT, 0), Taker(self.bench, SUB, 0, 0)]
        for taker in self.takers:
            taker.__enter__()
        self.published = 0
        self.leased: dict[str, tuple[float, Delivery]] = {}
        self.acked: set[str] = set()
        self.failures: dict[str, int] = {}

    @rule(count=st.integers(1, 4))
    def publish(self, count: int) -> None:
        self.bench.publish(*[str(self.published + number) for number in range(count)])
        self.published += count

    @rule(target=held, which=st.sampled_from([0, 1]), seconds=st.sampled_from([10, 20]), most=st.integers(1, 5))
    def take(self, which: int, seconds: int, most: int) -> Any:
        taken = self.takers[which].take(seconds, most)
        for delivery in taken:
            name = body(delivery)
            assert name not in self.acked
            assert name not in self.leased
            assert delivery.attempt == self.failures.get(name, 0) + 1 <= MAX_ATTEMPTS
            self.leased[name] = (self.bench.now + seconds, delivery)
        return multiple(*taken)

    @rule(delivery=held)
    def ack(self, delivery: Delivery) -> None:
        self.bench.ack(delivery)
        name = body(delivery)
        if self.failures.get(name, 0) < MAX_ATTEMPTS:
            self.acked.add(name)
        self.leased.pop(name, None)

    @rule(delivery=held)
    def nack(self, delivery: Delivery) -> None:
        self.bench.modify(0, delivery)
        name = body(delivery)
        if name in self.leased and self.leased[name][1] == delivery:
            self._fail(name)

    @rule(delivery=held, seconds=st.sampled_from([1, 10, 60]))
    def modify(self, delivery: Delivery, seconds: int) -> None:
        self.bench.modify(seconds, delivery)
        name = body(delivery)
        if name in self.leased and self.leased[name][1] == delivery:
            self.leased[name] = (self.bench.now + seconds, delivery)

    @rule(seconds=st.sampled_from([0, 1, 3, 10, 30]))
    def sleep(self, seconds: int) -> None:
        self.bench.sleep(seconds)
        for name, (due, _) in list(self.leased.items()):
            if due <= self.bench.now:
                self._fail(name)

    def _fail(self, name: str) -> None:
        del self.leased[name]
        self.failures[name] = self.failures.get(name, 0) + 1

    @invariant()
    def consumers_hold_what_is_leased(self) -> None:
        assert sum(taker.consumer.messages for taker in self.takers) == len(self.leased)
        assert self.takers[0].consumer.messages <= LIMIT

    def teardown(self) -> None:
        """In the end every message was acked once or is a dead letter, and nothing is kept."""
        for _ in range(MAX_ATTEMPTS + 1):
            self.bench.sleep(100)
            for delivery in self.takers[1].take():
                name = body(delivery)
                assert name not in self.acked
                self.acked.add(name)
                self.bench.ack(delivery)
        dead = {body(delivery) for delivery in self.bench.take(DEAD_SUB)}
        assert not dead & self.acked
        assert len(dead) + len(self.acked) == self.published
        self.bench.broker.delete_subscription(DEAD_SUB, self.bench.now)
        assert self.bench.broker.held_bytes.held == 0


TestSubscription = Subscription.TestCase
TestSubscription.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
