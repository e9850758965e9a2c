from __future__ import annotations

from services.collector.breaker import CLOSED, FIRST_WAIT, HALF_OPEN, LONGEST_WAIT, OPEN, Breaker


def _breaker() -> tuple[Breaker, list[int]]:
    seen: list[int] = []
    return Breaker(seen.append), seen


def test_it_opens_at_the_first_failure_and_lets_one_try_at_a_time() -> None:
    breaker, seen = _breaker()
    breaker.failed(10.0)
    assert not breaker.may_try(10.0 + FIRST_WAIT - 0.01)
    assert breaker.may_try(10.0 + FIRST_WAIT)
    assert not breaker.may_try(99.0)
    breaker.succeeded()
    assert seen == [OPEN, HALF_OPEN, CLOSED]


def test_failures_of_those_under_way_do_not_put_the_next_try_off() -> None:
    breaker, seen = _breaker()
    for moment in (10.0, 10.2, 10.4):
        breaker.failed(moment)
    assert breaker.try_at == 10.0 + FIRST_WAIT
    assert seen == [OPEN]


def test_tries_that_fail_come_less_often_up_to_a_limit() -> None:
    breaker, _ = _breaker()
    now, waits = 0.0, []
    breaker.failed(now)
    for _ in range(8):
        waits.append(breaker.try_at - now)
        now = breaker.try_at
        assert breaker.may_try(now)
        breaker.failed(now)
    assert waits == sorted(waits)
    assert (waits[0], waits[-1]) == (FIRST_WAIT, LONGEST_WAIT)
    breaker.may_try(breaker.try_at)
    breaker.succeeded()
    breaker.failed(now)
    assert breaker.try_at - now == FIRST_WAIT


def test_a_slow_answer_keeps_it_open_and_tries_on_at_once() -> None:
    breaker, seen = _breaker()
    breaker.failed(0.0)
    assert breaker.may_try(1.0)
    breaker.slow(3.0)
    assert breaker.state == OPEN
    assert breaker.may_try(3.0)
    assert seen == [OPEN, HALF_OPEN, OPEN, HALF_OPEN]
