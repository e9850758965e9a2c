"""The chart's rules: handwritten files with their scope filled in, the ledger's, and those of the three objectives.

In alerts/*.yaml and rules/*.yaml `$scope` stands for the labels that select one release. Each objective gets the same
recordings and burn-rate alerts.

Multi-window burn rates: an alert needs the error budget of 30 days to burn at that rate in a long window, and still in
a short one, so that it ends soon after the trouble does. Fewer than MINIMUM events in the long window say nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from services.shared import reconciliation

SCOPE = 'namespace="default",release="pixelpipe"'  # the chart puts its own in
MINIMUM = 100  # events in the long window
WINDOWS = ("5m", "30m", "1h", "2h", "6h", "1d", "3d")
# How many times faster than the budget allows, and in which long and short window.
PAGE = ((14.4, "1h", "5m"), (6, "6h", "30m"))
TICKET = ((3, "1d", "2h"), (1, "3d", "6h"))
LONG = tuple(long for _, long, _ in (*PAGE, *TICKET))
_MADE = "# Made by `make dashboards` from {}.\n"
_HERE = "observability/rules.py"


@dataclass(frozen=True)
class Objective:
    """`bad` and `total` are series of counters; `users` is what a failure means to them."""

    name: str
    alert: str
    total: tuple[str, ...]
    bad: tuple[str, ...]
    good: str | None  # where the bad are those of `total` that are not here
    severities: tuple[str, ...]
    summary: str
    users: str


OBJECTIVES = (
    Objective(
        "availability",
        "PixelpipeAvailabilityBurn",
        (
            f'pixelpipe_collector_http_responses_total{{{SCOPE},kind=~"pixel|events|tracker|redirect|hook"}}',
            f"pixelpipe_collector_connections_refused_total{{{SCOPE}}}",
        ),
        (
            f'pixelpipe_collector_http_responses_total{{{SCOPE},kind=~"pixel|events|tracker|redirect|hook",status=~"5.."}}',
            f"pixelpipe_collector_connections_refused_total{{{SCOPE}}}",
        ),
        None,
        ("page", "ticket"),
        "Collectors answer 5xx",
        "of the requests are answered 5xx: those hits are lost unless their sender tries again.",
    ),
    Objective(
        "freshness",
        "PixelpipeFreshnessBurn",
        (f"pixelpipe_loader_end_to_end_seconds_count{{{SCOPE}}}",),
        (),
        f'pixelpipe_loader_end_to_end_seconds_bucket{{{SCOPE},le=~"10(\\\\.0)?"}}',
        ("page", "ticket"),
        "Rows arrive late",
        "of the rows took longer than 10 s from their receipt into BigQuery.",
    ),
    Objective(
        "validity",
        "PixelpipeValidityBurn",
        (f"pixelpipe_processor_hits_total{{{SCOPE}}}",),
        (
            f"pixelpipe_processor_rejects_total{{{SCOPE}}}",
            f"pixelpipe_loader_rows_rejected_total{{{SCOPE}}}",
        ),
        None,
        ("ticket",),
        "Many hits are rejected",
        "of the hits become rows of rejects instead of events.",
    ),
)


def handwritten(source: Path) -> str:
    """The text of a file of alerts/ or rules/, with the scope filled in."""
    return _MADE.format(f"observability/{source.parent.name}/{source.name}") + source.read_text().replace(
        "$scope", SCOPE
    )


def slo_rules() -> str:
    """The file of recordings: per objective and window, the share of bad events, and how many there were."""
    lines = [_MADE.format(_HERE) + "groups:\n  - name: pixelpipe-slo\n    rules:\n"]
    for one in OBJECTIVES:
        for window in WINDOWS:
            lines.append(_record(f"pixelpipe:slo_errors:ratio_rate{window}", _ratio(one, window), one.name))
        for window in LONG:
            lines.append(
                _record(f"pixelpipe:slo_events:increase{window}", _sum(one.total, "increase", window), one.name)
            )
    return "".join(lines)


def slo_alerts() -> str:
    """The file of burn-rate alerts."""
    lines = [_MADE.format(_HERE) + "groups:\n  - name: pixelpipe-burn-rates\n    rules:\n"]
    for one in OBJECTIVES:
        for severity in one.severities:
            burns = " or ".join(_burn(one, *rate) for rate in (PAGE if severity == "page" else TICKET))
            lines.append(
                f"      - alert: {one.alert}\n        expr: >-\n          {burns}\n"
                f"        labels: {{severity: {severity}}}\n        annotations:\n"
                f"          runbook_url: runbooks/{one.alert}.md\n"
                f"          summary: {one.summary}\n"
                "          description: >-\n            {{ $value | humanizePercentage }} "
                f"{one.users}\n"
            )
    return "".join(lines)


def ledger_rules() -> str:
    """The file that records the ledger of the last hour."""
    lines = [_MADE.format(_HERE) + "groups:\n  - name: pixelpipe-ledger\n    rules:\n"]
    settled = f"sum(rate(pixelpipe_collector_hits_settled_total{{{SCOPE}}}[5m])) or vector(0)"
    for name, expression in (
        ("missing:hits1h", reconciliation.missing("1h", SCOPE)),
        ("in_flight:hits1h", reconciliation.in_flight("1h", SCOPE)),
        ("collected:hits1h", reconciliation.total(reconciliation.COLLECTED, "1h", SCOPE)),
        ("collected:rate5m", settled),
    ):
        lines.append(_record(f"pixelpipe:ledger_{name}", " ".join(expression.split())))
    for name in reconciliation.HOPS:
        lines.append(_record("pixelpipe:ledger_hop:hits1h", reconciliation.hop(name, "1h", SCOPE), hop=name))
    return "".join(lines)


def _ratio(one: Objective, window: str) -> str:
    """Without a value where there were no events, so that nothing is divided by nothing."""
    total = _sum(one.total, "rate", window)
    if one.good is not None:
        return f"1 - {_sum((one.good,), 'rate', window)} / ({total} > 0)"
    bad = " + ".join(f"({_sum((series,), 'rate', window)} or 0 * ({total}))" for series in one.bad)
    return f"({bad}) / ({total} > 0)"


def _sum(series: tuple[str, ...], how: str, window: str) -> str:
    return " + ".join(f"sum by (namespace, release) ({how}({one}[{window}]))" for one in series)


def _burn(one: Objective, times: float, long: str, short: str) -> str:
    chosen = f'{{{SCOPE},slo="{one.name}"}}'
    budget = f"{times} * (1 - pixelpipe:slo_objective:ratio{chosen})"
    return (
        f"(pixelpipe:slo_errors:ratio_rate{long}{chosen} > {budget}"
        f" and pixelpipe:slo_errors:ratio_rate{short}{chosen} > {budget}"
        f" and pixelpipe:slo_events:increase{long}{chosen} > {MINIMUM})"
    )


def _record(name: str, expression: str, slo: str = "", **more: str) -> str:
    labels = {**({"slo": slo} if slo else {}), **more, "namespace": "default", "release": "pixelpipe"}
    shown = ", ".join(f"{key}: {value}" for key, value in labels.items())
    return f"      - record: {name}\n        expr: >-\n          {expression}\n        labels: {{{shown}}}\n"
