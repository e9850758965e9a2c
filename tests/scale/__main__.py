"""Simulates days of traffic, and writes what they show into docs: `python -m tests.scale`, as `make scale` does.

The table in docs/scale.md, and two pictures in docs/img: a day at 1,000 hits a second, and what each rate takes.
"""

from __future__ import annotations

import argparse

from services.ops import capacity_model, prices
from tests.docs.markers import put, table
from tests.process import ROOT
from tests.scale import day, picture
from tests.scale.day import Day

RATES = (10, 100, 1_000, 10_000, 100_000, 1_000_000)
SHOWN = 1_000  # the rate whose day is drawn
RAISED = {name: 20 * quota for name, quota in capacity_model.QUOTAS.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="of the days (%(default)s)")
    seed: int = parser.parse_args().seed
    days = {rate: simulate(rate, seed) for rate in RATES}
    page = ROOT / "docs" / "scale.md"
    rows = table(
        (
            "hits/s on average",
            "pods at most",
            "answered 503",
            "hits waiting at most",
            "later than 10 s",
            "the longest way to a row",
            "quota met first",
            "dollars a month",
            "a million",
        ),
        (row(rate, found) for rate, found in days.items()),
    )
    page.write_text(put(page.read_text(), "days", rows, "make scale"))
    picture.one_day(days[SHOWN], SHOWN, ROOT / "docs" / "img" / "scale-day.png")
    picture.rates(days, ROOT / "docs" / "img" / "scale-rates.png")
    for written in (page, *sorted((ROOT / "docs" / "img").glob("scale-*.png"))):
        print(f"wrote {written.relative_to(ROOT)}")


def simulate(rate: int, seed: int) -> Day:
    """Above the quotas nothing can be seen but a backlog; that they were raised is said beside the table."""
    return day.simulate(rate, capacity_model.plan(rate), seed, quotas=RAISED)


def row(rate: int, found: Day) -> tuple[str, ...]:
    plan = capacity_model.plan(rate)
    million = rate * prices.HOURS * 3600 / 1e6
    return (
        f"{rate:,}",
        ", ".join(f"{count:,}" for count in found.most_pods.values()),
        f"{found.refused / found.hits:.2%}",
        f"{found.backlog:,.0f}",
        f"{found.late:.2%}",
        f"{found.worst_seconds:.1f} s",
        f"{plan.nearest}, {plan.quotas[plan.nearest]:.1%} at the peak",
        f"{found.dollars:,.0f}",
        f"{found.dollars / million:.3f}",
    )


if __name__ == "__main__":
    main()
