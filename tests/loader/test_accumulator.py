"""Accumulator is pure: what is taken when, and whose row is whose."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.loader.accumulator import Accumulator, AppendBatch, Limits, Slice
from services.loader.pack_tracker import Pack
from services.loader.table_breaker import Target
from tests.loader.rows_made import events, numbers


def made(count: int, size: int = 1) -> Slice:
    return Slice(Pack(("pack", 0), []), count, size)


def filled(counts: list[int], limits: Limits, size: int = 1) -> tuple[Accumulator, list[Slice]]:
    """Parts of so many rows, numbered through, the first at time 0, one a second."""
    accumulator, slices, first = Accumulator(Target("events", "f"), limits), [], 0
    for now, count in enumerate(counts):
        slices.append(made(count, size))
        accumulator.add(slices[-1], events(first, count), float(now))
        first += count
    return accumulator, slices


@pytest.mark.parametrize(
    ("counts", "limits", "now", "expected"),
    [
        ([3], Limits(10, 100, 5.0), 0.0, 5.0),
        ([3], Limits(10, 100, 5.0), 4.0, 1.0),
        ([3], Limits(10, 100, 5.0), 9.0, 0.0),  # old enough
        ([3, 3], Limits(10, 100, 5.0), 1.0, 4.0),  # the oldest counts
        ([5, 5], Limits(10, 100, 5.0), 1.0, 0.0),  # rows enough
        ([3, 3], Limits(10, 2, 5.0), 1.0, 0.0),  # bytes enough
        ([3], Limits(10, 100, 0.0), 0.0, 0.0),
    ],
)
def test_a_batch_is_due_by_rows_bytes_or_age(counts: list[int], limits: Limits, now: float, expected: float) -> None:
    accumulator, _ = filled(counts, limits)
    assert accumulator.due_in(now) == expected


@pytest.mark.parametrize(
    ("counts", "limits", "taken"),
    [
        ([3, 3, 3], Limits(100, 100, 1), [[3, 3, 3]]),
        ([3, 3, 3], Limits(6, 100, 1), [[3, 3], [3]]),
        ([3, 3, 3], Limits(8, 100, 1), [[3, 3], [3]]),
        ([3, 3, 3], Limits(100, 2, 1), [[3, 3], [3]]),
        ([30, 3], Limits(8, 100, 1), [[30], [3]]),  # one alone may be over
        ([30, 3], Limits(100, 1, 1), [[30], [3]]),
    ],
)
def test_whole_slices_are_taken_oldest_first_within_limits(
    counts: list[int], limits: Limits, taken: list[list[int]]
) -> None:
    accumulator, slices = filled(counts, limits)
    batches = []
    while accumulator:
        batches.append(accumulator.take())
    assert [[rows for _, rows in batch.shares] for batch in batches] == taken
    assert [found for batch in batches for found in batch.slices] == slices
    rows = [row for batch in batches for row in batch.rows.to_pylist()]
    assert [row["event_id"] for row in rows] == [f"event-{number:06}" for number in range(sum(counts))]


def owners(batch: AppendBatch) -> dict[int, Slice]:
    """Whose row each is, by the event's number."""
    found, first = {}, 0
    for owner, count in batch.shares:
        for number in numbers(batch.rows.slice(first, count).to_pylist()):
            found[number] = owner
        first += count
    assert first == batch.rows.num_rows
    return found


@settings(deadline=None)
@given(st.data())
def test_bad_rows_find_back_to_their_slices(data: Any) -> None:
    counts = data.draw(st.lists(st.integers(1, 6), min_size=1, max_size=6))
    accumulator, slices = filled(counts, Limits(1_000, 1_000, 1))
    batch = accumulator.take()
    before = owners(batch)
    left, bad_numbers = batch, set()
    for _ in range(data.draw(st.integers(1, 3))):
        if not left.rows.num_rows:
            break
        bad = data.draw(st.sets(st.integers(0, left.rows.num_rows - 1), min_size=1))
        held = left.rows.to_pylist()
        smaller, found = left.without(bad)
        assert sorted(index for _, indices in found for index in indices) == sorted(bad)
        for owner, indices in found:
            for number in numbers([held[index] for index in indices]):
                assert before[number] is owner
                bad_numbers.add(number)
        left = smaller
    assert owners(left) == {number: owner for number, owner in before.items() if number not in bad_numbers}
    assert list(left.slices) == slices  # also those with no row left: they are settled with the others


@given(st.lists(st.integers(0, 4), min_size=2, max_size=9))
def test_halves_hold_every_part_once(counts: list[int]) -> None:
    accumulator, slices = filled(counts, Limits(1_000, 1_000, 1))
    batch = accumulator.take()
    first, second = batch.halves()
    assert [*first.slices, *second.slices] == slices
    assert len(first.slices) >= 1 and len(second.slices) >= 1
    assert {**owners(first), **owners(second)} == owners(batch)
