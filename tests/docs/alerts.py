"""The generated part of docs/operating.md: every alert with its severity, what it says, and its runbook."""

from __future__ import annotations

import yaml

from tests.chart.release import CHART
from tests.docs.markers import table


def alerts() -> str:
    severities: dict[str, set[str]] = {}
    for path in sorted((CHART / "alerts").glob("*.yaml")):
        for group in yaml.safe_load(path.read_text())["groups"]:
            for rule in group["rules"]:
                severities.setdefault(rule["alert"], set()).add(rule["labels"]["severity"])
    rows = []
    for name in sorted(severities):
        page = CHART / "runbooks" / f"{name}.md"
        fires = page.read_text().split("\n\n")[1].replace("\n", " ")
        link = f"[{name}](../{page.relative_to(CHART.parent.parent)})"
        rows.append((link, ", ".join(sorted(severities[name])), fires))
    return table(("alert and runbook", "severity", "it fires when"), rows)
