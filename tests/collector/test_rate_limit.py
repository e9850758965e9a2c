from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.collector.rate_limit import RateLimits
from services.shared.tenants import Tenant, Tenants


class _Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def _limits(clock: _Clock, rate: float = 10.0, burst: int | None = 20) -> RateLimits:
    return RateLimits(Tenants({"a": Tenant("a", rate=rate, burst=burst), "b": Tenant("b")}), clock)


def test_a_burst_is_taken_and_then_the_rate() -> None:
    clock = _Clock()
    limits = _limits(clock)
    assert [limits.take("a", 1) for _ in range(20)] == [0.0] * 20
    assert limits.take("a", 1) == pytest.approx(0.1)
    clock.now += 0.05
    assert limits.take("a", 1) == pytest.approx(0.05)
    clock.now += 0.05
    assert limits.take("a", 1) == 0.0
    clock.now += 3_600
    assert [limits.take("a", 1) > 0 for _ in range(21)] == [False] * 20 + [True]


def test_a_batch_takes_as_many_tokens_as_it_has_items_or_none() -> None:
    clock = _Clock()
    limits = _limits(clock)
    assert limits.take("a", 15) == 0.0
    assert limits.take("a", 10) == pytest.approx(0.5)
    assert limits.take("a", 5) == 0.0


def test_a_batch_over_the_burst_is_taken_by_a_full_bucket_and_owed() -> None:
    clock = _Clock()
    limits = _limits(clock)
    assert limits.take("a", 50) == 0.0
    assert limits.take("a", 1) == pytest.approx(3.1)
    assert limits.take("a", 50) == pytest.approx(5.0)
    clock.now += 5
    assert limits.take("a", 50) == 0.0


def test_what_is_given_back_can_be_taken_again() -> None:
    limits = _limits(_Clock())
    assert limits.take("a", 20) == 0.0
    limits.give_back("a", 20)
    limits.give_back("b", 20)
    assert limits.take("a", 20) == 0.0


@pytest.mark.parametrize("name", ["b", "", "a stranger"])
def test_who_has_no_rate_is_never_limited(name: str) -> None:
    limits = _limits(_Clock())
    assert [limits.take(name, 1_000) for _ in range(100)] == [0.0] * 100


@pytest.mark.parametrize(("rate", "at_once"), [(2.5, 25), (0.01, 1)])
def test_without_a_burst_ten_seconds_worth_are_taken_at_once(rate: float, at_once: int) -> None:
    limits = _limits(_Clock(), rate, None)
    assert [limits.take("a", 1) > 0 for _ in range(at_once + 1)] == [False] * at_once + [True]


@given(
    st.floats(0.01, 1_000),
    st.integers(1, 100),
    st.lists(st.tuples(st.floats(0, 10), st.integers(1, 50)), max_size=60),
)
def test_over_any_time_no_more_is_taken_than_burst_and_rate_allow(
    rate: float, burst: int, asked: list[tuple[float, int]]
) -> None:
    clock = _Clock()
    limits = _limits(clock, rate, burst)
    taken = largest = 0
    for wait, hits in asked:
        clock.now += wait
        if not limits.take("a", hits):
            taken, largest = taken + hits, max(largest, hits)
        # A batch over the burst is owed.
        assert taken <= burst + rate * (clock.now - 1_000) + max(0, largest - burst) + 1e-6


@given(st.floats(0.01, 1_000), st.integers(1, 100), st.integers(1, 200), st.integers(1, 200))
def test_who_waits_as_long_as_told_is_taken(rate: float, burst: int, first: int, second: int) -> None:
    clock = _Clock()
    limits = _limits(clock, rate, burst)
    assert limits.take("a", first) == 0.0
    if wait := limits.take("a", second):
        clock.now += wait
        assert limits.take("a", second) == 0.0
