"""The dashboards as they lie in the chart, and their expressions with the variables filled in."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from observability.generate import CHART
from observability.panel import CLOUD

FILES = sorted((CHART / "dashboards").glob("*.json"))
FILLED = {"$__rate_interval": "30s", "$cluster": ".*", "$namespace": ".*", "$release": ".*"}
# A name in PromQL that is a metric of ours or of those who measure pods; not a label, which a brace or comma follows.
METRIC = re.compile(r"\b(?:pixelpipe|process|container|kube|pubsub)_[a-z0-9_]+(?::[a-z0-9_]+)?|\bpixelpipe:[a-z0-9_:]+")


@dataclass(frozen=True)
class Target:
    """One query of a panel."""

    board: str
    panel: str
    kind: str
    unit: str
    expr: str

    @property
    def id(self) -> str:
        return f"{self.board}: {self.panel}"


def board(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((CHART / "dashboards" / f"{name}.json").read_text())
    return found


def panels(name: str) -> Iterator[dict[str, Any]]:
    yield from (panel for panel in board(name)["panels"] if panel["type"] != "row")


def targets(*, cloud: bool) -> list[Target]:
    """The queries of all dashboards, of panels that need series of the cloud or of those that do not."""
    return [
        Target(file.stem, panel["title"], panel["type"], panel["fieldConfig"]["defaults"]["unit"], target["expr"])
        for file in FILES
        for panel in panels(file.stem)
        for target in panel.get("targets", ())
        if (CLOUD in panel["description"]) == cloud
    ]


def filled(expr: str) -> str:
    for variable, value in FILLED.items():
        expr = expr.replace(variable, value)
    return expr
