"""What dashboards are built of: a panel is its title, unit, what good looks like, and queries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from grafana_foundation_sdk.builders import common as common_builders
from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.builders import heatmap, prometheus, stat, timeseries
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import common, dashboard
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

SCOPE = 'cluster=~"$cluster",namespace=~"$namespace",release=~"$release"'
# Said in the description of a panel whose series come from elsewhere; the tests let those be empty here.
CLOUD = "Needs series of Google Cloud or the cluster."
RULES = "Needs the chart's recording rules."
DATASOURCE = dashboard.DataSourceRef(type_val="prometheus", uid="${datasource}")


@dataclass(frozen=True)
class Query:
    expr: str
    legend: str


@dataclass(frozen=True)
class Panel:
    """`warn` and `bad` are thresholds in the unit; `runbook` is an alert. The width is of 24."""

    title: str
    unit: str
    good: str
    queries: tuple[Query, ...]
    kind: str = "timeseries"
    width: int = 6
    height: int = 6
    warn: float | None = None
    bad: float | None = None
    runbook: str | None = None
    stacked: bool = False


Row = tuple[str, tuple[Panel, ...]]


def select(metric: str, *more: str) -> str:
    return f"{metric}{{{','.join((SCOPE, *more))}}}"


def rate(metric: str, *more: str, by: str = "") -> str:
    """A counter's sum a second, by labels."""
    grouped = f"sum by ({by})" if by else "sum"
    return f"{grouped} (rate({select(metric, *more)}[$__rate_interval]))"


def shares(metric: str, *more: str, legend: str = "") -> tuple[Query, ...]:
    """The p50, p95 and p99 of a histogram; nothing where nothing was observed."""
    return tuple(
        Query(f"histogram_quantile({q}, {rate(metric + '_bucket', *more, by='le')}) >= 0", f"{legend}p{q * 100:.0f}")
        for q in (0.5, 0.95, 0.99)
    )


def built(panel: Panel, number: int, links: Sequence[Builder[dashboard.DashboardLink]]) -> Builder[dashboard.Panel]:
    """Grafana's panel with this number."""
    make = {"timeseries": _timeseries, "stat": _stat, "heatmap": _heatmap}[panel.kind]
    one: Any = make(panel)  # a builder of one kind of panel; all have what follows
    for place, query in enumerate(panel.queries):
        target = (
            prometheus.Dataquery().expr(query.expr).legend_format(query.legend).ref_id(chr(ord("A") + place)).range()
        )
        if panel.kind == "heatmap":
            target = target.format(PromQueryFormat.HEATMAP)
        one = one.with_target(target)
    made: Builder[dashboard.Panel] = (
        one.id(number)
        .title(panel.title)
        .description(panel.good)
        .unit(panel.unit)
        .datasource(DATASOURCE)
        .span(panel.width)
        .height(panel.height)
        .links(list(links))
        .no_value("none yet")
    )
    return made


def _timeseries(panel: Panel) -> timeseries.Panel:
    made = (
        timeseries.Panel()
        .legend(
            common_builders.VizLegendOptions()
            .display_mode(common.LegendDisplayMode.LIST)
            .placement(common.LegendPlacement.BOTTOM)
            .show_legend(True)
        )
        .tooltip(common_builders.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI))
        .fill_opacity(20 if panel.stacked else 5)
        .axis_soft_min(0)
        .thresholds(_thresholds(panel))
    )
    if panel.stacked:
        made = made.stacking(common_builders.StackingConfig().mode(common.StackingMode.NORMAL))
    if panel.warn is not None or panel.bad is not None:
        style = common_builders.GraphThresholdsStyleConfig().mode(common.GraphThresholdsStyleMode.DASHED)
        made = made.thresholds_style(style)
    return made


def _stat(panel: Panel) -> stat.Panel:
    return (
        stat.Panel()
        .thresholds(_thresholds(panel))
        .graph_mode(common.BigValueGraphMode.AREA)
        .reduce_options(common_builders.ReduceDataOptions().calcs(["lastNotNull"]))
    )


def _heatmap(_panel: Panel) -> heatmap.Panel:
    return (
        heatmap.Panel()
        .calculate(False)
        .y_axis(heatmap.YAxisConfig().unit("s"))
        .color(heatmap.HeatmapColorOptions().scheme("Blues").steps(64))
        .show_legend()
    )


def _thresholds(panel: Panel) -> builders.ThresholdsConfig:
    steps = [dashboard.Threshold(value=None, color="green")]
    if panel.warn is not None:
        steps.append(dashboard.Threshold(value=panel.warn, color="orange"))
    if panel.bad is not None:
        steps.append(dashboard.Threshold(value=panel.bad, color="red"))
    return builders.ThresholdsConfig().mode(dashboard.ThresholdsMode.ABSOLUTE).steps(steps)
