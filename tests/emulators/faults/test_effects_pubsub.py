"""Each fault of the Pub/Sub emulator, as the official clients meet it, and its end."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

import grpc
import pytest
from google.api_core import exceptions
from google.pubsub_v1 import types

from tests import process
from tests.emulators.fault_client import Control
from tests.emulators.pubsub_client import AsyncDesk, Desk, Stream

ARGUMENTS = ("emulators.pubsub", "--port", "0", "--control-port", "0")


@pytest.fixture(scope="module")
def emulator() -> Iterator[process.Child]:
    with process.running(*ARGUMENTS) as running:
        yield running


@pytest.fixture
def desk(emulator: process.Child, project: str) -> Iterator[Desk]:
    with Desk(f"127.0.0.1:{emulator.ready['grpc']}", project) as desk:
        yield desk


def begin_publish(desk: Desk, topic: str, body: bytes, timeout: float = 100) -> grpc.Future:
    """Begin one Publish; nothing of the official clients' own retries in between."""
    call = desk.channel.unary_unary(
        "/google.pubsub.v1.Publisher/Publish",
        request_serializer=types.PublishRequest.serialize,
        response_deserializer=types.PublishResponse.deserialize,
    )
    return call.future(types.PublishRequest(topic=topic, messages=[types.PubsubMessage(data=body)]), timeout=timeout)


def publish_once(desk: Desk, topic: str, body: bytes = b"x") -> None:
    desk.requests.publish(topic=topic, messages=[types.PubsubMessage(data=body)], retry=None)


def bodies(received: list[types.ReceivedMessage]) -> list[bytes]:
    return [one.message.data for one in received]


def both(desk: Desk, **fields: Any) -> tuple[str, str]:
    topic = desk.topic()
    return topic, desk.subscription(topic, **fields)


@pytest.mark.parametrize("code", ["UNAVAILABLE", "INTERNAL", "RESOURCE_EXHAUSTED", "PERMISSION_DENIED"])
def test_error_fails_the_call_and_its_work_is_not_done(desk: Desk, control: Control, code: str) -> None:
    topic, subscription = both(desk)
    with control.on("error", method="Publish", code=code, message="gone fishing", resource=topic):
        with pytest.raises(exceptions.GoogleAPICallError, match="gone fishing") as error:
            publish_once(desk, topic)
        assert error.value.grpc_status_code is grpc.StatusCode[code]
        assert desk.publisher.get_topic(topic=topic).name == topic
        assert desk.pull(subscription) == []
    publish_once(desk, topic, b"now")
    assert bodies(desk.pull(subscription)) == [b"now"]


def test_a_client_that_retries_outlives_an_error_that_strikes_so_many_times(desk: Desk, control: Control) -> None:
    topic, subscription = both(desk)
    with control.on("error", method="Publish", resource=topic, times=2) as name:
        desk.publisher.publish(topic, b"x").result(timeout=60)
        assert control.struck(name) == 2
    assert bodies(desk.pull(subscription)) == [b"x"]


def test_a_fault_ends_by_itself(desk: Desk, control: Control) -> None:
    topic, _ = both(desk)
    control.add("error", method="Publish", resource=topic, seconds=0.4)

    def published() -> bool:
        with contextlib.suppress(exceptions.ServiceUnavailable):
            publish_once(desk, topic)
            return True
        return False

    process.wait_for(published, 30, "the fault to end")
    assert control.listed() == []


def test_a_fault_strikes_only_the_resource_it_names(desk: Desk, control: Control) -> None:
    topic, other = desk.topic(), desk.topic("other")
    with control.on("error", resource=f"projects/{desk.project}/topics/hit*"):
        publish_once(desk, other)
        with pytest.raises(exceptions.ServiceUnavailable):
            publish_once(desk, topic)


def test_latency_comes_before_the_work_and_keeps_no_other_call_waiting(desk: Desk, control: Control) -> None:
    topic, subscription = both(desk)
    with control.on("latency", method="Publish", delay=600, resource=topic) as name:
        slow = begin_publish(desk, topic, b"slow")
        process.wait_for(lambda: control.struck(name), 30, "the call to be held")
        assert desk.publisher.get_topic(topic=topic).name == topic
        assert desk.pull(subscription) == []
        assert not slow.done()
    assert slow.result(30).message_ids
    assert bodies(desk.pull(subscription)) == [b"slow"]


def test_latency_passes_by_itself(desk: Desk, control: Control) -> None:
    topic, subscription = both(desk)
    with control.on("latency", method="Publish", delay=0.05, resource=topic, times=1) as name:
        publish_once(desk, topic)
        assert control.struck(name) == 1
    assert len(desk.pull(subscription)) == 1


def test_latency_after_keeps_only_the_answer(desk: Desk, control: Control) -> None:
    topic, subscription = both(desk)
    with control.on("latency_after", method="Publish", delay=600, resource=topic):
        late = begin_publish(desk, topic, b"done")
        assert bodies(process.wait_for(lambda: desk.pull(subscription), 30, "the message")) == [b"done"]
        assert not late.done()
    assert late.result(30).message_ids


def test_a_blackhole_neither_answers_nor_works_nor_holds_up_others(desk: Desk, control: Control) -> None:
    topic, subscription = both(desk)
    with control.on("blackhole", method="Publish", resource=topic) as name:
        held = begin_publish(desk, topic, b"held")
        process.wait_for(lambda: control.struck(name), 30, "the call to be held")
        for seconds in (0.3, 3, 20):  # in so short a time a call may not have reached the emulator
            with pytest.raises(exceptions.DeadlineExceeded):
                desk.requests.publish(topic=topic, messages=[{"data": b"lost"}], retry=None, timeout=seconds)
            if control.struck(name) > 1:
                break
        assert control.struck(name) > 1
        publish_once(desk, desk.topic("other"))
        assert not held.done()
    assert held.exception(30).code() is grpc.StatusCode.UNAVAILABLE
    assert desk.pull(subscription) == []
    publish_once(desk, topic, b"after")
    assert bodies(desk.pull(subscription)) == [b"after"]


def test_a_spent_blackhole_holds_on_and_lets_later_calls_through(desk: Desk, control: Control) -> None:
    topic, subscription = both(desk)
    with control.on("blackhole", method="Publish", resource=topic, times=1) as name:
        held = begin_publish(desk, topic, b"held")
        process.wait_for(lambda: control.struck(name), 30, "the call to be held")
        publish_once(desk, topic, b"through")
        assert not held.done()
    assert held.exception(30).code() is grpc.StatusCode.UNAVAILABLE
    assert bodies(desk.pull(subscription)) == [b"through"]


async def test_a_blackhole_takes_open_streams_too(desk: Desk, control: Control) -> None:
    topic, subscription = both(desk)
    async with Stream(desk.host, subscription) as stream:
        desk.publish(topic, b"before")
        assert bodies(await stream.read()) == [b"before"]
        with control.on("blackhole", method="StreamingPull", resource=subscription, times=1) as name:
            desk.publish(topic, b"after")
            await asyncio.to_thread(process.wait_for, lambda: control.struck(name), 30, "the stream to be held")
            assert bodies(desk.pull(subscription)) == [b"after"]  # not taken by the stream that cannot give it
        assert (await stream.status())[0] == "UNAVAILABLE"


def test_a_lost_reply_is_an_error_after_the_work(desk: Desk, control: Control) -> None:
    topic, subscription = both(desk)
    control.add("lost_reply", method="Publish", resource=topic, times=1, code="INTERNAL")
    with pytest.raises(exceptions.InternalServerError):
        publish_once(desk, topic, b"done")
    assert bodies(desk.pull(subscription)) == [b"done"]


def test_a_client_that_retries_after_a_lost_reply_publishes_twice(desk: Desk, control: Control) -> None:
    topic, subscription = both(desk)
    with control.on("lost_reply", method="Publish", resource=topic, times=1):
        desk.publisher.publish(topic, b"x").result(timeout=60)
    received = desk.pull(subscription)
    assert bodies(received) == [b"x", b"x"]
    assert len({one.message.message_id for one in received}) == 2


async def test_a_lost_delivery_is_leased_and_comes_again(desk: Desk, control: Control) -> None:
    topic, subscription = both(desk)
    async with Stream(desk.host, subscription) as stream:
        with control.on("lost_reply", method="StreamingPull", resource=subscription):
            desk.publish(topic, b"x")
            assert (await stream.status())[0] == "UNAVAILABLE"
        assert desk.pull(subscription) == []


async def test_error_breaks_open_streams_and_loses_nothing(desk: Desk, control: Control) -> None:
    topic, subscription = both(desk)
    async with Stream(desk.host, subscription) as stream:
        desk.publish(topic, b"one")
        received = await stream.read()
        with control.on("error", resource=subscription):
            desk.publish(topic, b"two")
            assert (await stream.status())[0] == "UNAVAILABLE"
            async with Stream(desk.host, subscription) as refused:
                assert (await refused.status())[0] == "UNAVAILABLE"
    desk.ack(subscription, received)
    assert bodies(desk.pull(subscription)) == [b"two"]


async def test_acks_on_a_stream_meet_faults_too(desk: Desk, control: Control) -> None:
    topic, subscription = both(desk)
    async with Stream(desk.host, subscription) as stream:
        desk.publish(topic, b"one")
        received = await stream.read()
        with control.on("error", method="StreamingPull", resource=subscription, code="INTERNAL"):
            await stream.send(ack_ids=[received[0].ack_id])
            assert (await stream.status())[0] == "INTERNAL"
    desk.nack(subscription, received)
    assert bodies(desk.pull(subscription)) == [b"one"]


async def test_a_duplicate_is_the_same_message_with_another_ack_id_while_the_first_is_out(
    desk: Desk, control: Control
) -> None:
    topic, subscription = both(desk)
    sent = [str(number).encode() for number in range(5)]
    async with Stream(desk.host, subscription) as stream:
        with control.on("duplicate", resource=subscription) as name:
            ids = desk.publish(topic, *sent)
            received = await stream.read(10)
            assert control.struck(name) == 5
        assert Counter(one.message.message_id for one in received) == dict.fromkeys(ids, 2)
        assert len({one.ack_id for one in received}) == 10
        # Either id is good for the message; the copies' alone are acked here.
        desk.ack(subscription, received[5:])
        desk.nack(subscription, received[:5])
        desk.publish(topic, b"single")
        assert bodies(await stream.read()) == [b"single"]
        assert await stream.quiet()


async def test_duplicates_reach_other_consumers_and_their_nack_counts(desk: Desk, control: Control) -> None:
    topic, subscription = both(desk)
    async with (
        Stream(desk.host, subscription, max_outstanding_messages=1) as one,
        Stream(desk.host, subscription, max_outstanding_messages=1) as two,
    ):
        await registered(desk, topic, subscription, one, two)
        with control.on("duplicate", resource=subscription, times=1):
            desk.publish(topic, b"x")
            first, second = await asyncio.gather(one.read(), two.read())
        assert first[0].message == second[0].message
        assert first[0].ack_id != second[0].ack_id
        desk.nack(subscription, second)
        # Both have room again.
        again = [asyncio.ensure_future(stream.read()) for stream in (one, two)]
        done, pending = await asyncio.wait(again, timeout=60, return_when=asyncio.FIRST_COMPLETED)
        assert [bodies(reading.result()) for reading in done] == [[b"x"]]
        for reading in pending:
            reading.cancel()
        await asyncio.gather(*pending, return_exceptions=True)


async def registered(desk: Desk, topic: str, subscription: str, *streams: Stream) -> None:
    """Return once the broker serves every stream: each took a message, which is acked. All must allow only one."""
    desk.publish(topic, *[b"first"] * len(streams))
    received = [one for stream in streams for one in await stream.read()]
    desk.ack(subscription, received)


def test_a_share_of_pulled_messages_is_duplicated(desk: Desk, control: Control) -> None:
    topic, subscription = both(desk)
    desk.publish(topic, *[str(number).encode() for number in range(200)])
    with control.on("duplicate", share=0.2, resource=subscription) as name:
        received = desk.pull(subscription, 200)
        while more := desk.pull(subscription, 200):
            received += more
        doubled = control.struck(name)
    counts = Counter(bodies(received))
    assert len(counts) == 200
    assert sorted(set(counts.values())) == [1, 2]
    assert list(counts.values()).count(2) == doubled
    assert 15 < doubled < 65
    desk.ack(subscription, received)
    desk.nack(subscription, received)
    assert desk.pull(subscription) == []


def test_the_official_subscriber_sees_duplicates_and_finishes(desk: Desk, control: Control) -> None:
    topic, subscription = both(desk)
    seen: Counter[bytes] = Counter()
    lock = threading.Lock()

    def receive(message: Any) -> None:
        with lock:
            seen[message.data] += 1
        message.ack()

    sent = [str(number).encode() for number in range(100)]
    with control.on("duplicate", share=0.5, resource=subscription) as name:
        pulling = desk.subscriber.subscribe(subscription, receive)
        desk.publish(topic, *sent)
        process.wait_for(lambda: len(seen) == 100 and seen.total() == 100 + control.struck(name), 60, "every delivery")
        assert control.struck(name) > 10
        stop(pulling)
    assert desk.pull(subscription) == []


def stop(pulling: Future[Any]) -> None:
    pulling.cancel()
    pulling.result(timeout=60)


async def test_reorder_shuffles_a_window_and_loses_nothing(desk: Desk, control: Control) -> None:
    topic, subscription = both(desk)
    sent = [f"{number:03}".encode() for number in range(60)]
    async with Stream(desk.host, subscription) as stream:
        with control.on("reorder", window=30, delay=1, resource=subscription):
            for body in sent:  # one by one: the window gathers
                desk.publish(topic, body)
            received = bodies(await stream.read(60))
        assert received != sent
        assert sorted(received) == sent
        desk.publish(topic, *sent)
        assert bodies(await stream.read(60)) == sent


async def test_reorder_waits_no_longer_than_told_for_a_window_that_does_not_fill(desk: Desk, control: Control) -> None:
    topic, subscription = both(desk)
    async with Stream(desk.host, subscription, max_outstanding_messages=1) as stream:
        with control.on("reorder", window=1000, delay=0.1, resource=subscription):
            desk.publish(topic, *[str(number).encode() for number in range(30)])
            received = []
            for _ in range(30):
                got = await stream.read()
                received += got
                await stream.send(ack_ids=[one.ack_id for one in got])
    assert bodies(received) != sorted(bodies(received), key=int)
    assert len(set(bodies(received))) == 30


async def test_drop_stream_ends_open_streams_at_once_and_new_ones_too_while_it_is_set(
    desk: Desk, control: Control
) -> None:
    topic, subscription = both(desk)
    async with (
        Stream(desk.host, subscription, max_outstanding_messages=1) as idle,
        Stream(desk.host, subscription, max_outstanding_messages=1) as other,
    ):
        await registered(desk, topic, subscription, idle, other)
        with control.on("drop_stream", resource=subscription):
            assert [(await stream.status())[0] for stream in (idle, other)] == ["UNAVAILABLE"] * 2
            async with Stream(desk.host, subscription) as late:
                assert (await late.status())[0] == "UNAVAILABLE"


async def test_drop_stream_ends_streams_whose_first_delivery_is_on_its_way(desk: Desk, control: Control) -> None:
    topic, subscription = both(desk)
    for _ in range(5):
        async with contextlib.AsyncExitStack() as opened:
            streams = [Stream(desk.host, subscription, max_outstanding_messages=1) for _ in range(20)]
            for stream in streams:
                await opened.enter_async_context(stream)
            desk.publish(topic, *[b"x"] * 20)
            with control.on("drop_stream", resource=subscription):
                await asyncio.gather(*[stream.drain() for stream in streams])
            assert {(await stream.status())[0] for stream in streams} == {"UNAVAILABLE"}


async def test_drop_stream_counts_messages_and_seconds(desk: Desk, control: Control) -> None:
    topic, subscription = both(desk)
    async with Stream(desk.host, subscription) as stream:
        desk.publish(topic, *[b"x"] * 10)
        await stream.read(10)  # before the fault was set, so they do not count
        with control.on("drop_stream", after_messages=3, resource=subscription, times=1):
            desk.publish(topic, b"1", b"2")
            await stream.read(2)
            assert desk.publisher.get_topic(topic=topic).name == topic
            assert not stream.call.done()
            desk.publish(topic, b"3")
            assert bodies(await stream.drain()) == [b"3"]
            assert (await stream.status())[0] == "UNAVAILABLE"
    with control.on("drop_stream", after_seconds=0.2, resource=subscription):
        async with Stream(desk.host, subscription) as stream:
            assert (await stream.status())[0] == "UNAVAILABLE"
    waiting = desk.subscription(topic, "waiting")
    desk.publish(topic, *[b"x"] * 3)
    with control.on("drop_stream", after_messages=3, resource=waiting):
        async with Stream(desk.host, waiting) as stream:
            assert len(await stream.drain()) == 3  # what is there as it opens counts too
            assert (await stream.status())[0] == "UNAVAILABLE"


def test_the_official_subscriber_opens_again_after_dropped_streams(desk: Desk, control: Control) -> None:
    topic, subscription = both(desk)
    seen: set[bytes] = set()

    def receive(message: Any) -> None:
        seen.add(message.data)
        message.ack()

    with control.on("drop_stream", after_messages=10, resource=subscription, times=3) as name:
        pulling = desk.subscriber.subscribe(subscription, receive)
        for part in range(6):
            desk.publish(topic, *[f"{part}-{number}".encode() for number in range(10)])
            process.wait_for(lambda: len(seen) == 10 * (part + 1), 60, "the messages")  # noqa: B023
        process.wait_for(lambda: control.struck(name) == 3, 30, "the third stream to end")
        stop(pulling)


def test_drop_acks_ignores_a_share_of_acks(desk: Desk, control: Control) -> None:
    topic, subscription = both(desk)
    desk.publish(topic, *[str(number).encode() for number in range(100)])
    received = desk.pull(subscription)
    with control.on("drop_acks", share=0.3, resource=subscription) as name:
        desk.ack(subscription, received)
        dropped = control.struck(name)
    assert 10 < dropped < 60
    desk.nack(subscription, received)  # what was acked is gone, what was not comes again
    again = desk.pull(subscription)
    assert len(again) == dropped
    desk.ack(subscription, again)
    desk.nack(subscription, again)
    assert desk.pull(subscription) == []


async def test_drop_acks_ignores_acks_on_a_stream(desk: Desk, control: Control) -> None:
    topic, subscription = both(desk)
    async with Stream(desk.host, subscription) as stream:
        desk.publish(topic, b"x")
        first = await stream.read()
        with control.on("drop_acks", method="StreamingPull", resource=subscription) as name:
            await stream.send(ack_ids=[first[0].ack_id])
            await asyncio.to_thread(process.wait_for, lambda: control.struck(name), 30, "the ack")
        desk.nack(subscription, first)
        second = await stream.read()
        assert bodies(second) == [b"x"]


async def test_the_asyncio_clients_meet_faults_alike(desk: Desk, control: Control) -> None:
    topic, subscription = both(desk)
    async with AsyncDesk(desk.host) as clients:
        with control.on("error", method="Publish", resource=topic, times=1):
            with pytest.raises(exceptions.ServiceUnavailable):
                await clients.publisher.publish(topic=topic, messages=[{"data": b"x"}], retry=None)
            await clients.publisher.publish(topic=topic, messages=[{"data": b"x"}], retry=None)
        with control.on("duplicate", resource=subscription):
            first = await clients.subscriber.pull(subscription=subscription, max_messages=10)
            second = await clients.subscriber.pull(subscription=subscription, max_messages=10)
        (one,), (two,) = first.received_messages, second.received_messages
        assert one.message == two.message
        assert one.ack_id != two.ack_id


async def test_a_signal_ends_the_process_at_once_while_calls_hang(project: str) -> None:
    with process.running(*ARGUMENTS) as emulator:
        control = Control(emulator.ready["control"])
        with Desk(f"127.0.0.1:{emulator.ready['grpc']}", project) as desk:
            topic, subscription = both(desk)
            desk.publish(topic, b"x")
            hole = control.add("blackhole", method="Publish")["id"]
            late = control.add("latency", method="GetTopic", delay=600)["id"]
            stuck = control.add("blackhole", method="StreamingPull")["id"]
            held = begin_publish(desk, topic, b"held")
            getting = desk.channel.unary_unary(
                "/google.pubsub.v1.Publisher/GetTopic",
                request_serializer=types.GetTopicRequest.serialize,
                response_deserializer=types.Topic.deserialize,
            ).future(types.GetTopicRequest(topic=topic), timeout=100)
            async with Stream(desk.host, subscription) as stream:
                for name in (hole, late, stuck):
                    await asyncio.to_thread(process.wait_for, lambda name=name: control.struck(name), 30, "the call")
                assert await asyncio.to_thread(emulator.stop, signal.SIGTERM, 60) == 0
                assert (await stream.status())[0] == "UNAVAILABLE"
            assert held.exception(30).code() is grpc.StatusCode.UNAVAILABLE
            assert getting.result(60).name == topic
        assert emulator.output() == ""
