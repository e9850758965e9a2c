"""What becomes of messages that were nacked or whose lease ran out: backoff, attempts, dead letters."""

from __future__ import annotations

from typing import Any

import pytest
from google.pubsub_v1 import types

from tests.emulators.pubsub.bench import DEAD, DEAD_SUB, START, TOPIC, Bench, bodies


@pytest.mark.parametrize(
    ("low", "high", "waits"),
    [
        (10, 600, [10, 20, 40, 80, 160, 320, 600, 600]),
        (1, 3, [1, 2, 3, 3]),
        (0, 600, [0, 0, 0]),
        (600, 600, [600, 600]),
    ],
)
def test_retries_wait_twice_as_long_each_time_between_the_bounds(low: int, high: int, waits: list[int]) -> None:
    bench = Bench({"retry_policy": {"minimum_backoff": {"seconds": low}, "maximum_backoff": {"seconds": high}}})
    bench.publish("a")
    for wait in waits:
        (delivery,) = bench.take()
        bench.modify(0, delivery)
        if wait:
            bench.sleep(wait - 0.01)
            assert bench.take() == []
            bench.sleep(0.01)
    assert len(bench.take()) == 1


def test_an_expired_lease_waits_for_the_retry_policy_too() -> None:
    bench = Bench({"retry_policy": {"minimum_backoff": {"seconds": 20}}})
    bench.publish("a")
    bench.take(seconds=10)
    bench.sleep(10)
    bench.sleep(19.9)
    assert bench.take() == []
    bench.sleep(0.1)
    assert bodies(bench.take()) == ["a"]


def dead_letter(attempts: int = 5) -> dict[str, Any]:
    return {"dead_letter_policy": {"dead_letter_topic": DEAD, "max_delivery_attempts": attempts}}


@pytest.mark.parametrize("how", ["nack", "expiry"])
def test_the_last_failed_attempt_moves_the_message_to_the_dead_letter_topic(how: str) -> None:
    bench = Bench(dead_letter(6))
    bench.publish("a")
    published = bench.now
    for attempt in range(1, 7):
        (delivery,) = bench.take(seconds=10)
        assert delivery.attempt == attempt
        if how == "nack":
            bench.modify(0, delivery)
        else:
            bench.sleep(10)
    assert bench.take() == []
    (dead,) = bench.take(DEAD_SUB)
    message = types.PubsubMessage.pb().FromString(dead.message.encoded)
    assert message.data == b"a"
    assert dict(message.attributes) == {
        "CloudPubSubDeadLetterSourceDeliveryCount": "6",
        "CloudPubSubDeadLetterSourceSubscription": "hits-sub",
        "CloudPubSubDeadLetterSourceSubscriptionProject": "shop",
        "CloudPubSubDeadLetterSourceTopicPublishTime": "2027-01-15T08:00:00.000+00:00",
    }
    assert message.publish_time.seconds == int(bench.now)
    assert published == START
    assert int(message.message_id) > delivery.message.number


def test_attempts_are_told_only_where_a_dead_letter_policy_exists() -> None:
    bench = Bench()
    bench.publish("a")
    assert [delivery.attempt for delivery in bench.take()] == [0]


def test_a_missing_dead_letter_topic_keeps_the_message_coming() -> None:
    bench = Bench(dead_letter())
    bench.broker.delete_topic(DEAD)
    bench.publish("a")
    for attempt in range(1, 9):
        (delivery,) = bench.take()
        assert delivery.attempt == attempt
        bench.modify(0, delivery)


def test_a_dead_letter_topic_without_subscription_loses_the_message() -> None:
    bench = Bench(dead_letter())
    bench.broker.delete_subscription(DEAD_SUB, bench.now)
    bench.publish("a")
    for _ in range(5):
        bench.modify(0, *bench.take())
    assert bench.take() == []
    assert bench.broker.held_bytes.held == 0


def test_a_subscription_may_receive_its_own_dead_letters() -> None:
    bench = Bench({"dead_letter_policy": {"dead_letter_topic": TOPIC, "max_delivery_attempts": 5}})
    bench.publish("a")
    for _ in range(5):
        bench.modify(0, *bench.take())
    (again,) = bench.take()
    assert again.attempt == 1
    assert b"CloudPubSubDeadLetterSourceDeliveryCount" in again.message.encoded
