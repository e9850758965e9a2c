"""Every file of the chart that is made here, and what should stand in it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from services.local.mixin import rules

CHART = Path(__file__).resolve().parents[3] / "charts" / "pixelpipe"


def files() -> Iterator[tuple[Path, str]]:
    yield CHART / "rules" / "slo.yaml", rules.slo_rules()
    yield CHART / "rules" / "ledger.yaml", rules.ledger_rules()
    yield CHART / "alerts" / "slo.yaml", rules.slo_alerts()
