"""Turns, pairs and what is dropped, with contenders that need no server."""

from __future__ import annotations

import random
from collections import defaultdict
from pathlib import Path

import pytest

from tests.bench import cpu
from tests.bench.figure import Figure, median, ratio
from tests.bench.slices import DISTURBED, FEWEST, NEVER_QUIET, Contender, Slice, Stopwatch, Taken, in_turns


def _group(*names: str) -> list[Contender]:
    return [Contender(name, [], [], lambda: 0.0) for name in names]


def _slice(cpu_s: float = 0.5, requests: float = 1000.0, others: float = 0.0) -> Slice:
    return Slice(seconds=1.0, requests=requests, cpu=cpu_s, others=others)


def test_a_figure_is_the_median_and_half_the_distance_of_the_quartiles() -> None:
    assert median([1.0, 3.0, 2.0, 4.0, 100.0]) == Figure(3.0, 1 / 3)
    assert median([2.0]) == Figure(2.0)
    assert not Figure(1.0, 0.2).steady


def test_a_ratio_is_taken_pair_by_pair_so_a_drift_of_both_is_in_neither() -> None:
    drifting = [1.0, 2.0, 4.0, 8.0]
    assert ratio([2 * one for one in drifting], drifting) == Figure(2.0, 0.0)


def test_a_contender_is_warm_once_it_answers_others_than_who_counts() -> None:
    said, asked = list[str](), 0

    class Heard:
        pid = 0

        def resume(self) -> None:
            said.append("resume")

        def pause(self) -> None:
            said.append("pause")

    def answered() -> float:
        nonlocal asked
        asked += 1
        return asked + (asked > 5)

    Stopwatch([], [], 0.0).warm(Contender("a", [], [Heard()], answered))
    assert (asked, said) == (6, ["resume", "pause"])


def test_turns_come_in_an_order_drawn_anew_and_a_group_stays_together() -> None:
    order: list[str] = []

    def take(contender: Contender) -> Slice:
        order.append(contender.name)
        return _slice()

    groups = [_group("a", "b"), _group("c", "d")]
    taken = in_turns(groups, take, wanted=20, most=20, chance=random.Random(1))
    turns = ["".join(order[n : n + 2]) for n in range(0, len(order), 2)]
    assert set(turns) == {"ab", "ba", "cd", "dc"}
    assert {turn[0] in "ab" for turn in turns[::2]} == {True, False}
    assert {name: len(found) for name, found in taken.slices.items()} == dict.fromkeys("abcd", 20)
    assert (taken.turns, taken.dropped) == (40, 0)


def test_a_disturbed_slice_takes_its_pair_with_it_and_is_taken_again() -> None:
    calls: dict[str, int] = defaultdict(int)

    def take(contender: Contender) -> Slice:
        calls[contender.name] += 1
        disturbed = contender.name == "a" and calls["a"] == 2
        return _slice(requests=calls[contender.name], others=DISTURBED * 1.1 if disturbed else 0.0)

    taken = in_turns([_group("a", "b"), _group("c")], take, wanted=3, most=10, chance=random.Random(1))
    assert [one.requests for one in taken.slices["a"]] == [1, 3, 4]
    assert [one.requests for one in taken.slices["b"]] == [1, 3, 4]
    assert calls["c"] == 3
    assert (taken.turns, taken.dropped) == (7, 1)


def test_where_it_is_never_quiet_there_is_an_end_and_the_figure_is_refused() -> None:
    taken = in_turns([_group("a", "b")], lambda _: _slice(others=1.0), wanted=3, most=5, chance=random.Random(1))
    assert (taken.turns, taken.dropped) == (5, 5)
    assert taken.against("a", "b") == NEVER_QUIET
    assert not NEVER_QUIET.steady


def test_what_is_cheaper_a_request_is_above_one_whoever_was_given_more_time() -> None:
    cheap = [_slice(cpu_s=0.1, requests=1000)] * FEWEST
    dear = [_slice(cpu_s=0.9, requests=3000)] * FEWEST
    taken = Taken({"cheap": cheap, "dear": dear}, 0, 2 * FEWEST)
    assert taken.against("cheap", "dear").value == pytest.approx(3.0)
    assert taken.faster("dear", "cheap").value == pytest.approx(3.0)
    assert taken.per_cpu_s("cheap").value == pytest.approx(10_000)
    assert taken.per_s("dear").value == pytest.approx(3000)


def test_a_core_is_busy_with_all_but_idling_and_what_the_host_took_counts(tmp_path: Path) -> None:
    stat = tmp_path / "stat"
    stat.write_text("cpu  0\ncpu0 100 20 30 9000 400 5 6 7 100 20\ncpu1 1 0 0 0 0 0 0 0 0 0\nintr 5\n")
    ticks = 100 + 20 + 30 + 5 + 6 + 7
    assert cpu.busy([0], stat) * 100 == pytest.approx(ticks * 100 / cpu._TICKS)
    assert cpu.busy([0, 1], stat) > cpu.busy([0], stat)
