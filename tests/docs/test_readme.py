"""The README stays short, in its order, and true to the model of costs."""

from __future__ import annotations

import re

from local import run
from local.ports import Ports
from local.stack import DATA, Layout
from services.ops import cost_model, designs, prices
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
    first = f"[{million:.0f} cents a million hits](#on-google-cloud) at 1,000 a second, from {small} dollars a month at"
    assert first in README


def test_a_subscription_is_compared_by_the_model() -> None:
    """With the small values the rates at which both cost the same; beyond, what a million costs here and there."""
    month = 1_000 * prices.HOURS * 3600 / 1e8
    there, here = _subscription(1_000), cost_model.estimate(1_000).total
    assert f"at 1,000 events/s a million cost {there / month:.0f} cents instead of {here / month:.0f}" in README
    assert "cheaper below [some 25 events a second]" in README
    assert _subscription(23) < cost_model.estimate(23, values="small").total
    assert _subscription(27) > cost_model.estimate(27, values="small").total


def _subscription(rate: float) -> float:
    (found,) = (one.total for one in designs.estimate(rate) if one.name.startswith("BigQuery subscription"))
    return found


def test_what_a_million_is_made_of_is_what_the_model_says() -> None:
    bill = cost_model.estimate(1_000)
    assert bill.bigquery_write == bill.cluster == 0
    parts = (bill.pubsub, bill.bigquery_storage, bill.pods, bill.load_balancer, bill.replies)
    pubsub, storage, pods, balancer, replies = (f"{one / (1_000 * prices.HOURS * 3600) * 1e8:.1f}" for one in parts)
    wanted = (
        f"cents a million: {pubsub} of them Pub/Sub, {storage} BigQuery's storage, {pods} pods, {balancer} the load"
    )
    assert f"{wanted} balancer and {replies} replies." in " ".join(README.split())


def test_what_the_bench_says_of_its_dollars_is_what_it_measured() -> None:
    bench = (ROOT / "BENCH.md").read_text()
    one, two = (
        float(re.findall(rf"^\| `dollars_per_million{name}` \| ([0-9.]+) \|", bench, re.MULTILINE)[0]) * 100
        for name in ("", "_at_1000_linger_50_ms")
    )
    text = " ".join(bench.split())
    assert "`dollars_per_million`, about a cent, is messaging and loading alone" in text and round(one) == 1
    assert f"(two at 1,000, so smaller packs: {two:.1f} cents)" in text
    model = cost_model.estimate(1_000)
    cents = (model.pubsub + model.bigquery_write) / (1_000 * prices.HOURS * 3600) * 1e8
    assert f"The model of `pixelpipe cost` has {cents:.1f} cents there" in text
