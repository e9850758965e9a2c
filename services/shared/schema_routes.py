"""Which tables no event can ever reach. Pure.

An event goes to the first table, in the order of the file, all of whose conditions hold, and to all copies whose do;
see `Parser` in the processor.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from services.shared.schema import Source, Table

_Conditions = dict[Source, frozenset[str]]  # the values of a source that the table takes


@dataclass
class _Alike:
    """Earlier tables with conditions on the same sources, found by any value they take."""

    taking: dict[tuple[Source, str], list[tuple[str, _Conditions]]] = field(default_factory=lambda: defaultdict(list))

    def add(self, name: str, conditions: _Conditions) -> None:
        for source, values in conditions.items():
            for value in values:
                self.taking[source, value].append((name, conditions))

    def find(self, wanted: _Conditions, sources: frozenset[Source]) -> str | None:
        """A table that takes everything the conditions let through."""
        # Such a table takes every value of every source: the rarest value leaves the fewest to look at.
        few = min((self.taking.get((source, next(iter(wanted[source]))), []) for source in sources), key=len)
        return next((name for name, taken in few if all(wanted[source] <= taken[source] for source in sources)), None)


def unreachable(tables: Iterable[Table]) -> Iterator[tuple[Table, list[str]]]:
    """Each table without events, with the names of those before it that take them; none if it contradicts itself."""
    alike: dict[frozenset[Source], _Alike] = defaultdict(_Alike)
    catch_all: str | None = None
    for table in tables:
        conditions = _conditions(table)
        if table.copy:
            if not all(conditions.values()):
                yield table, []
        elif catch_all is not None:
            yield table, [catch_all]
        elif not all(conditions.values()):
            yield table, []
        elif takers := _takers(conditions, alike):
            yield table, takers
        elif not conditions:
            catch_all = table.name
        else:
            alike[frozenset(conditions)].add(table.name, conditions)


def _conditions(table: Table) -> _Conditions:
    found: _Conditions = {}
    for condition in table.conditions:
        found[condition.source] = found.get(condition.source, condition.values) & condition.values
    return found


def _takers(wanted: _Conditions, alike: dict[frozenset[Source], _Alike]) -> list[str]:
    """Tables that together take all events of the conditions, one for each value of some source; empty if none do."""
    before = [(sources, found) for sources, found in alike.items() if sources <= wanted.keys()]
    for source, values in wanted.items() if before else ():
        takers: dict[str, None] = {}
        for value in sorted(values):
            one = {**wanted, source: frozenset({value})}
            name = next((name for sources, found in before if (name := found.find(one, sources))), None)
            if name is None:
                break
            takers[name] = None
        else:
            return list(takers)
    return []
