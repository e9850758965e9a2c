"""Every file of the chart that is generated here, and its content."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from observability import collector, dashboard, loader, pipeline, processor, rules

ROOT = Path(__file__).resolve().parents[1]
CHART = ROOT / "charts" / "pixelpipe"
HERE = ROOT / "observability"
RUNBOOKS = HERE / "runbooks"
FOLDERS = ("alerts", "rules", "dashboards")  # of the chart
BOARDS = {"pipeline": pipeline.ROWS, "collector": collector.ROWS, "processor": processor.ROWS, "loader": loader.ROWS}


def files() -> Iterator[tuple[Path, str]]:
    for source in sorted((*HERE.glob("alerts/*.yaml"), *HERE.glob("rules/*.yaml"))):
        yield CHART / source.relative_to(HERE), rules.handwritten(source)
    yield CHART / "rules" / "slo.yaml", rules.slo_rules()
    yield CHART / "rules" / "ledger.yaml", rules.ledger_rules()
    yield CHART / "alerts" / "slo.yaml", rules.slo_alerts()
    runbooks = sorted(RUNBOOKS.glob("*.md"))
    for name, rows in BOARDS.items():
        title = f"pixelpipe / {name.capitalize()}"
        yield CHART / "dashboards" / f"{name}.json", dashboard.dumped(f"pixelpipe-{name}", title, rows, runbooks)
    yield CHART / "dashboards" / "runbooks.json", dashboard.book(runbooks)


def left_over() -> list[Path]:
    """Files in the chart's folders that nothing generates any more. The dashboard's picture is drawn elsewhere."""
    there = {path for folder in FOLDERS for path in (CHART / folder).iterdir() if path.suffix != ".png"}
    return sorted(there - {path for path, _ in files()})
