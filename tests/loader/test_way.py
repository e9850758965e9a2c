"""Which way rows go: what `write` says, and for `auto` whether a job is in time."""

from __future__ import annotations

from math import inf

from hypothesis import given
from hypothesis import strategies as st

from services.loader.way import EXPECTED_SECONDS, REMEMBERED_SECONDS, Ways

AT_ONCE, INTERVAL = 0.2, 300.0
SECONDS = st.floats(0.1, 10_000)


def ways(target: float = 300.0, slot: float = 60.0) -> Ways:
    return Ways(linger=AT_ONCE, interval=INTERVAL, target=target, slot=slot)


def test_a_table_goes_the_way_it_says() -> None:
    at_once, by_job = (ways().choose("events", write, 0.0) for write in ("write_api", "load_job"))
    assert (at_once.by_job, at_once.linger) == (False, AT_ONCE)
    assert (by_job.by_job, by_job.linger, by_job.patience) == (True, INTERVAL, inf)


def test_auto_goes_by_job_where_one_is_in_time() -> None:
    assert not ways(target=5.0).choose("events", "auto", 0.0).by_job
    assert not ways(target=60.0 + EXPECTED_SECONDS - 1).choose("events", "auto", 0.0).by_job
    assert ways(target=60.0 + EXPECTED_SECONDS + 1).choose("events", "auto", 0.0).by_job


def test_slow_jobs_turn_auto_away_until_they_are_forgotten() -> None:
    found = ways(target=120.0)
    assert found.choose("events", "auto", 0.0).by_job
    found.took("events", 100.0, now=10.0)
    found.took("events", 1.0, now=11.0)
    assert not found.choose("events", "auto", 12.0).by_job
    assert found.choose("others", "auto", 12.0).by_job
    assert found.choose("events", "load_job", 12.0).by_job
    assert found.choose("events", "auto", 11.0 + REMEMBERED_SECONDS).by_job


@given(target=SECONDS, slot=SECONDS, took=SECONDS)
def test_auto_keeps_its_target_where_jobs_take_what_they_took(target: float, slot: float, took: float) -> None:
    found = ways(target, slot)
    found.took("events", took, now=0.0)
    way = found.choose("events", "auto", 1.0)
    if way.by_job:
        assert way.patience + took <= target + 1e-6
        assert way.patience - way.linger >= slot - 1e-6  # a slot begins in the time between
    else:
        assert way.linger == AT_ONCE
