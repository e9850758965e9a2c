"""The simulation behind docs/scale.md, at small size: it loses nothing, and shows what it is there to show."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from services.ops import capacity_model
from services.ops.capacity_model import Plan
from tests.scale import day
from tests.scale.autoscaler import NODE, PERIOD, Autoscaler
from tests.scale.day import Day, Queue

HOUR = 3600


def hour(rate: float, plan: Plan, seed: int = 1, **others: object) -> Day:
    return day.simulate(rate, plan, seed, seconds=HOUR, **others)  # type: ignore[arg-type]


@pytest.mark.parametrize("rate", [10, 10_000, 1_000_000])
def test_every_hit_is_loaded_refused_or_on_the_way(rate: float) -> None:
    found = hour(rate, capacity_model.plan(rate))
    assert found.hits == pytest.approx(found.refused + found.loaded + found.left)
    assert found.hits > rate * HOUR
    assert len(found.minutes) == HOUR // 60


def test_one_seed_is_one_day() -> None:
    plan = capacity_model.plan(1_000)
    assert hour(1_000, plan, seed=7) == hour(1_000, plan, seed=7) != hour(1_000, plan, seed=8)


def test_a_trickle_needs_no_more_than_the_least() -> None:
    found = hour(10, capacity_model.plan(10))
    assert found.most_pods == {"collector": 2, "processor": 1, "loader": 1}
    assert (found.refused, found.late, found.backlog) == (0, 0, 0)


def test_more_pods_that_are_always_there_refuse_less_in_a_spike() -> None:
    plan = capacity_model.plan(10_000)
    services = {**plan.services, "collector": replace(plan.services["collector"], fewest=12)}
    assert 0 == hour(10_000, replace(plan, services=services)).refused < hour(10_000, plan).refused


def test_an_autoscaler_at_its_limit_refuses_and_is_late() -> None:
    plan = capacity_model.plan(10_000)
    capped = {name: replace(one, most=one.fewest) for name, one in plan.services.items()}
    assert hour(10_000, replace(plan, services=capped)).refused > 10 * hour(10_000, plan).refused


def test_a_quota_that_is_met_makes_a_backlog_and_one_that_was_raised_none() -> None:
    plan = capacity_model.plan(1_000_000)
    met = hour(1_000_000, plan)
    raised = hour(1_000_000, plan, quotas={name: 10 * quota for name, quota in capacity_model.QUOTAS.items()})
    assert met.worst_seconds > 10 * raised.worst_seconds
    assert met.backlog > 10 * raised.backlog > 0
    assert met.left > 0


def test_a_queue_gives_the_oldest_first_and_all_that_it_got() -> None:
    queue = Queue()
    queue.put(1, 5.0)
    queue.put(2, 5.0)
    assert queue.take(6.0) == [(1, 5.0), (2, 1.0)]
    assert queue.hits == 4.0
    assert queue.take(100.0) == [(2, 4.0)]
    assert queue.take(1.0) == []


def test_an_autoscaler_doubles_at_most_every_half_minute_and_waits_before_it_shrinks() -> None:
    scaler = Autoscaler(1, 20, cpu=1.0, target=0.5, chance=random.Random(3))
    sizes = {}
    for second in range(600):
        scaler.step(second, used_cpu=8.0 if second < 300 else 0.1)
        sizes[second] = scaler.pods
    assert sizes[29] == 1
    assert sizes[30] <= 3 and sizes[60] <= 6 and sizes[90] <= 12  # two more, then twice as many
    assert sizes[int(150 + NODE[1])] == 16
    assert sizes[299 + 300] == 16
    for second in range(600, 600 + 20 * PERIOD):
        scaler.step(second, used_cpu=0.1)
    assert scaler.pods < 8
