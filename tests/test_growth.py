"""The tool that finds work which grows too fast finds it."""

from __future__ import annotations

import re
from types import SimpleNamespace

import pytest

from tests import growth
from tests.growth import ENOUGH, MEASURABLE, MOST, RUNS, TIMES, Grows, assert_linear, settled


def test_a_quadratic_expression_is_found_and_its_input_named() -> None:
    with pytest.raises(Grows, match=r"of b' ' between b'GET /i' and b' HTTP/1.1"):
        assert_linear(re.compile(rb"^GET .* +$").search, b"GET /i", b" HTTP/1.1\r\n")


def test_a_quadratic_loop_over_a_text_is_found() -> None:
    def commas(text: str) -> None:
        while "," in text:
            _, _, text = text.partition(",")

    with pytest.raises(Grows, match="of ','"):
        assert_linear(commas, "a=1\U0001f600")  # four bytes a character: most of the time goes into copies


@pytest.mark.parametrize("place", ["before", "after"])
def test_a_run_is_put_at_either_end(place: str) -> None:
    def slow(data: bytes) -> None:
        if data.startswith(b";;") if place == "before" else data.endswith(b";;"):
            re.search(rb";+$", data + b"x")

    with pytest.raises(Grows):
        assert_linear(slow, b"frame")


def test_a_slow_first_time_hides_nothing() -> None:
    first = True

    def slow(data: bytes) -> None:
        nonlocal first
        if data.endswith(b";;"):
            times, first = (12 if first else 1), False
            for _ in range(times):
                re.search(rb";+$", data + b"x")

    with pytest.raises(Grows):
        assert_linear(slow, b"frame", runs=[b";"])


def test_a_machine_that_is_busy_whenever_it_takes_long_is_no_growth(monkeypatch: pytest.MonkeyPatch) -> None:
    """All takes three times as long, but for the first short ones."""
    quick, clock = 5, 0.0

    def work(data: bytes) -> None:
        nonlocal quick, clock
        quick -= 1
        clock += len(data) * 1e-6 * (1 if quick > 0 else 3)

    monkeypatch.setattr(growth, "time", SimpleNamespace(thread_time=lambda: clock, sleep=lambda seconds: None))
    assert_linear(work, b"frame", runs=[b";"])


def test_linear_work_passes_with_every_run() -> None:
    seen: set[bytes] = set()

    def work(data: bytes) -> None:
        seen.update(run for run in RUNS if run * 500 in data)
        for _ in data:
            pass
        raise ValueError

    assert_linear(work, b"GET /i", b" HTTP/1.1", refused=ValueError)
    assert seen >= set(RUNS)


def test_what_is_raised_and_not_expected_is_an_error() -> None:
    with pytest.raises(UnicodeDecodeError):
        assert_linear(bytes.decode, b"x")


@pytest.mark.parametrize("steps", [1, 2, 3])
@pytest.mark.parametrize("share", [2.0**power for power in range(-12, 5)])
def test_no_step_is_left_out_that_would_find_something(share: float, steps: int) -> None:
    """`share` is that of the quadratic part at the first size of a step, of which both times are measurable."""

    def seconds(step: int) -> float:
        return ENOUGH * TIMES**step * (1 + share * TIMES**step)

    found = any(seconds(step + 1) > seconds(step) * TIMES * MOST for step in range(1, steps + 1))
    assert not (found and settled(seconds(0), seconds(1), steps))
    assert share > 0.002 or settled(seconds(0), seconds(1), steps)


def test_what_is_too_short_to_measure_settles_nothing() -> None:
    assert not settled(MEASURABLE / 2, MEASURABLE * 2, 1)
