"""When the rows of a table are taken: by size, by age, at the end, and never with more appends than slots."""

from __future__ import annotations

import asyncio

from services.loader.accumulator import AppendBatch, Limits, Slice
from services.loader.pack_tracker import Pack
from services.loader.table_breaker import Target
from services.loader.table_queue import IN_FLIGHT, TableQueue
from tests.loader.rows_made import events, numbers

LONG = 3_600.0


def queue(limits: Limits) -> tuple[TableQueue, asyncio.Event]:
    ending = asyncio.Event()
    return TableQueue(Target("events", "f"), limits, ending), ending


def put(into: TableQueue, number: int, count: int = 1) -> None:
    into.add(Slice(Pack(("pack", number), []), count, 1), events(number, count))


def found(batch: AppendBatch | None) -> list[int]:
    assert batch is not None
    return numbers(batch.rows.to_pylist())


async def test_a_full_batch_is_taken_at_once_and_a_small_one_waits_for_company() -> None:
    one, _ = queue(Limits(3, 100, LONG))
    put(one, 0)
    taking = asyncio.create_task(one.next_batch())
    await asyncio.sleep(0)
    assert not taking.done()
    put(one, 1)
    put(one, 2)
    assert found(await asyncio.wait_for(taking, 10)) == [0, 1, 2]


async def test_rows_that_have_waited_are_taken_however_few() -> None:
    one, _ = queue(Limits(1_000, 1_000, 0.01))
    put(one, 0)
    assert found(await asyncio.wait_for(one.next_batch(), 10)) == [0]


async def test_rows_wait_for_a_slot_and_gather_meanwhile() -> None:
    one, _ = queue(Limits(2, 100, 0.0))
    for number in range(IN_FLIGHT):
        put(one, number)
        assert found(await one.next_batch()) == [number]
    put(one, 10)
    taking = asyncio.create_task(one.next_batch())
    await asyncio.sleep(0)
    put(one, 11)
    assert not taking.done()
    one.written()
    assert found(await asyncio.wait_for(taking, 10)) == [10, 11]


async def test_the_end_lets_nothing_wait_for_company() -> None:
    one, ending = queue(Limits(1_000, 1_000, LONG))
    put(one, 0)
    taking = asyncio.create_task(one.next_batch())
    await asyncio.sleep(0)
    ending.set()
    one.wake()
    assert found(await asyncio.wait_for(taking, 10)) == [0]


async def test_it_is_over_once_no_row_waits_and_none_is_being_written() -> None:
    one, _ = queue(Limits(1, 100, LONG))
    assert await one.next_batch() is None
    put(one, 0)
    await one.next_batch()
    taking = asyncio.create_task(one.next_batch())
    await asyncio.sleep(0)
    assert not taking.done()  # what is written may bring rejects, and others may come
    one.written()
    assert await asyncio.wait_for(taking, 10) is None
