"""The Subscriber over real gRPC to the emulator."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import AsyncIterator, Iterator, MutableMapping, Sequence
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from google.api_core.exceptions import ServiceUnavailable
from google.api_core.retry import Retry
from structlog.testing import capture_logs

from services.shared import subscriber, subscriber_clock
from services.shared.background import Background
from services.shared.publisher import Publisher
from services.shared.resource_names import subscription_path
from services.shared.subscriber import Delivery, Subscriber
from services.shared.subscriber_client import Client
from tests import process
from tests.emulators.fault_client import Control
from tests.process import wait_for
from tests.topics import Topics
from tests.waiting import until


@pytest.fixture
async def background() -> AsyncIterator[Background]:
    async with Background() as background:
        yield background


@pytest.fixture(scope="module")
def faulty() -> Iterator[process.Child]:
    """An emulator of this module's own, whose faults are those of the test that runs."""
    with process.running("emulators.pubsub", "--port", "0", "--control-port", "0") as emulator:
        yield emulator


@pytest.fixture
def failing(faulty: process.Child, project: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Topics, Control]]:
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", f"127.0.0.1:{faulty.ready['grpc']}")
    topics = Topics(project)
    topics.create("hits", "work")
    yield topics, Control(faulty.ready["control"])
    topics.subscriber.close()


async def test_a_published_message_is_received_whole(topics: Topics, background: Background) -> None:
    async with (
        Publisher(topics.project, in_flight=2, timeout=60) as publisher,
        Subscriber(topics.project, "work", background, max_messages=10, max_bytes=10**7) as pulling,
    ):
        identity = await publisher.publish("hits", b"some data", {"schema": "x/1", "count": "3"})
        async with asyncio.timeout(60):
            delivery = await anext(pulling)
        assert (delivery.data, delivery.attributes, delivery.id) == (
            b"some data",
            {"schema": "x/1", "count": "3"},
            identity,
        )
        delivery.ack()


async def test_acks_given_before_the_subscriber_closes_reach_pubsub(topics: Topics, background: Background) -> None:
    async with Publisher(topics.project, in_flight=4, timeout=60) as publisher:
        for number in range(20):
            await publisher.publish("hits", b"%d" % number, {})
        async with (
            Subscriber(topics.project, "work", background, max_messages=100, max_bytes=10**7) as pulling,
            asyncio.timeout(60),
        ):
            for _ in range(20):
                (await anext(pulling)).ack()
    assert topics.pull("work") == []


async def test_draining_gives_back_what_was_not_taken(topics: Topics, background: Background) -> None:
    # Without a backoff what is nacked is sent back at once, and may be on its way as the stream ends.
    topics.subscribe("hits", "patient", backoff=1)
    async with Publisher(topics.project, in_flight=4, timeout=60) as publisher:
        for number in range(5):
            await publisher.publish("hits", b"%d" % number, {})
        async with (
            Subscriber(topics.project, "patient", background, max_messages=100, max_bytes=10**7) as pulling,
            asyncio.timeout(60),
        ):
            first = await anext(pulling)
            pulling.drain()
            assert [one async for one in pulling] == []
            first.ack()
    returned = {message.data for message in topics.pull("patient", wanted=4)}
    assert returned == {b"0", b"1", b"2", b"3", b"4"} - {first.data}


async def test_what_comes_after_draining_goes_to_others_at_its_first_delivery(
    topics: Topics, background: Background
) -> None:
    topics.create("dead")
    topics.subscribe("hits", "counted", dead="dead")
    async with Publisher(topics.project, in_flight=4, timeout=60) as publisher, asyncio.timeout(90):
        await publisher.publish("hits", b"in hand", {})
        async with Subscriber(topics.project, "counted", background, max_messages=100, max_bytes=10**7) as leaving:
            held = await anext(leaving)
            leaving.drain()
            async with Subscriber(topics.project, "counted", background, max_messages=100, max_bytes=10**7) as coming:
                for number in range(200):
                    await publisher.publish("hits", b"%d" % number, {})
                found = []
                for _ in range(200):
                    found.append(await anext(coming))
                    found[-1].ack()
                held.ack()
    # Those already on their way when the stream ends are given back; were it still open, it would get half of all.
    assert [one.attempt for one in found].count(1) >= 140
    assert {one.data for one in found} == {b"%d" % number for number in range(200)}
    assert topics.pull("counted") == []


async def test_what_is_in_hand_stays_leased_and_can_be_answered_after_draining(
    topics: Topics, background: Background, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscriber, "LEASE_SECONDS", 4)
    monkeypatch.setattr(subscriber, "RENEW_SECONDS", 0.3)
    async with Publisher(topics.project, in_flight=4, timeout=60) as publisher, asyncio.timeout(60):
        for data in (b"good", b"bad"):
            await publisher.publish("hits", data, {})
        async with Subscriber(topics.project, "work", background, max_messages=100, max_bytes=10**7) as pulling:
            held = {one.data: one for one in [await anext(pulling), await anext(pulling)]}
            pulling.drain()
            async with Subscriber(topics.project, "work", background, max_messages=100, max_bytes=10**7) as other:
                stolen = asyncio.create_task(anext(other))  # type: ignore[arg-type]
                done, _ = await asyncio.wait({stolen}, timeout=6)  # a lease and a half
                assert not done
                held[b"good"].ack()
                held[b"bad"].nack()
                again = await stolen
                assert again.data == b"bad"
                again.ack()
    assert topics.pull("work") == []


@pytest.mark.slow
async def test_a_lease_is_kept_for_longer_than_an_hour(
    topics: Topics, background: Background, monkeypatch: pytest.MonkeyPatch
) -> None:
    renewed: list[int] = []
    topics.publish("hits", b"x")
    async with (
        asyncio.timeout(90),
        Subscriber(
            topics.project, "work", background, max_messages=100, max_bytes=10**7, leased=renewed.append
        ) as pulling,
    ):
        held = await anext(pulling)
        before = len(renewed)
        monkeypatch.setattr(subscriber_clock.Steady, "time", lambda _: time.monotonic() + 3 * 60 * 60)
        again = asyncio.create_task(anext(pulling))  # type: ignore[arg-type]
        # Where a lease is dropped, the next is that of the second delivery, and the one after it comes later than that.
        await until(lambda: len(renewed) >= before + 2, "two renewals", 60)
        assert not again.done()
        held.ack()
        again.cancel()
    assert topics.pull("work") == []


async def test_a_nacked_message_comes_again(topics: Topics, background: Background) -> None:
    async with (
        Publisher(topics.project, in_flight=4, timeout=60) as publisher,
        Subscriber(topics.project, "work", background, max_messages=10, max_bytes=10**7) as pulling,
        asyncio.timeout(60),
    ):
        await publisher.publish("hits", b"x", {})
        first = await anext(pulling)
        first.nack()
        second = await anext(pulling)
        assert (second.data, second.id) == (b"x", first.id)
        second.ack()


async def test_a_subscriber_started_before_its_subscription_finds_it_later(
    topics: Topics, background: Background
) -> None:
    async with (
        Publisher(topics.project, in_flight=1, timeout=60) as publisher,
        Subscriber(topics.project, "late", background, max_messages=10, max_bytes=10**7) as pulling,
    ):
        waiting = asyncio.create_task(anext(pulling))  # type: ignore[arg-type]
        done, _ = await asyncio.wait({waiting}, timeout=0.3)
        assert not done
        topics.subscribe("hits", "late")
        await publisher.publish("hits", b"x", {})
        async with asyncio.timeout(60):
            (await waiting).ack()


@pytest.mark.parametrize(
    ("said", "count"), [("7", 7), ("99999", 99_999), ("0", 1), ("-3", 1), ("1e3", 1), ("\u0663", 1), ("9" * 9999, 1)]
)
def test_a_message_is_believed_what_it_may_hold(said: str, count: int) -> None:
    message = SimpleNamespace(
        data=b"", attributes={"count": said}, message_id="1", publish_time=datetime.now(UTC), delivery_attempt=None
    )
    assert Delivery(message, lambda *_: None).count == count


async def test_a_clock_that_is_set_back_holds_up_no_ack(
    failing: tuple[Topics, Control], background: Background, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client gathers acks for a tenth of a second; by the wall clock that lasts until the clock has caught up."""
    topics, faults = failing
    topics.publish("hits", b"1")
    now = time.time

    def set_back() -> float:
        """For the client alone: gRPC's deadlines are made in C, from a clock that this test cannot set."""
        frame = inspect.currentframe()
        assert frame is not None and frame.f_back is not None
        return now() - 3600 * frame.f_back.f_globals["__name__"].startswith("google.cloud.pubsub_v1.")

    async with (
        asyncio.timeout(90),
        Subscriber(topics.project, "work", background, max_messages=9, max_bytes=10**7) as pulling,
    ):
        with faults.on("latency", method="Acknowledge", delay=0.001) as acks:
            held = await anext(pulling)
            monkeypatch.setattr(time, "time", set_back)
            held.ack()
            await until(lambda: faults.struck(acks), "the ack")


def test_a_client_without_the_clock_that_is_patched_is_refused() -> None:
    for name in ("json", "google.cloud.pubsub_v1.no_such_module"):
        with pytest.raises(ImportError, match=rf"google-cloud-pubsub [\d.]+ has no {name} that imports time"):
            subscriber_clock.install([name])


def test_the_clients_clock_is_the_module_time_but_for_its_time() -> None:
    steady = subscriber_clock.steady
    assert (steady.sleep, steady.monotonic, steady.strftime) == (time.sleep, time.monotonic, time.strftime)
    before = time.monotonic()
    assert before <= steady.time() <= time.monotonic()


async def test_leases_are_asked_for_by_twenty_seconds_and_counted(
    topics: Topics, background: Background, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    modify = Client.modify_ack_deadline

    def modified(client: Client, **named: Any) -> None:
        asked.append(named["ack_deadline_seconds"])
        modify(client, **named)

    monkeypatch.setattr(Client, "modify_ack_deadline", modified)
    counted: list[int] = []
    async with (
        asyncio.timeout(60),
        Publisher(topics.project, in_flight=1, timeout=60) as publisher,
        Subscriber(
            topics.project, "work", background, max_messages=9, max_bytes=10**7, leased=counted.append
        ) as pulling,
    ):
        await publisher.publish("hits", b"given back", {})
        (await anext(pulling)).nack()
        held = await anext(pulling)  # once more, and a lease once more
        await asyncio.to_thread(wait_for, lambda: sum(counted) >= 2 and 0 in asked, 30, "the leases")
        held.ack()
    assert set(asked) == {0, 20}
    assert sum(counted) == len([seconds for seconds in asked if seconds])  # one message a call here


async def test_a_message_that_nobody_answers_fails_liveness(topics: Topics, background: Background) -> None:
    topics.publish("hits", b"1")
    topics.publish("hits", b"2")
    async with (
        asyncio.timeout(60),
        Subscriber(topics.project, "work", background, max_messages=9, max_bytes=10**7, answer_seconds=1) as pulling,
    ):
        first, second = await anext(pulling), await anext(pulling)
        await until(lambda: (background.stuck or "").startswith("answering work has not moved"), "liveness to fail")
        first.ack()
        assert background.stuck is None
        await until(lambda: background.stuck, "liveness to fail again")
        second.ack()
        await asyncio.sleep(1.2)
        assert background.stuck is None  # nothing is in hand


async def test_answers_that_pubsub_does_not_take_are_sent_until_it_does(
    failing: tuple[Topics, Control], background: Background
) -> None:
    topics, faults = failing
    topics.publish("hits", b"1")
    async with (
        asyncio.timeout(90),
        Subscriber(topics.project, "work", background, max_messages=9, max_bytes=10**7) as pulling,
    ):
        held = await anext(pulling)
        with capture_logs() as logs:
            with faults.on("error", code="UNAUTHENTICATED") as refused, faults.on("drop_stream"):
                await until(lambda: said(logs, "subscription broke"), "the stream to break")
                held.ack()
                before = faults.struck(refused)
                await until(lambda: faults.struck(refused) >= before + 3, "three refusals")
            await until(lambda: said(logs, "late answers are sent again"), "the answer to be sent")
        assert said(logs, "late answers not sent") == 1
    assert topics.pull("work") == []


async def test_answers_that_fail_keep_no_lease_from_being_renewed(
    failing: tuple[Topics, Control], background: Background, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscriber, "RENEW_SECONDS", 0.2)
    topics, faults = failing
    topics.publish("hits", b"1")
    topics.publish("hits", b"2")
    leased: list[int] = []
    async with (
        asyncio.timeout(90),
        Subscriber(
            topics.project, "work", background, max_messages=9, max_bytes=10**7, leased=leased.append
        ) as pulling,
    ):
        first, second = await anext(pulling), await anext(pulling)
        pulling.drain()
        with faults.on("error", code="UNAVAILABLE", method="Acknowledge") as refused:
            first.ack()
            await until(lambda: faults.struck(refused), "the ack to be refused")
            before = len(leased)
            await until(lambda: len(leased) >= before + 2, "the other message's lease to be renewed twice")
        second.ack()
    assert topics.pull("work") == []


@pytest.mark.parametrize("call", ["acknowledge", "modify_ack_deadline"])
def test_a_call_retried_for_too_long_fails_as_one_that_may_pass(failing: tuple[Topics, Control], call: str) -> None:
    """The client's threads live through such a failure; a RetryError, after an outage of a minute, ended them."""
    topics, faults = failing
    path = subscription_path(topics.project, "work")
    asked = {"subscription": path, "ack_ids": ["1"], "retry": Retry(initial=0.01, timeout=0.1)}
    if call == "modify_ack_deadline":
        asked["ack_deadline_seconds"] = 20
    client = Client(lambda _: None, None)
    with faults.on("error", code="UNAVAILABLE"), pytest.raises(ServiceUnavailable, match=r"Timeout of 0\.1s"):
        getattr(client, call)(**asked)
    client.close()


async def test_no_more_is_held_because_a_stream_broke(failing: tuple[Topics, Control], background: Background) -> None:
    topics, faults = failing
    for number in range(8):
        topics.publish("hits", b"%d" % number)
    async with (
        asyncio.timeout(90),
        Subscriber(topics.project, "work", background, max_messages=4, max_bytes=10**7) as pulling,
    ):
        held = [await anext(pulling) for _ in range(4)]
        with capture_logs() as logs, faults.on("error", code="UNAUTHENTICATED"), faults.on("drop_stream"):
            await until(lambda: said(logs, "subscription broke"), "the stream to break")
        more = asyncio.create_task(anext(pulling))  # type: ignore[arg-type]
        done, _ = await asyncio.wait({more}, timeout=2.5)  # it is opened again after a second
        assert not done
        for one in held[:2]:
            one.ack()
        (await more).ack()
        for one in held[2:]:
            one.ack()
        for _ in range(3):
            (await anext(pulling)).ack()
    assert topics.pull("work") == []


def said(logs: Sequence[MutableMapping[str, Any]], message: str) -> int:
    return sum(line["event"] == message for line in logs)
