"""Publisher and Puller over real gRPC to the emulator."""

from __future__ import annotations

import asyncio
import logging
import queue
import time
from collections.abc import AsyncIterator, Iterator, MutableMapping, Sequence
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from google.cloud import pubsub_v1
from google.cloud.pubsub_v1.subscriber._protocol import helper_threads
from structlog.testing import capture_logs

from services.shared.background import Background
from services.shared.credentials import NoCredentials
from services.shared.pubsub import Delivery, Publisher, Puller, Unconfirmed, dead_letter
from tests import child
from tests.child import wait_for
from tests.local.fault_desk import Control
from tests.topics import Topics
from tests.waiting import until


@pytest.fixture
def topics(pubsub_host: str, project: str, monkeypatch: pytest.MonkeyPatch) -> Topics:
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", pubsub_host)
    topics = Topics(project)
    topics.create("hits", "work")
    return topics


@pytest.fixture
async def background() -> AsyncIterator[Background]:
    async with Background() as background:
        yield background


async def test_a_published_message_is_received_whole(topics: Topics, background: Background) -> None:
    async with (
        Publisher(topics.project, in_flight=2, timeout=10) as publisher,
        Puller(topics.project, "work", background, max_messages=10, max_bytes=10**7) as puller,
    ):
        identity = await publisher.publish("hits", b"some data", {"schema": "x/1", "count": "3"})
        async with asyncio.timeout(10):
            delivery = await anext(puller)
        assert (delivery.data, delivery.attributes, delivery.id) == (
            b"some data",
            {"schema": "x/1", "count": "3"},
            identity,
        )
        delivery.ack()


async def test_acks_given_before_the_puller_closes_reach_pubsub(topics: Topics, background: Background) -> None:
    async with Publisher(topics.project, in_flight=4, timeout=10) as publisher:
        for number in range(20):
            await publisher.publish("hits", b"%d" % number, {})
        async with (
            Puller(topics.project, "work", background, max_messages=100, max_bytes=10**7) as puller,
            asyncio.timeout(10),
        ):
            for _ in range(20):
                (await anext(puller)).ack()
    assert topics.pull("work") == []


async def test_draining_gives_back_what_was_not_taken(topics: Topics, background: Background) -> None:
    # Without a backoff what is nacked is sent back at once, and may be on its way as the stream ends.
    topics.subscribe("hits", "patient", backoff=1)
    async with Publisher(topics.project, in_flight=4, timeout=10) as publisher:
        for number in range(5):
            await publisher.publish("hits", b"%d" % number, {})
        async with (
            Puller(topics.project, "patient", background, max_messages=100, max_bytes=10**7) as puller,
            asyncio.timeout(10),
        ):
            first = await anext(puller)
            puller.drain()
            assert [one async for one in puller] == []
            first.ack()
    returned = {message.data for message in topics.pull("patient", wanted=4)}
    assert returned == {b"0", b"1", b"2", b"3", b"4"} - {first.data}


async def test_what_comes_after_draining_goes_to_others_at_its_first_delivery(
    topics: Topics, background: Background
) -> None:
    topics.create("dead")
    topics.subscribe("hits", "counted", dead="dead")
    async with Publisher(topics.project, in_flight=4, timeout=10) as publisher, asyncio.timeout(40):
        await publisher.publish("hits", b"in hand", {})
        async with Puller(topics.project, "counted", background, max_messages=100, max_bytes=10**7) as leaving:
            held = await anext(leaving)
            leaving.drain()
            async with Puller(topics.project, "counted", background, max_messages=100, max_bytes=10**7) as coming:
                for number in range(50):
                    await publisher.publish("hits", b"%d" % number, {})
                found = [await anext(coming) for _ in range(50)]
                for one in found:
                    one.ack()
                held.ack()
    # One that is already on its way when the stream ends is given back, or comes again when its lease ends.
    assert [one.attempt for one in found].count(1) >= 49
    assert {one.data for one in found} == {b"%d" % number for number in range(50)}
    assert topics.pull("counted") == []


async def test_what_is_in_hand_stays_leased_and_can_be_answered_after_draining(
    topics: Topics, background: Background, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.shared.leases.LEASE_SECONDS", 1)
    monkeypatch.setattr("services.shared.leases.RENEW_SECONDS", 0.3)
    async with Publisher(topics.project, in_flight=4, timeout=10) as publisher, asyncio.timeout(20):
        for data in (b"good", b"bad"):
            await publisher.publish("hits", data, {})
        async with Puller(topics.project, "work", background, max_messages=100, max_bytes=10**7) as puller:
            held = {one.data: one for one in [await anext(puller), await anext(puller)]}
            puller.drain()
            async with Puller(topics.project, "work", background, max_messages=100, max_bytes=10**7) as other:
                stolen = asyncio.create_task(anext(other))  # type: ignore[arg-type]
                done, _ = await asyncio.wait({stolen}, timeout=2.5)  # two leases and a half
                assert not done
                held[b"good"].ack()
                held[b"bad"].nack()
                again = await stolen
                assert again.data == b"bad"
                again.ack()
    assert topics.pull("work") == []


async def test_a_lease_is_kept_for_longer_than_an_hour(
    topics: Topics, background: Background, monkeypatch: pytest.MonkeyPatch
) -> None:
    from google.cloud.pubsub_v1.subscriber._protocol import leaser

    ahead = [0.0]
    clock = SimpleNamespace(time=lambda: time.time() + ahead[0])
    monkeypatch.setattr(leaser, "time", clock)
    monkeypatch.setattr(leaser, "_LOGGER", watched := _Watched())
    async with Publisher(topics.project, in_flight=4, timeout=10) as publisher, asyncio.timeout(30):
        await publisher.publish("hits", b"x", {})
        async with Puller(topics.project, "work", background, max_messages=100, max_bytes=10**7) as puller:
            held = await anext(puller)
            ahead[0] = 3 * 60 * 60
            renewed = watched.texts.count(RENEWED)
            await asyncio.to_thread(wait_for, lambda: watched.texts.count(RENEWED) > renewed, 20, "a renewal")
            held.ack()
    assert not [text for text in watched.texts if "leased too long" in text]
    assert topics.pull("work") == []


RENEWED = "Renewing lease for %d ack IDs."


class _Watched(logging.Logger):
    def __init__(self) -> None:
        super().__init__("leaser")
        self.texts: list[str] = []

    def debug(self, text: object, *_: object, **__: object) -> None:
        self.texts.append(str(text))

    warning = debug


async def test_a_nacked_message_comes_again(topics: Topics, background: Background) -> None:
    async with (
        Publisher(topics.project, in_flight=4, timeout=10) as publisher,
        Puller(topics.project, "work", background, max_messages=10, max_bytes=10**7) as puller,
        asyncio.timeout(20),
    ):
        await publisher.publish("hits", b"x", {})
        first = await anext(puller)
        first.nack()
        second = await anext(puller)
        assert (second.data, second.id) == (b"x", first.id)
        second.ack()


async def test_a_missing_topic_is_unconfirmed_at_once(topics: Topics) -> None:
    async with Publisher(topics.project, in_flight=1, timeout=30) as publisher:
        with pytest.raises(Unconfirmed, match=r"no-such-topic: 404"):
            await publisher.publish("no-such-topic", b"x", {})


async def test_a_server_that_is_not_there_is_unconfirmed_after_the_timeout(
    project: str, monkeypatch: pytest.MonkeyPatch, free_port: int
) -> None:
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", f"127.0.0.1:{free_port}")
    async with Publisher(project, in_flight=1, timeout=0.5) as publisher:
        with pytest.raises(Unconfirmed, match=r"no answer in 0\.5 s"):
            await publisher.publish("hits", b"x", {})


async def test_a_puller_started_before_its_subscription_finds_it_later(topics: Topics, background: Background) -> None:
    async with (
        Publisher(topics.project, in_flight=1, timeout=10) as publisher,
        Puller(topics.project, "late", background, max_messages=10, max_bytes=10**7) as puller,
    ):
        waiting = asyncio.create_task(anext(puller))  # type: ignore[arg-type]
        done, _ = await asyncio.wait({waiting}, timeout=0.3)
        assert not done
        topics.subscribe("hits", "late")
        await publisher.publish("hits", b"x", {})
        async with asyncio.timeout(20):
            (await waiting).ack()


def test_a_dead_letter_keeps_the_message_and_fits_pubsubs_limits() -> None:
    attributes = {f"key{number}": "v" for number in range(100)}
    data, kept = dead_letter(b"data", attributes, reason="é" * 2000, source="hits")
    assert data == b"data"
    assert len(kept) == 100
    assert len(kept["dead_reason"].encode()) <= 1024
    assert kept["dead_source"] == "hits"
    message = pubsub_v1.types.PubsubMessage(data=data, attributes=kept)
    assert message.attributes["key0"] == "v"


@pytest.mark.parametrize(
    ("said", "count"), [("7", 7), ("99999", 99_999), ("0", 1), ("-3", 1), ("1e3", 1), ("\u0663", 1), ("9" * 9999, 1)]
)
def test_a_message_is_believed_what_it_may_hold(said: str, count: int) -> None:
    message = SimpleNamespace(
        data=b"", attributes={"count": said}, message_id="1", publish_time=datetime.now(UTC), delivery_attempt=None
    )
    assert Delivery(message, SimpleNamespace()).count == count


async def test_a_clock_that_is_set_back_holds_up_no_ack(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client gathers acks for a tenth of a second; by the wall clock that lasts until the clock has caught up."""
    asked: queue.Queue[str] = queue.Queue()
    asked.put("ack")
    clock = iter(range(1_000_000, 0, -3600))
    monkeypatch.setattr(time, "time", lambda: float(next(clock)))
    gathered = asyncio.ensure_future(asyncio.to_thread(helper_threads._get_many, asked, max_items=100, max_latency=0.1))
    try:
        assert await asyncio.wait_for(asyncio.shield(gathered), 20) == ["ack"]
    finally:
        for _ in range(100):  # whatever happened, the thread ends
            asked.put("end")
        await gathered


async def test_leases_are_asked_for_by_twenty_seconds_and_counted(
    topics: Topics, background: Background, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    modify = pubsub_v1.SubscriberClient.modify_ack_deadline

    def modified(client: pubsub_v1.SubscriberClient, **named: object) -> None:
        asked.append(named["ack_deadline_seconds"])  # type: ignore[arg-type]
        modify(client, **named)

    monkeypatch.setattr(pubsub_v1.SubscriberClient, "modify_ack_deadline", modified)
    counted: list[int] = []
    async with (
        asyncio.timeout(20),
        Publisher(topics.project, in_flight=1, timeout=10) as publisher,
        Puller(topics.project, "work", background, max_messages=9, max_bytes=10**7, leased=counted.append) as puller,
    ):
        await publisher.publish("hits", b"given back", {})
        (await anext(puller)).nack()
        held = await anext(puller)  # once more, and a lease once more
        await asyncio.to_thread(wait_for, lambda: sum(counted) >= 2 and 0 in asked, 10, "the leases")
        held.ack()
    assert set(asked) == {0, 20}
    assert sum(counted) == len([seconds for seconds in asked if seconds])  # one message a call here


async def test_without_credentials_nothing_is_confirmed_and_nobody_waits(topics: Topics) -> None:
    there = False

    def credentials() -> None:
        if not there:
            raise NoCredentials("waiting for credentials")

    async with Publisher(topics.project, in_flight=1, timeout=3600, credentials=credentials) as publisher:
        with pytest.raises(Unconfirmed, match="hits: waiting for credentials"):
            await publisher.publish("hits", b"x", {})
        there = True
        assert await publisher.publish("hits", b"x", {})
    assert len(topics.pull("work", wanted=1)) == 1


async def test_a_message_that_nobody_answers_fails_liveness(topics: Topics, background: Background) -> None:
    topics.publish("hits", b"1")
    topics.publish("hits", b"2")
    async with (
        asyncio.timeout(20),
        Puller(topics.project, "work", background, max_messages=9, max_bytes=10**7, answer_seconds=0.2) as puller,
    ):
        first, second = await anext(puller), await anext(puller)
        await until(lambda: (background.stuck or "").startswith("answering work has not moved"), "liveness to fail")
        first.ack()
        assert background.stuck is None
        await until(lambda: background.stuck, "liveness to fail again")
        second.ack()
        await asyncio.sleep(0.3)
        assert background.stuck is None  # nothing is in hand


@pytest.fixture
def failing(project: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Topics, Control]]:
    """An emulator of its own, whose faults are the test's."""
    with child.running("services.local.pubsub", "--port", "0", "--control-port", "0") as emulator:
        monkeypatch.setenv("PUBSUB_EMULATOR_HOST", f"127.0.0.1:{emulator.ready['grpc']}")
        topics = Topics(project)
        topics.create("hits", "work")
        yield topics, Control(emulator.ready["control"])
        topics.subscriber.close()


async def test_answers_that_pubsub_does_not_take_are_sent_until_it_does(
    failing: tuple[Topics, Control], background: Background
) -> None:
    topics, faults = failing
    topics.publish("hits", b"1")
    async with (
        asyncio.timeout(40),
        Puller(topics.project, "work", background, max_messages=9, max_bytes=10**7) as puller,
    ):
        held = await anext(puller)
        with capture_logs() as logs:
            with faults.on("error", code="UNAUTHENTICATED") as refused, faults.on("drop_stream"):
                await until(lambda: said(logs, "subscription broke"), "the stream to break")
                held.ack()
                before = faults.struck(refused)
                await until(lambda: faults.struck(refused) >= before + 3, "three refusals")
            await until(lambda: said(logs, "late answers are sent again"), "the answer to be sent")
        assert said(logs, "late answers not sent") == 1
    assert topics.pull("work") == []


async def test_no_more_is_held_because_a_stream_broke(failing: tuple[Topics, Control], background: Background) -> None:
    topics, faults = failing
    for number in range(8):
        topics.publish("hits", b"%d" % number)
    async with (
        asyncio.timeout(60),
        Puller(topics.project, "work", background, max_messages=4, max_bytes=10**7) as puller,
    ):
        held = [await anext(puller) for _ in range(4)]
        with capture_logs() as logs, faults.on("error", code="UNAUTHENTICATED"), faults.on("drop_stream"):
            await until(lambda: said(logs, "subscription broke"), "the stream to break")
        more = asyncio.create_task(anext(puller))  # type: ignore[arg-type]
        done, _ = await asyncio.wait({more}, timeout=2.5)  # it is opened again after a second
        assert not done
        for one in held[:2]:
            one.ack()
        (await more).ack()
        for one in held[2:]:
            one.ack()
        for _ in range(3):
            (await anext(puller)).ack()
    assert topics.pull("work") == []


def said(logs: Sequence[MutableMapping[str, Any]], message: str) -> int:
    return sum(line["event"] == message for line in logs)
