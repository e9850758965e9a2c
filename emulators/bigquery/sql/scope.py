"""What names mean at one place of a query: the sources in FROM, the columns they have, and the scopes around them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from sqlglot import exp

from emulators.bigquery.catalog import Catalog, Table
from emulators.bigquery.errors import invalid_query
from emulators.bigquery.sql.expr import NONE, NOTHING, PARTITION, Expr, Read

MAX_VIEW_DEPTH = 16  # BigQuery's limit for views of views
MAX_SCANS = 500  # table references once views and WITH are written out


@dataclass
class Scan:
    """One reading of a stored table: its conditions on the partition column, in DuckDB terms."""

    table: Table
    probes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Output:
    """A column of a source or of a query's result."""

    name: str | None  # as the user wrote it; None for an anonymous one
    sql: str  # the DuckDB column name, quoted
    type: str
    reads: frozenset[Read] = NOTHING
    partition: frozenset[int] = NONE
    required: bool = False


@dataclass(frozen=True)
class Relation:
    """A query that can stand in parentheses."""

    sql: str
    outputs: tuple[Output, ...]


@dataclass
class Source:
    """One item of FROM; `alias` is the DuckDB name, which nothing else in the statement has."""

    name: str | None
    alias: str
    outputs: list[Output]
    table: Table | None = None
    whole: Output | None = None  # the row itself, where FROM has it as one value
    padded: bool = False  # whether an outer join may have put NULLs in the place of a row

    def column(self, output: Output) -> Expr:
        return Expr(
            f"{self.alias}.{output.sql}",
            output.type,
            constant=False,
            reads=output.reads,
            partition=output.partition,
            probe=PARTITION if output.partition else None,
            name=output.name,
        )

    def find(self, name: str) -> list[Output]:
        return [output for output in self.outputs if output.name is not None and output.name.lower() == name.lower()]


@dataclass
class Context:
    """What a whole statement shares."""

    catalog: Catalog
    project: str
    default: tuple[str, str] | None  # project and dataset of names without one
    named: Mapping[str, Expr]
    positional: Sequence[Expr]
    now: dt.datetime
    scans: list[Scan] = field(default_factory=list)
    reads: set[Read] = field(default_factory=set)
    tables: dict[tuple[str, str, str], Table] = field(default_factory=dict)  # all that it names, for statistics
    # What else picks partitions of a scan: columns computed from its partition column, by a number below 0.
    computed: dict[int, tuple[int, str]] = field(default_factory=dict)
    count: int = 0
    views: tuple[str, ...] = ()  # those being written out
    arguments: Mapping[str, Expr] = field(default_factory=dict)  # of the table function being written out
    filters_required: bool = True  # whether a table that requires a partition filter gets its way

    def unique(self) -> str:
        self.count += 1
        return f"s{self.count}"

    def column(self) -> str:
        self.count += 1
        return f'"${self.count}"'

    @contextmanager
    def written_out(self, what: str, title: str, project: str, arguments: Mapping[str, Expr]) -> Iterator[None]:
        """While a view or function is put in the place of its name: names in it mean what they mean there."""
        if len(self.views) >= MAX_VIEW_DEPTH or title in self.views:
            raise invalid_query(f"{what} {title} is nested too deeply, or in itself")
        before = self.project, self.default, self.views, self.arguments
        self.project, self.default, self.views, self.arguments = project, None, (*self.views, title), arguments
        try:
            yield
        finally:
            self.project, self.default, self.views, self.arguments = before

    def scan(self, table: Table) -> int:
        if len(self.scans) >= MAX_SCANS:
            raise invalid_query(f"Query is too complex: it reads more than {MAX_SCANS} tables")
        self.scans.append(Scan(table))
        self.tables[table.key] = table
        return len(self.scans) - 1

    def compute(self, number: int, probe: str) -> int:
        """The number of a column that is computed from the partition column, or from another such column."""
        if probe == PARTITION:
            return number
        self.computed[-1 - len(self.computed)] = (number, probe)
        return -len(self.computed)

    def probed(self, number: int, probe: str) -> tuple[Scan, str]:
        """The scan behind a number, and the probe in terms of its own partition column."""
        while number < 0:
            number, inner = self.computed[number]
            probe = probe.replace(PARTITION, inner)
        return self.scans[number], probe


@dataclass(frozen=True)
class With:
    """A WITH item: translated anew wherever it is named, as BigQuery does, so each reading is filtered on its own."""

    query: exp.Expression
    scope: Scope


@dataclass
class Scope:
    """One SELECT's names. `outer` is the scope of the query around it, for correlated subqueries."""

    context: Context
    outer: Scope | None = None
    sources: list[Source] = field(default_factory=list)
    with_items: dict[str, With] = field(default_factory=dict)
    merged: dict[str, Expr] = field(default_factory=dict)  # columns of USING, which belong to no side
    aliases: dict[str, Expr] = field(default_factory=dict)  # of the select list, where the clause may name them
    windows: list[frozenset[int]] = field(default_factory=list)  # partition columns in each PARTITION BY
    named_windows: dict[str, exp.Window] = field(default_factory=dict)
    aggregates_allowed: str | None = None  # None allows; else the clause that does not
    windows_allowed: str | None = None

    def child(self) -> Scope:
        return Scope(self.context, outer=self)

    def forbid(self, clause: str | None) -> None:
        """Refuse aggregates and analytic functions in the clause that follows; None allows them again."""
        self.aggregates_allowed = self.windows_allowed = clause

    def with_item(self, name: str) -> With | None:
        scope: Scope | None = self
        while scope is not None:
            if name.lower() in scope.with_items:
                return scope.with_items[name.lower()]
            scope = scope.outer
        return None

    def source(self, name: str) -> Source | None:
        """The source of that name here or around."""
        scope: Scope | None = self
        while scope is not None:
            for source in scope.sources:
                if source.name is not None and source.name.lower() == name.lower():
                    return source
            scope = scope.outer
        return None

    def bare(self, name: str) -> Expr | None:
        """The column of that name in any source here, else around; ApiError when two sources have it."""
        lowered = name.lower()
        if lowered in self.aliases:
            return self.aliases[lowered]
        if lowered in self.merged:
            return self.merged[lowered]
        found = [(source, output) for source in self.sources for output in source.find(name)]
        if len(found) > 1:
            raise invalid_query(f"Column name {name} is ambiguous")
        if found:
            return found[0][0].column(found[0][1])
        return self.outer.bare(name) if self.outer is not None else self.context.arguments.get(lowered)
