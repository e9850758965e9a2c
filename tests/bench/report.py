"""What a run of the bench found: as a table, as `.local/bench.json`, and in BENCH.md. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.bench import targets
from tests.bench.figure import Figure, median

COLUMNS = ("figure", "value", "spread", "units", "target", "verdict")
REFUSED = "refused"
BEGIN, END = "<!-- written by make bench -->", "<!-- end -->"


@dataclass
class Report:
    """`said` are lines on what was not measured."""

    figures: dict[str, Figure] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)
    _units: list[Figure] = field(default_factory=list)

    def add(self, found: Mapping[str, Figure]) -> None:
        """The figures of one part; `unit_us` may be in several."""
        for name, figure in found.items():
            if name == "unit_us":
                self._units.append(figure)
            else:
                self.figures[name] = figure

    @property
    def unit(self) -> Figure | None:
        """The median of the parts' units. It is never refused: without it no other figure can be read."""
        return median([one.value for one in self._units]) if self._units else None

    def rows(self) -> list[tuple[str, str, str, str, str, str]]:
        """The table's, as text, in the order of COLUMNS."""
        unit_us = self.unit.value if self.unit else None
        found = []
        for name, figure in self.figures.items():
            spread = f"{figure.spread:.0%}" if figure.spread else ""
            target = str(targets.TARGETS.get(name, ""))
            if not figure.steady:
                found.append((name, REFUSED, spread, "", target, ""))
                continue
            units = f"{figure.units.value:.3g}" if figure.units is not None and figure.units.steady else ""
            found.append((name, number(figure.value), spread, units, target, targets.verdict(name, figure, unit_us)))
        if self.unit:
            found.append(("unit_us", number(self.unit.value), f"{self.unit.spread:.0%}", "", "", ""))
        return found

    def missed(self) -> list[str]:
        """Promises that do not hold."""
        rows = {row[0]: row[-1] for row in self.rows()}
        return [name for name in targets.PROMISED if rows.get(name) == targets.MISSED]

    def json(self) -> str:
        """Numbers by name; what is too unsteady to be a number stands under `refused` with its spread."""
        steady = {name: rounded(figure.value) for name, figure in self.figures.items() if figure.steady}
        unsteady = {
            name: {"value": rounded(figure.value), "spread": rounded(figure.spread)}
            for name, figure in self.figures.items()
            if not figure.steady
        }
        unit = {"unit_us": rounded(self.unit.value)} if self.unit else {}
        return json.dumps({**steady, **unit, REFUSED: unsteady}, indent=1) + "\n"

    def markdown(self, machine: str) -> str:
        """The part of BENCH.md between the markers."""
        lines = [machine, "", _line(COLUMNS), _line(["---"] * len(COLUMNS))]
        lines += [_line([f"`{row[0]}`", *row[1:]]) for row in self.rows()]
        for said in self.said:
            lines += ["", said]
        return "\n".join(lines)


def written(document: str, part: str) -> str:
    """The document with what is between its markers replaced. Raises ValueError if it has none."""
    before, _, rest = document.partition(BEGIN)
    _, found, after = rest.partition(END)
    if not found:
        raise ValueError(f"there is no {BEGIN} … {END} to write between")
    return f"{before}{BEGIN}\n\n{part}\n\n{END}{after}"


def rounded(value: float) -> float:
    """Four digits: more is noise."""
    return float(f"{value:.4g}")


def number(value: float) -> str:
    return f"{rounded(value):,.10g}"


def _line(cells: list[str] | tuple[str, ...]) -> str:
    return f"| {' | '.join(cells)} |"
