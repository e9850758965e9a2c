"""A dashboard drawn from its JSON and what Prometheus answers: one page, laid out as Grafana would."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.dates import DateFormatter
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from observability.panel import CLOUD
from tests.observability.boards import board
from tests.observability.prometheus import Answer, Prometheus

COLUMN, ROW = 0.72, 0.36  # inches of Grafana's grid
_GAP = 0.10
_COLOURS = (
    "#3274d9",
    "#e0752d",
    "#56a64b",
    "#a352cc",
    "#e02f44",
    "#37872d",
    "#8f3bb8",
    "#b877d9",
    "#806eb7",
    "#705da0",
)
_UNITS = {
    "s": "s",
    "bytes": "B",
    "Bps": "B/s",
    "reqps": "/s",
    "wps": "/s",
    "cps": "/s",
    "short": "",
    "currencyUSD": "$",
}


def draw(prometheus: Prometheus, name: str, start: float, end: float, step: float, file: Path, note: str) -> None:
    """Ask every panel's queries between two times, and write the page as PNG."""
    mpl.use("Agg")
    found = board(name)
    height = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in found["panels"])
    page = Figure(figsize=(24 * COLUMN, height * ROW + 0.6), facecolor="white")
    page.text(0.005, 1 - 0.12 / page.get_figheight(), f"{found['title']}   {note}", fontsize=10, va="top")
    for panel in found["panels"]:
        at = panel["gridPos"]
        left, width = at["x"] / 24, at["w"] / 24
        total = page.get_figheight()
        top = 1 - (0.4 + at["y"] * ROW) / total
        if panel["type"] == "row":
            page.text(left + 0.005, top - 0.5 * ROW / total, panel["title"], fontsize=9, weight="bold", va="center")
            continue
        inner = at["h"] * ROW
        axes = page.add_axes(
            (
                left + 0.55 / page.get_figwidth(),
                top - (inner - 0.32) / total,
                width - 0.75 / page.get_figwidth(),
                (inner - 0.32 - 0.30 - _GAP) / total if panel["type"] != "stat" else (inner - 0.4) / total,
            )
        )
        page.text(left + 0.1 / page.get_figwidth(), top - 0.08 / total, panel["title"], fontsize=7.5, va="top")
        answers = [
            (target["legendFormat"], prometheus.range(_filled(target["expr"]), start, end, step))
            for target in panel["targets"]
        ]
        shown = [(_label(legend, one), one) for legend, series in answers for one in series]
        shown = [(label, one) for label, one in shown if any(not math.isnan(value) for _, value in one.values)]
        kind = {"timeseries": _lines, "stat": _stat, "heatmap": _heat}[panel["type"]]
        if shown:
            kind(axes, panel, shown, start, end)
        else:
            axes.set_axis_off()
            why = "needs Google Cloud's series" if CLOUD in panel["description"] else "none"
            axes.text(0.5, 0.5, why, ha="center", va="center", fontsize=8, color="grey")
    page.savefig(file, dpi=85, pil_kwargs={"optimize": True})


def _filled(expr: str) -> str:
    return re.sub(r"\$(cluster|namespace|release)", ".*", expr.replace("$__rate_interval", "5s"))


def _label(legend: str, one: Answer) -> str:
    return re.sub(r"\{\{(\w+)\}\}", lambda match: one.labels.get(match[1], ""), legend).strip()


def _said(value: float, unit: str) -> str:
    if unit == "percentunit":
        return f"{value:.1%}"
    if unit == "s" and 0 < value < 1:
        return f"{value * 1000:.3g} ms"
    for size, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g} {prefix}{_UNITS[unit]}".strip()
    return f"{value:.3g} {_UNITS[unit]}".strip()


def _frame(axes: Axes, panel: dict[str, Any], start: float, end: float) -> None:
    unit = panel["fieldConfig"]["defaults"]["unit"]
    axes.set_xlim(_at(start), _at(end))
    axes.xaxis.set_major_formatter(DateFormatter("%H:%M:%S"))
    axes.tick_params(labelsize=6, length=2)
    axes.locator_params(axis="x", nbins=4)
    axes.locator_params(axis="y", nbins=4)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _said(value, unit)))
    axes.grid(color="#eeeeee")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _at(seconds: float) -> float:
    """Days since 1970, which is how matplotlib counts."""
    return seconds / 86400


def _grid(shown: list[tuple[str, Answer]]) -> list[float]:
    """Every second between the first and the last value, so that a line breaks where there was none."""
    times = {at for _, one in shown for at, _ in one.values}
    first, last = min(times), max(times)
    return [first + place for place in range(round(last - first) + 1)]


def _lines(axes: Axes, panel: dict[str, Any], shown: list[tuple[str, Answer]], start: float, end: float) -> None:
    stacked = panel["fieldConfig"]["defaults"].get("custom", {}).get("stacking", {}).get("mode") == "normal"
    times = _grid(shown)
    under = [0.0] * len(times)
    for place, (label, one) in enumerate(shown):
        colour = _COLOURS[place % len(_COLOURS)]
        values = dict(one.values)
        line = [values.get(at, math.nan) for at in times]
        if stacked:
            top = [low + (0 if math.isnan(value) else value) for low, value in zip(under, line, strict=True)]
            axes.fill_between([_at(at) for at in times], under, top, color=colour, alpha=0.35, linewidth=0)
            under = line = top
        named = label if any(value for _, value in one.values if not math.isnan(value)) else None
        axes.plot([_at(at) for at in times], line, color=colour, linewidth=1, label=named)
    low, high = axes.get_ylim()
    for step in panel["fieldConfig"]["defaults"]["thresholds"]["steps"]:
        if step["value"] is not None and step["value"] <= high * 1.5:
            axes.axhline(step["value"], color=step["color"], linewidth=0.8, linestyle="--")
    axes.set_ylim(bottom=min(0.0, low))
    _frame(axes, panel, start, end)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(
            fontsize=5.5,
            ncol=5,
            loc="upper center",
            bbox_to_anchor=(0.5, -0.12),
            columnspacing=1,
            frameon=False,
            handlelength=1,
        )


def _stat(axes: Axes, panel: dict[str, Any], shown: list[tuple[str, Answer]], start: float, end: float) -> None:
    (_, one), *_ = shown
    value = next(value for _, value in reversed(one.values) if not math.isnan(value))
    defaults = panel["fieldConfig"]["defaults"]
    colour = "green"
    for step in defaults["thresholds"]["steps"]:
        if step["value"] is None or value >= step["value"]:
            colour = step["color"]
    axes.fill_between(
        [_at(at) for at, _ in one.values], 0, [value for _, value in one.values], color=colour, alpha=0.15
    )
    axes.set_axis_off()
    axes.text(
        0.5,
        0.5,
        _said(value, defaults["unit"]),
        transform=axes.transAxes,
        ha="center",
        va="center",
        fontsize=15,
        color=colour,
    )


def _heat(axes: Axes, panel: dict[str, Any], shown: list[tuple[str, Answer]], start: float, end: float) -> None:
    """Buckets are cumulative: each row is what its bucket has more than the one below."""
    buckets = sorted(shown, key=lambda pair: float(pair[1].labels["le"].replace("+Inf", "inf")))
    times = sorted({at for _, one in buckets for at, _ in one.values})
    rows, below = [], [0.0] * len(times)
    for _, one in buckets:
        values = dict(one.values)
        counts = [values.get(at, 0.0) for at in times]
        rows.append([max(0.0, mine - less) or math.nan for mine, less in zip(counts, below, strict=True)])
        below = counts
    axes.pcolormesh([_at(at) for at in times], range(len(rows)), rows, cmap="Blues", shading="nearest", vmin=0)
    _frame(axes, panel, start, end)
    axes.set_yticks(range(0, len(rows), 3), [buckets[place][0] for place in range(0, len(rows), 3)])
    axes.grid(visible=False)
