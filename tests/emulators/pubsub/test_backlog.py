"""The state machine behind one subscription, driven by a clock that the test sets."""

from __future__ import annotations

from math import inf

import pytest
from google.pubsub_v1 import types
from grpc import StatusCode

from emulators.pubsub.errors import PubsubError
from tests.emulators.pubsub.bench import DEAD, DEAD_SUB, START, SUB, TOPIC, Bench, bodies


def test_messages_come_in_order_of_publishing_and_only_once() -> None:
    bench = Bench()
    bench.publish("a", "b")
    bench.publish("c")
    assert bodies(bench.take()) == ["a", "b", "c"]
    assert bench.take() == []


def test_an_expired_lease_is_delivered_again_and_an_acked_one_is_not() -> None:
    bench = Bench()
    bench.publish("a", "b")
    first = bench.take(seconds=10)
    bench.ack(first[0])
    bench.sleep(9.99)
    assert bench.take() == []
    bench.sleep(0.01)
    assert bodies(bench.take()) == ["b"]


def test_an_extended_lease_lasts_from_the_time_of_the_extension() -> None:
    bench = Bench()
    bench.publish("a")
    (first,) = bench.take(seconds=10)
    bench.sleep(8)
    bench.modify(30, first)
    bench.sleep(29.9)
    assert bench.take() == []
    bench.sleep(0.2)
    assert bodies(bench.take()) == ["a"]


def test_a_shortened_lease_ends_early() -> None:
    bench = Bench()
    bench.publish("a")
    (first,) = bench.take(seconds=600)
    bench.modify(5, first)
    assert bench.sleep(0) == pytest.approx(START + 5)
    bench.sleep(5)
    assert bodies(bench.take()) == ["a"]


def test_a_nack_without_retry_policy_makes_ready_at_once_behind_what_waits() -> None:
    bench = Bench()
    bench.publish("a", "b")
    (first,) = bench.take(most=1)
    bench.modify(0, first)
    assert bodies(bench.take()) == ["b", "a"]


def test_a_consumer_that_leaves_gives_nothing_back_before_the_deadline() -> None:
    bench = Bench()
    bench.publish("a")
    with bench.consumer() as gone:
        assert len(gone.take(seconds=10)) == 1
    bench.sleep(9)
    assert bench.take() == []
    bench.sleep(1)
    assert bodies(bench.take()) == ["a"]


@pytest.mark.parametrize("state", ["ready", "leased again", "delayed"])
def test_a_late_ack_counts_wherever_the_message_is(state: str) -> None:
    retry = {"retry_policy": {"minimum_backoff": {"seconds": 60}}} if state == "delayed" else {}
    bench = Bench(retry)
    bench.publish("a")
    (late,) = bench.take(seconds=10)
    bench.sleep(10)
    if state == "leased again":
        assert len(bench.take()) == 1
    bench.ack(late)
    bench.ack(late)
    bench.sleep(700)
    assert bench.take() == []
    assert bench.broker.held_bytes.held == 0


def test_a_late_nack_or_extension_leaves_the_newer_lease_alone() -> None:
    bench = Bench()
    bench.publish("a")
    (late,) = bench.take(seconds=10)
    bench.sleep(10)
    (newer,) = bench.take(seconds=10)
    bench.modify(0, late)
    assert bench.take() == []
    bench.modify(600, late)
    bench.sleep(10)
    assert [delivery.message for delivery in bench.take()] == [newer.message]


def test_messages_older_than_the_retention_are_dropped_in_any_state() -> None:
    bench = Bench({"message_retention_duration": {"seconds": 600}})
    bench.publish("leased", "ready")
    (held,) = bench.take(most=1, seconds=600)
    bench.sleep(300)
    bench.publish("younger")
    bench.sleep(300)
    assert bodies(bench.take()) == ["younger"]
    bench.ack(held)
    bench.sleep(600)
    assert bench.broker.held_bytes.held == 0


def test_what_several_subscriptions_keep_is_counted_once_and_given_back() -> None:
    bench = Bench()
    bench.publish("x" * 100_000)
    one = bench.broker.held_bytes.held
    bench.subscribe("projects/shop/subscriptions/second", TOPIC)
    bench.publish("y" * 100_000)
    assert one < bench.broker.held_bytes.held - one < one + 2_000
    bench.ack(*bench.take())
    bench.broker.delete_subscription("projects/shop/subscriptions/second", bench.now)
    assert bench.broker.held_bytes.held == 0


def test_publishing_is_refused_above_the_cap_until_something_is_acked() -> None:
    bench = Bench(max_bytes=250_000)
    for _ in range(3):
        bench.publish("x" * 100_000)
    with pytest.raises(PubsubError, match="RESOURCE_EXHAUSTED"):
        bench.publish("more")
    bench.ack(*bench.take(most=1))
    bench.publish("more")


def test_seek_back_revives_retained_acked_messages_and_seek_forward_discards() -> None:
    bench = Bench({"retain_acked_messages": True})
    bench.publish("a")
    bench.sleep(10)
    bench.publish("b")
    bench.ack(*bench.take())
    assert bench.take() == []
    bench.broker.seek(SUB, START + 5, bench.now)
    assert bodies(bench.take()) == ["b"]
    bench.broker.seek(SUB, START - 5, bench.now)
    assert bodies(bench.take()) == ["a"]
    bench.publish("c")
    bench.broker.seek(SUB, bench.now + 100, bench.now)
    bench.publish("d")
    assert bench.take() == []
    bench.sleep(100)
    bench.publish("e")
    assert bodies(bench.take()) == ["e"]


def test_seek_back_finds_nothing_where_acked_messages_are_not_retained() -> None:
    bench = Bench()
    bench.publish("a")
    bench.ack(*bench.take())
    bench.broker.seek(SUB, START - 5, bench.now)
    assert bench.take() == []


def test_an_idle_subscription_expires_and_a_used_one_does_not() -> None:
    day = 86_400
    bench = Bench({"expiration_policy": {"ttl": {"seconds": day}}})
    bench.sleep(day - 1)
    bench.take()
    bench.sleep(day - 1)
    with bench.consumer():
        bench.sleep(2 * day)
        bench.now += day / 2
    bench.sleep(day - 1)
    assert bench.broker.subscriptions_of_topic(TOPIC) == [SUB]
    assert bench.sleep(0) == pytest.approx(bench.now + 1)
    bench.sleep(day)
    assert bench.broker.subscriptions_of_topic(TOPIC) == []
    with pytest.raises(PubsubError, match="NOT_FOUND"):
        bench.take()


def test_a_consumer_takes_no_more_than_its_limit_until_it_acks_nacks_or_loses_some() -> None:
    bench = Bench()
    bench.publish(*"abcdef")
    with bench.consumer(max_messages=2) as taker:
        held = taker.take(seconds=10)
        assert bodies(held) == ["a", "b"]
        assert taker.take() == []
        taker.wait()
        assert taker.woken == 0
        bench.ack(held[0])
        assert taker.woken == 1
        assert bodies(taker.take(seconds=20)) == ["c"]
        bench.sleep(10)
        assert bodies(taker.take()) == ["d"]


def test_the_bytes_limit_stops_after_the_message_that_reaches_it() -> None:
    bench = Bench()
    bench.publish("x" * 600, "y" * 600, "z" * 600)
    with bench.consumer(max_bytes=1_000) as taker:
        assert [text[0] for text in bodies(taker.take())] == ["x"]
        assert [text[0] for text in bodies(taker.take())] == ["y"]
        assert taker.take() == []


def test_a_message_above_the_batch_size_comes_alone() -> None:
    bench = Bench()
    bench.publish("a", "b" * 5_000, "c")
    with bench.consumer() as taker:
        assert [bodies(taker.take(most_bytes=1_000))[0][0] for _ in range(3)] == ["a", "b", "c"]


def test_waiting_consumers_share_what_comes_and_take_turns() -> None:
    bench = Bench()
    with bench.consumer() as one, bench.consumer() as two:
        one.wait()
        two.wait()
        bench.publish(*[str(number) for number in range(10)])
        assert len(one.take()) == 5
        assert len(two.take()) == 5
        one.wait()
        two.wait()
        bench.publish("x")
        assert (one.woken, two.woken) == (2, 1)
        one.take()
        one.wait()
        bench.publish("y")
        assert (one.woken, two.woken) == (2, 2)


def test_a_woken_consumer_that_leaves_passes_its_turn_on() -> None:
    bench = Bench()
    with bench.consumer() as two:
        with bench.consumer() as one:
            one.wait()
            two.wait()
            bench.publish("x")
            assert (one.woken, two.woken) == (1, 0)
        assert two.woken == 1
        assert bodies(two.take()) == ["x"]


def test_deleting_finishes_consumers_and_frees_what_was_held() -> None:
    bench = Bench()
    bench.publish("a")
    with bench.consumer() as taker:
        bench.broker.delete_subscription(SUB, bench.now)
        assert [refused.code.name for refused in taker.finished] == ["NOT_FOUND"]
    assert bench.broker.held_bytes.held == 0


def test_after_the_end_nobody_begins_to_wait() -> None:
    bench = Bench()
    with bench.consumer() as taker:
        bench.broker.finish(PubsubError(StatusCode.UNAVAILABLE, "over"))
        assert [refused.code.name for refused in taker.finished] == ["UNAVAILABLE"]
    with pytest.raises(PubsubError, match="UNAVAILABLE"):
        bench.consumer()


def test_ack_ids_of_an_earlier_subscription_of_the_same_name_do_nothing() -> None:
    bench = Bench()
    bench.publish("a")
    (old,) = bench.take()
    bench.broker.delete_subscription(SUB, bench.now)
    bench.subscribe(SUB, TOPIC)
    bench.publish("b")
    (new,) = bench.take()
    bench.modify(0, old)
    bench.ack(old)
    bench.modify(0, new)
    assert bodies(bench.take()) == ["b"]


@pytest.mark.parametrize("ack_id", ["", "nonsense", "1-2", "1-2-zzzzzzzz", "1-2-00000000", "+1-2-00000000"])
def test_malformed_and_foreign_ack_ids_refuse_the_whole_call(ack_id: str) -> None:
    bench = Bench()
    bench.publish("a")
    (good,) = bench.take(seconds=10)
    with pytest.raises(PubsubError, match="INVALID_ARGUMENT"):
        bench.broker.acknowledge(SUB, [good.ack_id, ack_id], bench.now)
    with pytest.raises(PubsubError, match="INVALID_ARGUMENT"):
        bench.broker.modify(SUB, [(good.ack_id, 0), (ack_id, 0)], bench.now)
    assert bench.take() == []
    bench.sleep(10)
    assert bodies(bench.take()) == ["a"]


def test_a_changed_policy_holds_for_what_is_there() -> None:
    bench = Bench()
    bench.publish("a")
    (delivery,) = bench.take()
    change = types.Subscription(
        name=SUB, retry_policy={"minimum_backoff": {"seconds": 30}}, dead_letter_policy={"dead_letter_topic": DEAD}
    )
    mask = types.UpdateSubscriptionRequest(update_mask={"paths": ["retry_policy", "dead_letter_policy"]})
    bench.broker.update_subscription(
        types.Subscription.pb(change), types.UpdateSubscriptionRequest.pb(mask).update_mask, bench.now
    )
    bench.modify(0, delivery)
    assert bench.take() == []
    bench.sleep(30)
    assert [again.attempt for again in bench.take()] == [2]


def test_nothing_to_do_asks_for_no_wake_up() -> None:
    bench = Bench({"expiration_policy": {}, "message_retention_duration": {"seconds": 600}})
    bench.broker.delete_subscription(DEAD_SUB, bench.now)
    assert bench.sleep(1) == inf
    bench.publish("a", "b")
    early, late = bench.take(seconds=10, most=1) + bench.take(seconds=600, most=1)
    assert bench.sleep(0) == pytest.approx(bench.now + 10)
    bench.ack(early, late)
    assert bench.sleep(10) == inf


def test_timers_stay_in_proportion_to_what_is_held() -> None:
    bench = Bench()
    for _ in range(50):
        bench.publish(*["x"] * 1_000)
        bench.ack(*bench.take(seconds=600))
    assert len(bench.broker.backlog(SUB, bench.now)._timers) < 6_000  # how much it holds has no public door
