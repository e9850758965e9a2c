"""Every file of the chart that is made here, and what should stand in it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from services.local.mixin import board, collector, loader, pipeline, processor, rules

CHART = Path(__file__).resolve().parents[3] / "charts" / "pixelpipe"
BOARDS = {"pipeline": pipeline.ROWS, "collector": collector.ROWS, "processor": processor.ROWS, "loader": loader.ROWS}


def files() -> Iterator[tuple[Path, str]]:
    yield CHART / "rules" / "slo.yaml", rules.slo_rules()
    yield CHART / "rules" / "ledger.yaml", rules.ledger_rules()
    yield CHART / "alerts" / "slo.yaml", rules.slo_alerts()
    runbooks = sorted((CHART / "runbooks").glob("*.md"))
    for name, rows in BOARDS.items():
        title = f"pixelpipe / {name.capitalize()}"
        yield CHART / "dashboards" / f"{name}.json", board.dumped(f"pixelpipe-{name}", title, rows, runbooks)
    yield CHART / "dashboards" / "runbooks.json", board.book(runbooks)
