"""Publishing, Pull and acks through the official clients: what arrives, what is refused, and with which words."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from google.api_core import exceptions
from google.pubsub_v1 import types

from tests import process
from tests.emulators.pubsub_client import AsyncDesk, Desk


def publish(desk: Desk, topic: str, messages: list[dict[str, Any]]) -> list[str]:
    """One Publish request, past the client's own checks."""
    call = desk.channel.unary_unary(
        "/google.pubsub.v1.Publisher/Publish",
        request_serializer=types.PublishRequest.serialize,
        response_deserializer=types.PublishResponse.deserialize,
    )
    try:
        return list(call(types.PublishRequest(topic=topic, messages=messages), timeout=60).message_ids)
    except grpc.RpcError as error:
        raise exceptions.from_grpc_error(error) from error


def test_a_message_arrives_at_every_subscription_as_it_was_published(desk: Desk) -> None:
    topic = desk.topic()
    subscriptions = [desk.subscription(topic, f"sub-{number}") for number in range(2)]
    before = datetime.now(UTC) - timedelta(seconds=1)
    body = bytes(range(256))
    message_id = desk.publisher.publish(topic, body, schema="hit/1", ключ="значение").result(60)
    for subscription in subscriptions:
        (received,) = desk.pull(subscription)
        assert received.message.data == body
        assert dict(received.message.attributes) == {"schema": "hit/1", "ключ": "значение"}
        assert received.message.message_id == message_id
        assert before < received.message.publish_time < datetime.now(UTC) + timedelta(seconds=1)
        assert received.delivery_attempt == 0


def test_ids_rise_in_order_of_publishing(desk: Desk) -> None:
    topic = desk.topic()
    ids = [*desk.publish(topic, b"a", b"b"), *desk.publish(topic, b"c")]
    assert ids == sorted(set(ids), key=int)


def test_messages_without_a_subscription_vanish(desk: Desk) -> None:
    topic = desk.topic()
    desk.publish(topic, b"before")
    subscription = desk.subscription(topic)
    desk.publish(topic, b"after")
    assert [one.message.data for one in desk.pull(subscription)] == [b"after"]


@pytest.mark.parametrize(
    ("messages", "text"),
    [
        ([], "message_count is too small"),
        (
            [{"data": b"x"}] * 1001,
            "message_count is too large. You passed 1001 in the request, but the maximum value is",
        ),
        ([{"data": b"x"}, {}], "One or more messages in the publish request is empty"),
        ([{"ordering_key": "x"}], "One or more messages in the publish request is empty"),
        ([{"attributes": {f"k{number}": "" for number in range(101)}}], "attribute_count is too large"),
        ([{"attributes": {"k" * 257: ""}}], "attribute key length is too large"),
        ([{"attributes": {"ж" * 129: ""}}], "attribute key length is too large"),
        ([{"attributes": {"k": "v" * 1025}}], "attribute value length is too large"),
        ([{"attributes": {"": "v"}}], "attribute key must not be empty"),
        ([{"data": b"x", "ordering_key": "k" * 1025}], "ordering_key length is too large"),
        ([{"data": b"x" * 10_000_001}], "message.data is too large"),
        ([{"data": b"x" * 5_300_000}] * 2, "Request payload size exceeds the limit: 10485760 bytes"),
        ([{"data": b"x" * 12_000_000}], "Request payload size exceeds the limit: 10485760 bytes"),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else "",
)
def test_a_request_over_a_limit_is_refused_whole(desk: Desk, messages: list[dict[str, Any]], text: str) -> None:
    topic = desk.topic()
    subscription = desk.subscription(topic)
    with pytest.raises(exceptions.InvalidArgument, match=text):
        publish(desk, topic, messages)
    assert desk.pull(subscription) == []


@pytest.mark.parametrize(
    "messages",
    [
        [{"data": b"x"}] * 1000,
        [{"attributes": {f"k{number}": "v" for number in range(100)}}],
        [{"attributes": {"ж" * 128: "ю" * 512}}],
        [{"data": b"x" * 10_000_000}],
        [{"data": b"x", "ordering_key": "k" * 1024}],
    ],
    ids=["count", "attributes", "lengths", "size", "ordering key"],
)
def test_a_request_at_a_limit_passes(desk: Desk, messages: list[dict[str, Any]]) -> None:
    topic = desk.topic()
    subscription = desk.subscription(topic)
    publish(desk, topic, messages)
    received: list[Any] = []
    process.wait_for(lambda: received.extend(desk.pull(subscription, 1000)) or len(received) == len(messages), 60)
    first = received[0].message
    assert first == types.PubsubMessage(
        **messages[0], message_id=first.message_id, publish_time=types.PubsubMessage.pb(first).publish_time
    )


def test_publishing_to_a_missing_topic_says_which(desk: Desk) -> None:
    with pytest.raises(exceptions.NotFound, match="Resource not found \\(resource=missing\\)"):
        desk.publish(desk.topic_path("missing"), b"x")
    with pytest.raises(exceptions.InvalidArgument, match="Invalid resource name given"):
        desk.publish("missing", b"x")


def test_a_nacked_message_comes_again_and_an_acked_one_does_not(desk: Desk) -> None:
    topic = desk.topic()
    subscription = desk.subscription(topic)
    desk.publish(topic, b"a", b"b")
    first = desk.pull(subscription)
    desk.ack(subscription, first[:1])
    desk.nack(subscription, first[1:])
    (again,) = desk.pull(subscription)
    assert (again.message.data, again.message.message_id) == (b"b", first[1].message.message_id)
    assert again.ack_id != first[1].ack_id


def test_a_nacked_message_waits_for_the_retry_policy(desk: Desk) -> None:
    topic = desk.topic()
    backoff = {"minimum_backoff": {"nanos": 300_000_000}, "maximum_backoff": {"seconds": 1}}
    subscription = desk.subscription(topic, retry_policy=backoff)
    desk.publish(topic, b"a")
    first = desk.pull(subscription)
    nacked = time.monotonic()
    desk.nack(subscription, first)
    assert len(desk.subscriber.pull(subscription=subscription, max_messages=1, timeout=60).received_messages) == 1
    assert time.monotonic() - nacked >= 0.3


def test_the_fifth_nack_moves_a_message_to_the_dead_letter_topic(desk: Desk) -> None:
    topic, dead = desk.topic(), desk.topic("dead")
    subscription = desk.subscription(topic, dead_letter_policy={"dead_letter_topic": dead})
    dead_subscription = desk.subscription(dead, "dead-sub")
    desk.publisher.publish(topic, b"poison", kind="bad").result(60)
    for attempt in range(1, 6):
        (received,) = desk.pull(subscription)
        assert received.delivery_attempt == attempt
        desk.nack(subscription, [received])
    assert desk.pull(subscription) == []
    (letter,) = desk.pull(dead_subscription)
    source = received.message
    assert letter.message.data == b"poison"
    assert letter.delivery_attempt == 0
    assert letter.message.message_id != source.message_id
    published = datetime.fromisoformat(letter.message.attributes.pop("CloudPubSubDeadLetterSourceTopicPublishTime"))
    assert abs(published - source.publish_time) < timedelta(milliseconds=1)
    assert dict(letter.message.attributes) == {
        "kind": "bad",
        "CloudPubSubDeadLetterSourceDeliveryCount": "5",
        "CloudPubSubDeadLetterSourceSubscription": "hits-sub",
        "CloudPubSubDeadLetterSourceSubscriptionProject": desk.project,
    }


def test_seek_replays_what_is_retained(desk: Desk) -> None:
    topic = desk.topic()
    subscription = desk.subscription(topic, retain_acked_messages=True)
    desk.publish(topic, b"a")
    received = desk.pull(subscription)
    desk.ack(subscription, received)
    assert desk.pull(subscription) == []
    desk.subscriber.seek(request={"subscription": subscription, "time": received[0].message.publish_time})
    assert [one.message.data for one in desk.pull(subscription)] == [b"a"]
    with pytest.raises(exceptions.InvalidArgument, match="time to seek to"):
        desk.subscriber.seek(request={"subscription": subscription})


def test_seek_back_where_the_topic_retains_is_refused_rather_than_answered_in_part(desk: Desk) -> None:
    topic = desk.topic(message_retention_duration={"seconds": 600})
    subscription = desk.subscription(topic)
    past = datetime.now(UTC) - timedelta(minutes=5)
    with pytest.raises(exceptions.MethodNotImplemented, match="message_retention_duration"):
        desk.subscriber.seek(request={"subscription": subscription, "time": past})


@pytest.mark.parametrize(
    ("method", "fields"),
    [
        ("acknowledge", {"ack_ids": []}),
        ("acknowledge", {"ack_ids": ["nonsense"]}),
        ("modify_ack_deadline", {"ack_ids": [], "ack_deadline_seconds": 10}),
        ("modify_ack_deadline", {"ack_ids": ["nonsense"], "ack_deadline_seconds": 10}),
        ("modify_ack_deadline", {"ack_ids": ["ok"], "ack_deadline_seconds": -1}),
        ("modify_ack_deadline", {"ack_ids": ["ok"], "ack_deadline_seconds": 601}),
        ("pull", {"max_messages": 0}),
        ("pull", {"max_messages": -1}),
    ],
)
def test_a_receiving_call_that_makes_no_sense_is_refused(desk: Desk, method: str, fields: dict[str, Any]) -> None:
    subscription = desk.subscription(desk.topic())
    with pytest.raises(exceptions.InvalidArgument):
        getattr(desk.subscriber, method)(request={"subscription": subscription, **fields})
    sane = {"max_messages": 1} if method == "pull" else {"ack_ids": ["x"]}
    with pytest.raises(exceptions.NotFound):
        getattr(desk.subscriber, method)(request={"subscription": desk.subscription_path("missing"), **sane})


@pytest.mark.parametrize("method", ["acknowledge", "modify_ack_deadline"])
def test_a_request_with_too_many_ack_ids_is_refused_by_its_size(desk: Desk, method: str) -> None:
    topic = desk.topic()
    subscription = desk.subscription(topic)
    desk.publish(topic, b"x")
    (received,) = desk.pull(subscription)
    ack_ids = [received.ack_id] * (524_288 // len(received.ack_id))
    with pytest.raises(exceptions.InvalidArgument, match="exceeds the limit: 524288 bytes"):
        getattr(desk.subscriber, method)(request={"subscription": subscription, "ack_ids": ack_ids})


def test_an_ack_id_of_another_subscription_is_refused(desk: Desk) -> None:
    topic = desk.topic()
    one, two = desk.subscription(topic, "one"), desk.subscription(topic, "two")
    desk.publish(topic, b"x")
    received = desk.pull(one)
    with pytest.raises(exceptions.InvalidArgument, match="does not belong to the given ack ID"):
        desk.ack(two, received)
    desk.ack(one, received)


def test_large_messages_are_pulled_in_answers_below_the_default_receive_cap(desk: Desk, pubsub_host: str) -> None:
    topic = desk.topic()
    subscription = desk.subscription(topic)
    for _ in range(8):
        desk.publish(topic, b"x" * 1_000_000)
    got = 0
    with grpc.insecure_channel(pubsub_host) as capped:
        call = capped.unary_unary(
            "/google.pubsub.v1.Subscriber/Pull",
            request_serializer=types.PullRequest.serialize,
            response_deserializer=types.PullResponse.deserialize,
        )
        while got < 8:
            request = types.PullRequest(subscription=subscription, max_messages=100)
            got += len(call(request, timeout=60).received_messages)
    assert got == 8


async def test_a_waiting_pull_answers_as_soon_as_something_comes(pubsub_host: str, desk: Desk) -> None:
    topic = desk.topic()
    subscription = desk.subscription(topic)
    async with AsyncDesk(pubsub_host) as clients:
        pulling = asyncio.create_task(clients.subscriber.pull(subscription=subscription, max_messages=5, timeout=9))
        done, _ = await asyncio.wait({pulling}, timeout=0.2)
        assert not done
        await clients.publisher.publish(topic=topic, messages=[types.PubsubMessage(data=b"a", attributes={"k": "v"})])
        answer = await pulling
        assert [one.message.data for one in answer.received_messages] == [b"a"]
        await clients.subscriber.acknowledge(subscription=subscription, ack_ids=[answer.received_messages[0].ack_id])
        empty = await clients.subscriber.pull(
            request={"subscription": subscription, "max_messages": 5, "return_immediately": True}
        )
        assert not empty.received_messages


async def test_a_pull_that_its_client_gave_up_takes_nothing(pubsub_host: str, desk: Desk) -> None:
    topic = desk.topic()
    subscription = desk.subscription(topic)
    async with AsyncDesk(pubsub_host) as clients:
        with pytest.raises(exceptions.DeadlineExceeded):
            await clients.subscriber.pull(subscription=subscription, max_messages=5, timeout=0.2, retry=None)
        await clients.publisher.publish(topic=topic, messages=[types.PubsubMessage(data=b"a")])
        answer = await clients.subscriber.pull(subscription=subscription, max_messages=5, timeout=9)
        assert len(answer.received_messages) == 1
