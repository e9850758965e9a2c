"""The README stays short, in its order, and true to the model of costs."""

from __future__ import annotations

import re

from local import run
from local.ports import Ports
from local.stack import DATA, Layout
from services.ops import cost_model, prices
from tests.docs import costs
from tests.process import ROOT

README = (ROOT / "README.md").read_text()


def test_it_is_short_and_in_order() -> None:
    assert len(README.splitlines()) <= 200
    assert README.index("![") < README.index("## ")  # what it is, and a picture, before anything else
    assert re.findall(r"^## (.*)$", README, re.MULTILINE) == [
        "Data flow",
        "Try it: two commands",
        "First pixel, first query",
        "The schema file",
        "Guarantees",
        "People are protected by default",
        "How it compares",
        "On Google Cloud",
        "Documents",
    ]


def test_what_make_run_prints_is_what_it_prints() -> None:
    printed = run.welcome(Layout(Ports(), DATA), 5.7)
    assert f"{printed}```\n" in README


def test_guarantees_are_five_lines() -> None:
    part = README.partition("## Guarantees\n")[2].partition("\n### ")[0]
    assert len(re.findall(r"^- ", part, re.MULTILINE)) == 5


def test_the_price_of_a_persistent_spool_is_that_of_its_disks() -> None:
    disk = costs.disk_gib() * prices.DISK_GIB
    fewest = cost_model.PODS["default"]["collector"].fewest
    text = " ".join(README.split())
    assert f"${disk:.2f} a month per collector, ${fewest * disk:.2f} for the default two" in text
    assert fewest == 2


def test_what_it_costs_is_what_the_model_says() -> None:
    few, many = (f"{cost_model.estimate(rate).total:.0f}" for rate in (10, 1_000))
    small = f"{cost_model.estimate(10, values='small').total:.0f}"
    million = cost_model.estimate(1_000).total / (1_000 * prices.HOURS * 3600) * 1e8
    wanted = f"about {few} dollars a month at 10 hits/s, {small} with `values-small.yaml`, and {many} at 1,000"
    wanted += f", which is {million:.0f} cents a million"
    assert wanted in " ".join(README.split())


def test_what_a_million_events_cost_is_what_the_bench_measured() -> None:
    bench = (ROOT / "BENCH.md").read_text()
    few, many = (
        float(re.findall(rf"^\| `dollars_per_million_at_{rate}_linger_50_ms` \| ([0-9.]+) \|", bench, re.MULTILINE)[0])
        for rate in (10, 1_000)
    )
    wanted = f"{few * 100:.0f} cents per million events at 10 hits/s and {many * 100:.1f} cents at 1,000"
    assert wanted in " ".join(README.split())
