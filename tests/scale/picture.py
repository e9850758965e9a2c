"""The pictures of docs/scale.md."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from services.ops import prices
from tests.scale.day import Day

_COLOURS = {"collector": "#2f6fdb", "processor": "#d97a2b", "loader": "#3f9a57"}
_INK, _GRID = "#4a5260", "#e4e7ec"


def one_day(found: Day, rate: int, file: Path) -> None:
    """Hits, pods and the longest way to a row through one day."""
    hours = [minute / 60 for minute in range(len(found.minutes))]
    page = _page(7.2)
    traffic, pods, way = page.subplots(3, 1, sharex=True)
    traffic.fill_between(hours, [one.rate for one in found.minutes], color="#c9d8f5", linewidth=0)
    traffic.plot(hours, [one.rate for one in found.minutes], color=_COLOURS["collector"], linewidth=1)
    _title(traffic, f"Hits a second: {rate:,} on average, with three spikes")
    for name, colour in _COLOURS.items():
        counts = [one.pods[name] for one in found.minutes]
        pods.step(hours, counts, color=colour, linewidth=1.4, label=name, where="post")
    pods.legend(frameon=False, ncols=3, loc="upper left", labelcolor=_INK)
    pods.set_ylim(0, 1.35 * max(found.most_pods.values()))
    _title(pods, "Pods, those that start included")
    way.plot(hours, [one.seconds for one in found.minutes], color=_INK, linewidth=1)
    _title(way, "Seconds from a hit to its row, the longest of each minute")
    way.set_xlim(0, 24)
    way.set_xticks(range(0, 25, 3), [f"{hour:02}:00" for hour in range(0, 25, 3)])
    _save(page, file)


def rates(days: Mapping[int, Day], file: Path) -> None:
    """What each rate takes: dollars a million, and pods."""
    page = _page(3.2)
    dollars, pods = page.subplots(1, 2)
    x = list(days)
    dollars.plot(
        x,
        [one.dollars / (rate * prices.HOURS * 3600) * 1e6 for rate, one in days.items()],
        color=_COLOURS["collector"],
        marker="o",
    )
    _title(dollars, "Dollars a million hits")
    for name, colour in _COLOURS.items():
        pods.plot(x, [one.most_pods[name] for one in days.values()], color=colour, marker="o", label=name)
    pods.legend(frameon=False, labelcolor=_INK)
    _title(pods, "Pods at most")
    for axes in (dollars, pods):
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlabel("hits a second on average", color=_INK, fontsize=9)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
    _save(page, file)


def _page(height: float) -> Figure:
    mpl.use("Agg")
    return Figure(figsize=(9, height), facecolor="white", layout="constrained")


def _title(axes: Axes, text: str) -> None:
    axes.set_title(text, loc="left", fontsize=10, color=_INK)
    axes.grid(axis="y", color=_GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=_INK, labelsize=8, length=0, which="both")
    for side in axes.spines.values():
        side.set_visible(False)


def _save(page: Figure, file: Path) -> None:
    page.savefig(file, dpi=110, metadata={"Software": None})
