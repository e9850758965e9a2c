"""The order of things in the outbox, with a publisher that does what the test says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from services.collector.breaker import CLOSED, HALF_OPEN, OPEN
from services.collector.metrics import Metrics
from services.collector.outbox import HitsRefused, Outbox
from services.collector.spool import Spool
from services.shared import hit
from services.shared.background import Background, BackgroundTaskEnded
from services.shared.hit import Hit
from services.shared.publisher import Unconfirmed
from tests.collector.disks import READ_ONLY, FailingDisk
from tests.waiting import until


class Scripted:
    """Holds every publish until `answer()`; keeps what was asked."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self._answers: asyncio.Queue[Exception | None] = asyncio.Queue()
        self._news = asyncio.Event()

    async def publish(self, topic: str, data: bytes, attributes: Mapping[str, str]) -> str:
        self.asked.append([one.id for one in hit.unpack(data, attributes)])
        self._news.set()
        if error := await self._answers.get():
            raise error
        return "1"

    def answer(self, error: Exception | None = None) -> None:
        self._answers.put_nowait(error)

    async def until_asked(self, times: int) -> None:
        async with asyncio.timeout(10):
            while len(self.asked) < times:
                self._news.clear()
                await self._news.wait()


def _line(name: str, size: int = 0) -> bytes:
    return hit.encode(Hit(id=name, at=1, method="GET", path="/i", query="x" * size))


@pytest.fixture
def publisher() -> Scripted:
    return Scripted()


@asynccontextmanager
async def open_outbox(
    publisher: Any, spool: Spool | None = None, metrics: Metrics | None = None, **settings: Any
) -> AsyncIterator[Outbox]:
    options = {"linger_seconds": 0, "in_flight": 1, "max_pending_bytes": 10**7, **settings}
    metrics = metrics or Metrics(CollectorRegistry())
    async with Background() as background, Outbox(publisher, "hits", spool, metrics, background, **options) as outbox:
        yield outbox


@asynccontextmanager
async def _spooling(publisher: Scripted, disk: FailingDisk) -> AsyncIterator[tuple[Outbox, Spool]]:
    async with (
        Background() as background,
        Spool(disk, 10**6, Metrics(CollectorRegistry()), background) as spool,
        open_outbox(publisher, spool) as outbox,
    ):
        yield outbox, spool


@pytest.fixture
async def outbox(publisher: Scripted) -> AsyncIterator[Outbox]:
    async with open_outbox(publisher) as outbox:
        yield outbox


async def test_a_reply_follows_the_confirmation(outbox: Outbox, publisher: Scripted) -> None:
    put = asyncio.create_task(outbox.put([_line("a")]))
    await publisher.until_asked(1)
    assert not put.done()
    publisher.answer()
    await asyncio.wait_for(put, 10)


async def test_a_reply_that_fails_keeps_no_other_from_its_client(outbox: Outbox, publisher: Scripted) -> None:
    told: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()

    def broken(_error: Exception | None) -> None:
        raise RuntimeError("no such client")

    for on_settled in (broken, told.set_result, None):
        outbox.take_one(_line("a"), on_settled, (0, "native", ""))
    await publisher.until_asked(1)
    publisher.answer()
    assert await asyncio.wait_for(told, 10) is None


async def test_hits_gather_while_the_slot_is_busy_and_go_out_as_one_pack(outbox: Outbox, publisher: Scripted) -> None:
    puts = [asyncio.create_task(outbox.put([_line("0")]))]
    await publisher.until_asked(1)
    puts += [asyncio.create_task(outbox.put([_line(str(number))])) for number in range(1, 50)]
    publisher.answer()
    await publisher.until_asked(2)
    publisher.answer()
    await asyncio.wait_for(asyncio.gather(*puts), 10)
    assert publisher.asked == [["0"], [str(number) for number in range(1, 50)]]


async def test_a_full_pack_closes_and_the_next_one_opens(outbox: Outbox, publisher: Scripted) -> None:
    puts = [asyncio.create_task(outbox.put([_line("first")]))]
    await publisher.until_asked(1)
    puts += [asyncio.create_task(outbox.put([_line(str(number))])) for number in range(2500)]
    for _ in range(4):
        publisher.answer()
    await asyncio.wait_for(asyncio.gather(*puts), 10)
    assert [len(ids) for ids in publisher.asked] == [1, 1000, 1000, 500]


async def test_a_pack_closes_at_its_bytes_too(outbox: Outbox, publisher: Scripted) -> None:
    puts = [asyncio.create_task(outbox.put([_line("first")]))]
    await publisher.until_asked(1)
    puts += [asyncio.create_task(outbox.put([_line(str(number), 900_000)])) for number in range(5)]
    for _ in range(4):
        publisher.answer()
    await asyncio.wait_for(asyncio.gather(*puts), 10)
    assert [len(ids) for ids in publisher.asked] == [1, 2, 2, 1]


async def test_the_hits_of_one_request_share_a_pack_or_are_all_awaited(outbox: Outbox, publisher: Scripted) -> None:
    first = asyncio.create_task(outbox.put([_line("first")]))
    await publisher.until_asked(1)
    small = asyncio.create_task(outbox.put([_line(f"s{number}") for number in range(600)]))
    whole = asyncio.create_task(outbox.put([_line(f"w{number}") for number in range(600)]))
    split = asyncio.create_task(outbox.put([_line(f"x{number}") for number in range(1500)]))
    publisher.answer()
    publisher.answer()
    publisher.answer()
    publisher.answer()
    await publisher.until_asked(5)
    assert not split.done()
    publisher.answer(Unconfirmed("the last part failed"))
    with pytest.raises(HitsRefused, match="the last part failed"):
        await asyncio.wait_for(split, 10)
    await asyncio.gather(first, small, whole)
    assert [len(ids) for ids in publisher.asked] == [1, 600, 600, 750, 750]


async def test_a_failed_pack_refuses_its_hits_and_no_others(outbox: Outbox, publisher: Scripted) -> None:
    bad = asyncio.create_task(outbox.put([_line("bad")]))
    await publisher.until_asked(1)
    good = asyncio.create_task(outbox.put([_line("good")]))
    publisher.answer(Unconfirmed("no"))
    publisher.answer()
    with pytest.raises(HitsRefused, match="no"):
        await asyncio.wait_for(bad, 10)
    await asyncio.wait_for(good, 10)


async def test_an_unexpected_error_of_the_publisher_leaves_no_reply_waiting(
    outbox: Outbox, publisher: Scripted
) -> None:
    put = asyncio.create_task(outbox.put([_line("a")]))
    publisher.answer(RuntimeError("a bug"))
    with pytest.raises(HitsRefused, match="a bug"):
        await asyncio.wait_for(put, 10)


async def test_a_cancelled_request_leaves_its_pack_whole(outbox: Outbox, publisher: Scripted) -> None:
    first = asyncio.create_task(outbox.put([_line("first")]))
    await publisher.until_asked(1)
    leaving = asyncio.create_task(outbox.put([_line("leaving")]))
    staying = asyncio.create_task(outbox.put([_line("staying")]))
    await asyncio.sleep(0)
    leaving.cancel()
    publisher.answer()
    publisher.answer()
    await asyncio.wait_for(asyncio.gather(first, staying), 10)
    assert publisher.asked == [["first"], ["leaving", "staying"]]


async def test_over_the_bound_hits_are_refused_until_there_is_room(publisher: Scripted) -> None:
    async with open_outbox(publisher, max_pending_bytes=1000) as outbox:
        put = asyncio.create_task(outbox.put([_line("a", 800)]))
        await publisher.until_asked(1)
        with pytest.raises(HitsRefused, match="too many hits wait"):
            await outbox.put([_line("b", 800)])
        publisher.answer()
        await asyncio.wait_for(put, 10)
        publisher.answer()
        await asyncio.wait_for(outbox.put([_line("c", 800)]), 10)


async def test_closing_sends_what_lingers(publisher: Scripted) -> None:
    async with open_outbox(publisher, linger_seconds=60) as outbox:
        put = asyncio.create_task(outbox.put([_line("a")]))
        await asyncio.sleep(0)
        publisher.answer()
    await asyncio.wait_for(put, 10)
    assert publisher.asked == [["a"]]


async def test_several_packs_are_in_flight_at_once(publisher: Scripted) -> None:
    async with open_outbox(publisher, in_flight=2) as outbox:
        first = asyncio.create_task(outbox.put([_line("a")]))
        await publisher.until_asked(1)
        second = asyncio.create_task(outbox.put([_line("b")]))
        await publisher.until_asked(2)
        publisher.answer()
        publisher.answer()
        await asyncio.wait_for(asyncio.gather(first, second), 10)


async def test_a_hit_that_neither_pubsub_nor_the_spool_takes_is_refused_and_readiness_can_tell(
    publisher: Scripted, tmp_path: Path
) -> None:
    disk = FailingDisk(tmp_path)
    async with _spooling(publisher, disk) as (outbox, spool):
        assert outbox.breaker.state == CLOSED
        disk.fails["write"] = READ_ONLY
        publisher.answer(Unconfirmed("away"))
        with pytest.raises(HitsRefused, match="Read-only"):
            await asyncio.wait_for(outbox.put([_line("a")]), 10)
        assert outbox.breaker.state == OPEN
        assert "Read-only" in (outbox.unsafe or "")
        disk.fails.clear()
        await asyncio.wait_for(outbox.put([_line("b")]), 10)
        assert outbox.unsafe is None
        assert [one.hits for one in await spool.oldest_packs(5)] == [1]


async def test_without_a_spool_that_works_a_pod_is_ready_again_when_a_try_is_due_since_only_a_hit_can_be_one(
    publisher: Scripted, tmp_path: Path
) -> None:
    disk = FailingDisk(tmp_path)
    disk.fails["write"] = READ_ONLY
    async with _spooling(publisher, disk) as (outbox, _):
        publisher.answer(Unconfirmed("away"))
        with pytest.raises(HitsRefused, match="Read-only"):
            await asyncio.wait_for(outbox.put([_line("a")]), 10)
        assert outbox.unsafe is not None
        await until(lambda: outbox.unsafe is None, "readiness")
        assert outbox.breaker.state == OPEN
        publisher.answer()
        await asyncio.wait_for(outbox.put([_line("b")]), 10)
        assert outbox.breaker.state == CLOSED


async def test_what_is_not_foreseen_refuses_its_pack_and_no_reply_waits_for_ever(publisher: Scripted) -> None:
    def no_entropy(_count: int) -> bytes:
        raise RuntimeError("a bug")

    metrics = Metrics(registry := CollectorRegistry())
    async with open_outbox(publisher, metrics=metrics, max_pending_bytes=1000, entropy=no_entropy) as outbox:
        for _ in range(3):  # the slot and the room come back
            with pytest.raises(HitsRefused, match="a bug"):
                await asyncio.wait_for(outbox.put([_line("a", 600)]), 10)
    refused = registry.get_sample_value("pixelpipe_collector_hits_settled_total", {"outcome": "unconfirmed"})
    assert refused == 3


async def test_when_the_service_fails_no_reply_waits_for_a_pack_that_nobody_sends(publisher: Scripted) -> None:
    outcomes: list[BaseException | None] = []

    async def fail() -> None:
        raise RuntimeError("a bug")

    async def failing() -> None:
        async with (
            Background() as background,
            Outbox(
                publisher,  # type: ignore[arg-type]
                "hits",
                None,
                Metrics(CollectorRegistry()),
                background,
                linger_seconds=0,
                in_flight=1,
                max_pending_bytes=10**7,
            ) as outbox,
        ):
            puts = [asyncio.create_task(outbox.put([_line("sent")]))]
            await publisher.until_asked(1)
            puts += [asyncio.create_task(outbox.put([_line(str(number), 900_000)])) for number in range(5)]
            await asyncio.sleep(0)
            background.start("victim", fail())
            try:
                await asyncio.sleep(60)
            finally:
                puts.append(asyncio.create_task(outbox.put([_line("late")])))
                publisher.answer()
                outcomes.extend(await asyncio.wait_for(asyncio.gather(*puts, return_exceptions=True), 10))

    with pytest.raises(BackgroundTaskEnded, match=r"^victim: "):
        await failing()
    assert outcomes[0] is None  # it was on its way
    assert [str(one) for one in outcomes[1:]] == ["the collector is stopping"] * 6


async def test_a_cancelled_try_leaves_the_breaker_open_not_half_open(publisher: Scripted, tmp_path: Path) -> None:
    async with _spooling(publisher, FailingDisk(tmp_path)) as (outbox, spool):
        publisher.answer(Unconfirmed("away"))
        await asyncio.wait_for(outbox.put([_line("a")]), 10)
        await spool.delete(await spool.oldest_packs(1))
        await until(lambda: outbox.breaker.due(asyncio.get_running_loop().time()), "the time of a try")
        before = asyncio.all_tasks()
        put = asyncio.create_task(outbox.put([_line("b")]))
        await publisher.until_asked(2)
        assert outbox.breaker.state == HALF_OPEN
        for task in asyncio.all_tasks() - before - {put}:
            task.cancel()
        with pytest.raises(HitsRefused):
            await asyncio.wait_for(put, 10)
        assert outbox.breaker.state == OPEN
