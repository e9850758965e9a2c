"""Tables of alerts: what each means, for docs/operating.md, and the fault that fires it in a test."""

from __future__ import annotations

import yaml

from tests.chart.release import CHART
from tests.docs.markers import table
from tests.observability.proofs import PROOFS
from tests.process import ROOT


def alerts() -> str:
    severities: dict[str, set[str]] = {}
    for path in sorted((CHART / "alerts").glob("*.yaml")):
        for group in yaml.safe_load(path.read_text())["groups"]:
            for rule in group["rules"]:
                severities.setdefault(rule["alert"], set()).add(rule["labels"]["severity"])
    rows = []
    for name in sorted(severities):
        page = ROOT / "observability" / "runbooks" / f"{name}.md"
        fires = page.read_text().split("\n\n")[1].replace("\n", " ")
        link = f"[{name}](../{page.relative_to(CHART.parent.parent)})"
        rows.append((link, ", ".join(sorted(severities[name])), fires))
    return table(("alert and runbook", "severity", "what it means"), rows)


def proofs() -> str:
    return table(("alert", "fault of the run"), ((alert, proof.fault) for alert, proof in PROOFS.items()))
