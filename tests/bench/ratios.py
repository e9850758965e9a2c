"""Ratios of a quick run against those stored in ratios.json. Pure but for that file.

Only what holds on any machine: one thing's CPU over another's, both measured in turn.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.bench.figure import Figure
from tests.bench.report import rounded

FILE = Path(__file__).with_name("ratios.json")
WORST = 0.30  # beyond which a ratio that became worse is a failure
UNITS = "_units"  # at the end of a name: what one event takes, less is better; of all others more is


@dataclass(frozen=True)
class Compared:
    """`worse` is 0.3 where an event takes 30 % more CPU than stored, below 0 where it takes less."""

    name: str
    stored: float | None
    now: Figure

    @property
    def worse(self) -> float:
        if self.stored is None:
            return 0.0
        if self.name.endswith(UNITS):
            return self.now.value / self.stored - 1
        return self.stored / self.now.value - 1 if self.now.value else float("inf")

    @property
    def failed(self) -> bool:
        """A ratio that is too unsteady says nothing."""
        return self.now.steady and self.worse > WORST

    @property
    def verdict(self) -> str:
        if self.stored is None:
            return "nothing stored"
        if not self.now.steady:
            return f"too unsteady to compare: {self.now.spread:.0%}"
        return f"{abs(self.worse):.0%} {'worse' if self.worse > 0 else 'better'}" + (" - FAILED" if self.failed else "")


def of(figures: Mapping[str, Figure]) -> dict[str, Figure]:
    """Those among the figures, and of rates what one event takes in units."""
    found = {name: figure for name, figure in figures.items() if "_vs_" in name}
    for name, figure in figures.items():
        if figure.units is not None:
            found[name.removesuffix("_per_s") + UNITS] = figure.units
    return found


def compare(found: Mapping[str, Figure], stored: Mapping[str, float]) -> list[Compared]:
    """Each that was found."""
    return [Compared(name, stored.get(name), figure) for name, figure in found.items()]


def parts(names: Iterable[str], measured: Iterable[str]) -> list[str]:
    """Those among the measured parts that these ratios are of; `protocol_a_vs_b` is one of `protocols`."""
    return [part for part in measured if any(name.startswith(part.removesuffix("s")) for name in names)]


def read() -> dict[str, float]:
    return dict(json.loads(FILE.read_text())) if FILE.exists() else {}


def store(found: Mapping[str, Figure]) -> None:
    """Write the steady ones; of those that are not, and of parts that did not run, what was stored stays."""
    values = {**read(), **{name: rounded(figure.value) for name, figure in found.items() if figure.steady}}
    FILE.write_text(json.dumps(dict(sorted(values.items())), indent=1) + "\n")
