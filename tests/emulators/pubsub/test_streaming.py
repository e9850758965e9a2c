"""StreamingPull: through the official subscriber, the official asyncio client, and a raw channel that misbehaves."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest
from google.api_core import exceptions
from google.cloud import pubsub_v1
from google.cloud.pubsub_v1.subscriber.message import Message
from google.pubsub_v1 import types

from emulators.faults.fault_runtime import FaultRuntime
from emulators.pubsub.errors import PubsubError
from emulators.pubsub.pull import StreamingPull
from emulators.pubsub.rpc_gate import RpcGate
from tests import process
from tests.emulators.pubsub.bench import SUB, TOPIC, Bench
from tests.emulators.pubsub_client import AsyncDesk, Desk, Stream

Request = types.StreamingPullRequest


def test_the_official_subscriber_receives_every_message_once_and_acks_it(desk: Desk) -> None:
    topic = desk.topic()
    subscription = desk.subscription(topic)
    got: Counter[bytes] = Counter()

    def receive(message: Message) -> None:
        got[message.data] += 1
        message.ack()

    receiving = desk.subscriber.subscribe(subscription, receive)
    futures = [desk.publisher.publish(topic, str(number).encode(), n=str(number)) for number in range(2_000)]
    assert len({future.result(60) for future in futures}) == 2_000
    process.wait_for(lambda: got.total() >= 2_000, 60)
    receiving.cancel()
    receiving.result(60)
    assert got == Counter({str(number).encode(): 1 for number in range(2_000)})


def test_the_official_subscriber_gets_a_nacked_message_again_until_it_is_dead(desk: Desk) -> None:
    topic, dead = desk.topic(), desk.topic("dead")
    subscription = desk.subscription(topic, dead_letter_policy={"dead_letter_topic": dead, "max_delivery_attempts": 6})
    dead_subscription = desk.subscription(dead, "dead-sub")
    attempts: list[int | None] = []
    letters: list[Message] = []
    arrived = threading.Event()

    def refuse(message: Message) -> None:
        attempts.append(message.delivery_attempt)
        message.nack()

    def bury(message: Message) -> None:
        letters.append(message)
        message.ack()
        arrived.set()

    receiving = [desk.subscriber.subscribe(subscription, refuse), desk.subscriber.subscribe(dead_subscription, bury)]
    desk.publisher.publish(topic, b"poison").result(60)
    assert arrived.wait(60)
    for future in receiving:
        future.cancel()
        future.result(60)
    assert attempts == [1, 2, 3, 4, 5, 6]
    assert [letter.attributes["CloudPubSubDeadLetterSourceDeliveryCount"] for letter in letters] == ["6"]
    assert letters[0].delivery_attempt is None


def test_two_official_subscribers_share_the_messages(desk: Desk) -> None:
    topic = desk.topic()
    subscription = desk.subscription(topic)
    got: list[Counter[bytes]] = [Counter(), Counter()]
    receives = [threading.Event(), threading.Event()]

    def receiver(which: int) -> Any:
        def receive(message: Message) -> None:
            receives[which].set()
            assert all(one.wait(60) for one in receives)  # else the first could take all before the other is there
            got[which][message.data] += 1
            message.ack()

        return receive

    flow = pubsub_v1.types.FlowControl(max_messages=10)
    receiving = [desk.subscriber.subscribe(subscription, receiver(which), flow_control=flow) for which in (0, 1)]
    desk.publish(topic, *[str(number).encode() for number in range(500)])
    process.wait_for(lambda: got[0].total() + got[1].total() >= 500, 60)
    for future in receiving:
        future.cancel()
        future.result(60)
    assert got[0] + got[1] == Counter(str(number).encode() for number in range(500))
    assert got[0] and got[1]


async def test_the_official_asyncio_client_streams_acks_and_nacks(pubsub_host: str, desk: Desk) -> None:
    topic = desk.topic()
    subscription = desk.subscription(topic)
    desk.publish(topic, b"a", b"b")
    outbox: asyncio.Queue[Request] = asyncio.Queue(maxsize=10)
    await outbox.put(Request(subscription=subscription, stream_ack_deadline_seconds=10))

    async def requests() -> AsyncIterator[Request]:
        while True:
            yield await outbox.get()

    async with AsyncDesk(pubsub_host) as clients:
        responses = aiter(await clients.subscriber.streaming_pull(requests=requests()))
        async with asyncio.timeout(60):
            first = (await anext(responses)).received_messages
            assert [one.message.data for one in first] == [b"a", b"b"]
            nack = {"modify_deadline_ack_ids": [first[1].ack_id], "modify_deadline_seconds": [0]}
            await outbox.put(Request(ack_ids=[first[0].ack_id], **nack))
            (again,) = (await anext(responses)).received_messages
            assert again.message.data == b"b"


async def test_flow_control_by_messages_holds_until_acks_come(pubsub_host: str, desk: Desk) -> None:
    topic = desk.topic()
    subscription = desk.subscription(topic)
    desk.publish(topic, *[b"x"] * 10)
    async with Stream(pubsub_host, subscription, max_outstanding_messages=3) as stream:
        first = await stream.read(3)
        assert len(first) == 3
        await stream.send(ack_ids=[first[0].ack_id])
        assert len(await stream.read(1)) == 1
        await asyncio.to_thread(desk.ack, subscription, first[1:])
        assert len(await stream.read(2)) == 2
        assert await stream.quiet()


async def test_flow_control_by_bytes_holds_until_acks_come(pubsub_host: str, desk: Desk) -> None:
    topic = desk.topic()
    subscription = desk.subscription(topic)
    desk.publish(topic, *[b"x" * 1_000] * 10)
    async with Stream(pubsub_host, subscription, max_outstanding_bytes=2_500) as stream:
        first = await stream.read(3)
        assert len(first) == 3
        await stream.send(modify_deadline_ack_ids=[first[0].ack_id], modify_deadline_seconds=[0])
        assert len(await stream.read(1)) == 1
        assert await stream.quiet()


async def test_a_broken_stream_keeps_its_leases(pubsub_host: str, desk: Desk) -> None:
    topic = desk.topic()
    subscription = desk.subscription(topic)
    desk.publish(topic, b"leased")
    # With room for one message only, it takes no other one before the broker sees it gone.
    async with Stream(pubsub_host, subscription, max_outstanding_messages=1) as broken:
        (held,) = await broken.read(1)
    async with Stream(pubsub_host, subscription) as stream:
        desk.publish(topic, b"next")
        assert [one.message.data for one in await stream.read(1)] == [b"next"]
        await stream.send(modify_deadline_ack_ids=[held.ack_id], modify_deadline_seconds=[0])
        assert [one.message.data for one in await stream.read(1)] == [b"leased"]


async def test_a_stream_that_does_not_read_takes_little_and_blocks_nobody(pubsub_host: str, desk: Desk) -> None:
    topic = desk.topic()
    subscription = desk.subscription(topic)
    async with Stream(pubsub_host, subscription, stream_ack_deadline_seconds=600) as stalled:
        for _ in range(80):
            await asyncio.to_thread(desk.publish, topic, *[b"x" * 100_000] * 5)
        async with Stream(pubsub_host, subscription, stream_ack_deadline_seconds=600) as reader:
            got = await reader.read(250)
            await reader.send(ack_ids=[one.ack_id for one in got])
            assert len(got) >= 250
        # What the stalled stream was given was never read: it ends with the subscription all the same.
        await asyncio.to_thread(desk.subscriber.delete_subscription, subscription=subscription)
        assert len(await stalled.drain()) < 150
        assert (await stalled.status())[0] == "NOT_FOUND"


async def test_a_stream_that_closes_its_side_ends_well(pubsub_host: str, desk: Desk) -> None:
    topic = desk.topic()
    subscription = desk.subscription(topic)
    desk.publish(topic, b"a")
    async with Stream(pubsub_host, subscription) as stream:
        (received,) = await stream.read(1)
        await stream.send(ack_ids=[received.ack_id])
        await stream.call.done_writing()
        assert (await stream.status())[0] == "OK"
    desk.publish(topic, b"b")
    assert [one.message.data for one in desk.pull(subscription)] == [b"b"]


@pytest.mark.parametrize(
    ("first", "text"),
    [
        ({"stream_ack_deadline_seconds": 9}, "Invalid ack deadline"),
        ({"stream_ack_deadline_seconds": 0}, "Invalid ack deadline"),
        ({"stream_ack_deadline_seconds": 601}, "Invalid ack deadline"),
        ({"subscription": ""}, "Invalid resource name"),
        ({"ack_ids": ["nonsense"]}, "invalid ack ID"),
    ],
)
async def test_a_stream_that_begins_wrongly_is_refused(
    pubsub_host: str, desk: Desk, first: dict[str, Any], text: str
) -> None:
    subscription = desk.subscription(desk.topic())
    async with Stream(pubsub_host, subscription, **first) as stream:
        code, details = await stream.status()
        assert (code, text in details) == ("INVALID_ARGUMENT", True), details


@pytest.mark.parametrize(
    ("later", "text"),
    [
        ({"subscription": "projects/p/subscriptions/other"}, "first request"),
        ({"max_outstanding_messages": 5}, "first request"),
        ({"max_outstanding_bytes": 5}, "first request"),
        ({"stream_ack_deadline_seconds": 5}, "Invalid ack deadline"),
        ({"ack_ids": ["nonsense"]}, "invalid ack ID"),
        ({"modify_deadline_ack_ids": ["x"], "modify_deadline_seconds": []}, "as many of each"),
        ({"modify_deadline_ack_ids": ["x"], "modify_deadline_seconds": [-1]}, "Invalid ack deadline"),
        ({"modify_deadline_ack_ids": ["x"], "modify_deadline_seconds": [601]}, "Invalid ack deadline"),
    ],
)
async def test_a_request_that_makes_no_sense_ends_the_stream(
    pubsub_host: str, desk: Desk, later: dict[str, Any], text: str
) -> None:
    subscription = desk.subscription(desk.topic())
    async with Stream(pubsub_host, subscription) as stream:
        await stream.send()
        await stream.send(stream_ack_deadline_seconds=20)
        await stream.send(**later)
        code, details = await stream.status()
        assert (code, text in details) == ("INVALID_ARGUMENT", True), details


async def test_a_stream_ends_when_its_subscription_is_deleted_or_detached(pubsub_host: str, desk: Desk) -> None:
    topic = desk.topic()
    deleted, detached = desk.subscription(topic, "deleted"), desk.subscription(topic, "detached")
    desk.publish(topic, b"x")
    async with Stream(pubsub_host, deleted) as one, Stream(pubsub_host, detached) as two:
        await one.read(1)
        await two.read(1)
        desk.subscriber.delete_subscription(subscription=deleted)
        desk.publisher.detach_subscription(request={"subscription": detached})
        assert await one.status() == ("NOT_FOUND", "Resource not found (resource=deleted).")
        assert (await two.status())[0] == "FAILED_PRECONDITION"
    async with Stream(pubsub_host, desk.subscription_path("missing")) as three:
        assert (await three.status())[0] == "NOT_FOUND"


async def test_a_stream_whose_subscription_is_deleted_as_it_opens_ends_too() -> None:
    bench = Bench()
    clock: Any = SimpleNamespace(now=lambda: bench.now)
    runtime = FaultRuntime()

    class Opening:
        async def read(self) -> Any:
            if not bench.broker.subscriptions_of_topic(TOPIC):
                await asyncio.Event().wait()  # the client says no more
            return Request.pb()(subscription=SUB, stream_ack_deadline_seconds=10)

        async def send_headers(self) -> None:
            bench.broker.delete_subscription(SUB, bench.now)

    opening: Any = Opening()
    with runtime.watch("StreamingPull") as watch, pytest.raises(PubsubError, match="NOT_FOUND"):
        async with asyncio.timeout(30):
            await StreamingPull(bench.broker, clock, RpcGate(runtime, clock), opening, watch).run()


def test_a_missing_subscription_ends_the_official_subscriber(desk: Desk) -> None:
    receiving = desk.subscriber.subscribe(desk.subscription_path("missing"), lambda message: message.ack())
    with pytest.raises(exceptions.NotFound, match="resource=missing"):
        receiving.result(60)
