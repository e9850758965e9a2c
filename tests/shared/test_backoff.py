from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.shared.backoff import Backoff


@pytest.mark.parametrize(
    ("random", "waits"),
    [
        (1.0, [1, 2, 4, 8, 10, 10]),
        (0.0, [0.5, 1, 2, 4, 5, 5]),
        (0.5, [0.75, 1.5, 3, 6, 7.5, 7.5]),
    ],
)
def test_waits_double_up_to_the_bound_less_the_jitter(random: float, waits: list[float]) -> None:
    backoff = Backoff(1, 10, lambda: random)
    assert [backoff.wait() for _ in waits] == waits


def test_a_reset_begins_again() -> None:
    backoff = Backoff(1, 10, lambda: 1.0)
    assert [backoff.wait(), backoff.wait()] == [1, 2]
    backoff.reset()
    assert [backoff.wait(), backoff.wait()] == [1, 2]


def test_a_first_wait_above_the_bound_is_cut_to_it() -> None:
    assert Backoff(5, 2, lambda: 1.0).wait() == 2


SECONDS = st.floats(0.001, 1000)


@given(SECONDS, SECONDS, st.lists(st.booleans(), max_size=30), st.randoms())
def test_each_wait_is_between_half_its_bound_and_all_of_it(
    first: float, most: float, resets: list[bool], random: Random
) -> None:
    backoff = Backoff(first, most, random.random)
    bound = min(first, most)
    for reset in resets:
        if reset:
            backoff.reset()
            bound = min(first, most)
        assert bound / 2 <= backoff.wait() <= bound <= most
        bound = min(bound * 2, most)


def test_by_itself_no_two_clients_wait_alike() -> None:
    assert len({Backoff(1, 1).wait() for _ in range(20)}) > 1
