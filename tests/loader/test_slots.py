"""However many loaders there are, a table has no more load jobs a day than slots."""

from __future__ import annotations

import random
from bisect import bisect_right
from math import ceil

from hypothesis import given, settings
from hypothesis import strategies as st

from services.loader import slots
from services.loader.config import Config

QUOTA = 1_500  # BigQuery's load jobs a table and day
DAY = 86_400.0
TIMES = st.floats(0, 4e9)
PER_DAY = st.integers(1, 86_400)


@given(TIMES, PER_DAY)
def test_slots_follow_each_other_without_a_gap(now: float, per_day: int) -> None:
    slot = slots.at(now, per_day)
    assert slot.ends > now - 1e-6
    assert slot.ends - now <= slots.seconds(per_day) + 2e-6
    after = slots.at(slot.ends, per_day)
    last = slot.number == per_day - 1
    assert (after.day, after.number) == ((slot.day + 1, 0) if last else (slot.day, slot.number + 1))


@given(st.integers(0, 40_000), PER_DAY)
def test_a_day_has_as_many_slots_as_jobs_are_allowed(day: int, per_day: int) -> None:
    first, last = slots.at(day * DAY, per_day), slots.at(day * DAY + DAY - 1e-5, per_day)
    assert (first.day, first.number) == (day, 0)
    assert (last.day, last.number) == (day, per_day - 1)


@given(TIMES, TIMES, PER_DAY)
def test_ids_are_of_one_table_and_one_slot(one: float, other: float, per_day: int) -> None:
    found, again = slots.at(one, per_day), slots.at(other, per_day)
    same = (found.day, found.number) == (again.day, again.number)
    assert (slots.job_id("d", "t", found) == slots.job_id("d", "t", again)) == same
    assert slots.job_id("d", "t", found) != slots.job_id("d", "u", found)
    assert slots.job_id("d", "t_u", found) != slots.job_id("d_t", "u", found)


def allowed(per_day: int, skew: float) -> int:
    """Jobs in any 24 hours: one slot more than a day has, as they begin within one, and what wrong clocks shift."""
    return per_day + 1 + 2 * ceil(skew / slots.seconds(per_day))


@settings(deadline=None)
@given(
    loaders=st.integers(1, 20),
    per_day=st.integers(1, 100),
    asks=st.integers(1, 1_000),
    skew=st.floats(0, 2_000),
    seed=st.integers(0, 2**32),
)
def test_no_day_has_more_jobs_than_slots(loaders: int, per_day: int, asks: int, skew: float, seed: int) -> None:
    """Loaders that try when they like, each with a clock that is wrong by up to `skew` seconds.

    BigQuery makes a job only if its id is new.
    """
    choose = random.Random(seed)
    wrong = [choose.uniform(-skew, skew) for _ in range(loaders)]
    jobs: dict[str, float] = {}
    for now in sorted(choose.uniform(0, 2 * DAY) for _ in range(asks)):
        jobs.setdefault(slots.job_id("d", "t", slots.at(1e9 + now + choose.choice(wrong), per_day)), now)
    made = sorted(jobs.values())
    for place, now in enumerate(made):
        assert place - bisect_right(made, now - DAY) + 1 <= allowed(per_day, skew)


def test_the_default_keeps_the_quota_with_clocks_a_minute_wrong_and_room_for_jobs_resumed_late() -> None:
    assert allowed(Config(project="p").jobs_per_day, skew=60.0) <= QUOTA - 50


def test_a_single_loader_gets_every_slot_and_two_share_them() -> None:
    def loads(count: int) -> list[int]:
        """How many jobs each of `count` loaders makes in a day that all try for every slot, in random order."""
        choose, taken, made = random.Random(1), set[str](), [0] * count
        for number in range(1_440):
            tries = [(number * 60 + choose.uniform(0, 15), who) for who in range(count)]
            for now, who in sorted(tries):
                id = slots.job_id("d", "t", slots.at(now, 1_440))
                if id not in taken:
                    taken.add(id)
                    made[who] += 1
        return made

    assert loads(1) == [1_440]
    for count in (2, 10):
        shares = loads(count)
        assert sum(shares) == 1_440
        assert min(shares) > 1_440 / count / 2
