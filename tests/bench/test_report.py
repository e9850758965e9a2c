"""What is said of figures: verdicts, refusals, ratios. The measuring itself is `make bench`."""

from __future__ import annotations

import json

import pytest

from tests.bench import ratios, report, targets
from tests.bench.__main__ import QUICK_PARTS
from tests.bench.figure import WIDEST, Figure, median, rate, ratio
from tests.bench.ratios import Compared
from tests.bench.report import Report
from tests.bench.targets import CLOSE, MET, MISSED, Target


def test_a_median_tells_how_far_its_samples_were_apart() -> None:
    assert median([3.0, 1.0, 2.0]) == Figure(2.0, 0.25)
    assert median([5.0]) == Figure(5.0)
    assert ratio([2.0, 4.0], [1.0, 2.0]) == Figure(2.0)


def test_a_rate_is_steady_in_units_where_the_host_drifts() -> None:
    found = rate([100_000.0, 50_000.0, 25_000.0], [1.0, 2.0, 4.0])
    assert found.value == 50_000 and not found.steady
    assert found.units == Figure(10.0)


@pytest.mark.parametrize(("value", "said"), [(0.5, MET), (0.45, MET), (0.41, CLOSE), (0.4, MISSED), (0.0, MISSED)])
def test_a_verdict_of_at_least(value: float, said: str) -> None:
    assert Target(0.45).verdict(value) == said


@pytest.mark.parametrize(("value", "said"), [(1.9, MET), (2.0, MET), (2.2, CLOSE), (2.3, MISSED)])
def test_a_verdict_of_at_most(value: float, said: str) -> None:
    assert targets.most(2.0).verdict(value) == said


def test_a_rate_is_held_to_its_target_as_if_the_unit_were_1_us() -> None:
    name = "processor_events_per_s"  # 60,000
    assert targets.verdict(name, Figure(40_000), None) == MISSED
    assert targets.verdict(name, Figure(40_000), 1.5) == MET
    assert targets.verdict(name, Figure(40_000, units=Figure(1e6 / 55_000)), 1.5) == CLOSE
    assert targets.verdict("visible_p50_s", Figure(1.0), 0.5) == MISSED  # not a rate
    assert targets.verdict("nobody_asked", Figure(1.0), 1.0) == ""


def test_a_figure_that_is_too_unsteady_is_no_number() -> None:
    found = Report()
    found.add({"scale_2_workers": Figure(1.8, WIDEST + 0.01), "visible_p50_s": Figure(0.3, WIDEST)})
    written = json.loads(found.json())
    assert written == {"visible_p50_s": 0.3, "refused": {"scale_2_workers": {"value": 1.8, "spread": 0.16}}}
    shown = {row[0]: row for row in found.rows()}
    assert shown["scale_2_workers"] == ("scale_2_workers", "refused", "16%", "", "1.7", "")
    assert shown["visible_p50_s"] == ("visible_p50_s", "0.3", "15%", "", "at most 0.6", MET)


def test_the_unit_is_that_of_all_parts_and_never_refused() -> None:
    found = Report()
    for value in (1.0, 2.0, 4.0):
        found.add({"unit_us": Figure(value)})
    assert json.loads(found.json())["unit_us"] == 2.0
    assert found.rows()[-1][:2] == ("unit_us", "2")


def test_only_a_broken_promise_is_a_failure() -> None:
    found = Report()
    found.add({"outage_p99_ratio": Figure(5.4), "processor_events_per_s": Figure(1.0)})
    assert found.missed() == []
    found.add({"outage_p99_ratio": Figure(5.6)})
    assert found.missed() == ["outage_p99_ratio"]


def test_the_document_keeps_what_is_written_by_hand() -> None:
    text = f"# Bench\n\n{report.BEGIN}\nold\n{report.END}\n\nby hand\n"
    once = report.written(text, "new")
    assert once == f"# Bench\n\n{report.BEGIN}\n\nnew\n\n{report.END}\n\nby hand\n"
    assert report.written(once, "new") == once
    with pytest.raises(ValueError, match="to write between"):
        report.written("# Bench\n", "new")


def test_markdown_names_the_machine_and_what_was_left_out() -> None:
    found = Report()
    found.add({"loader_rows_per_s": Figure(412_345.6, 0.02, Figure(1.912, 0.01))})
    found.said.append("collector was not measured: it needs wrk")
    lines = found.markdown("a machine").splitlines()
    assert lines[0] == "a machine"
    assert "| `loader_rows_per_s` | 412,300 | 2% | 1.91 | 500,000 | met |" in lines
    assert lines[-1] == "collector was not measured: it needs wrk"


def test_ratios_are_those_that_hold_on_any_machine() -> None:
    units = Figure(20.0, 0.01)
    figures = {
        "collector_at_once_vs_nginx": Figure(0.5),
        "processor_events_per_s": Figure(50_000, 0.3, units),
        "rss_loader_mb": Figure(200),
    }
    assert ratios.of(figures) == {"collector_at_once_vs_nginx": Figure(0.5), "processor_events_units": units}


@pytest.mark.parametrize(
    ("name", "now", "failed"),
    [
        ("a_vs_b", Figure(1.0), False),
        ("a_vs_b", Figure(0.78), False),
        ("a_vs_b", Figure(0.76), True),
        ("a_vs_b", Figure(0.0), True),
        ("a_vs_b", Figure(0.5, 0.4), False),  # too unsteady to say so
        ("a_units", Figure(0.5), False),
        ("a_units", Figure(1.29), False),
        ("a_units", Figure(1.31), True),
    ],
)
def test_only_what_is_far_worse_fails(name: str, now: Figure, failed: bool) -> None:
    compared, new = ratios.compare({name: now, "new_vs_c": Figure(1.0)}, {name: 1.0, "gone_units": 3.0})
    assert compared.failed is failed
    assert (new.failed, new.verdict) == (False, "nothing stored")


def test_what_became_far_worse_is_measured_again() -> None:
    worse = {"protocol_segment_vs_native", "loader_rows_units"}
    assert ratios.parts(worse, QUICK_PARTS) == ["protocols", "loader"]
    assert {part for name in ratios.read() for part in ratios.parts([name], QUICK_PARTS)} == set(QUICK_PARTS)


def test_a_comparison_says_which_way() -> None:
    assert Compared("a_units", 20.0, Figure(22.0)).verdict == "10% worse"
    assert Compared("a_vs_b", 0.5, Figure(0.55)).verdict == "9% better"
    assert Compared("a_units", 20.0, Figure(30.0)).verdict == "50% worse - FAILED"
    assert Compared("a_vs_b", 0.5, Figure(0.2, 0.2)).verdict == "too unsteady to compare: 20%"


def test_storing_keeps_what_was_not_measured(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(ratios, "FILE", tmp_path / "ratios.json")
    assert ratios.read() == {}
    ratios.store({"a_vs_b": Figure(0.5), "c_units": Figure(20.0)})
    ratios.store({"a_vs_b": Figure(0.61234), "c_units": Figure(9.0, 0.5)})
    assert ratios.read() == {"a_vs_b": 0.6123, "c_units": 20.0}
