"""Every file of the chart that is made here, and what should stand in it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from observability import collector, dashboard, loader, pipeline, processor, rules

ROOT = Path(__file__).resolve().parents[1]
CHART = ROOT / "charts" / "pixelpipe"
RUNBOOKS = ROOT / "observability" / "runbooks"
BOARDS = {"pipeline": pipeline.ROWS, "collector": collector.ROWS, "processor": processor.ROWS, "loader": loader.ROWS}


def files() -> Iterator[tuple[Path, str]]:
    yield CHART / "rules" / "slo.yaml", rules.slo_rules()
    yield CHART / "rules" / "ledger.yaml", rules.ledger_rules()
    yield CHART / "alerts" / "slo.yaml", rules.slo_alerts()
    runbooks = sorted(RUNBOOKS.glob("*.md"))
    for name, rows in BOARDS.items():
        title = f"pixelpipe / {name.capitalize()}"
        yield CHART / "dashboards" / f"{name}.json", dashboard.dumped(f"pixelpipe-{name}", title, rows, runbooks)
    yield CHART / "dashboards" / "runbooks.json", dashboard.book(runbooks)
