"""Conditions of WHERE, ON and MERGE, and the partitions that they leave to be read."""

from __future__ import annotations

from sqlglot import exp

from emulators.bigquery.sql.casts import boolean
from emulators.bigquery.sql.compiler import compile_
from emulators.bigquery.sql.expr import PARTITION, Expr
from emulators.bigquery.sql.scope import Scope
from emulators.bigquery.table_schema import quote


def filtered(condition: exp.Expression, scope: Scope) -> str:
    """A WHERE condition as DuckDB text; notes what it says of partitions in the scans it speaks of."""
    written: list[str] = []
    for node in conjuncts(condition):
        part = boolean(compile_(node, scope), "WHERE clause")
        note(part, scope)
        written.append(part.sql)
    return " AND ".join(written)


def note(part: Expr, scope: Scope, among: frozenset[int] | None = None) -> None:
    """Remember a condition that must hold: what it reads, and which partitions it leaves of which scans."""
    scope.context.reads |= part.reads
    if part.probe is None:
        return
    for number in part.prunes if among is None else part.prunes & among:
        scan, probe = scope.context.probed(number, part.probe)
        if scan.table.partition is not None:
            scan.probes.append(probe.replace(PARTITION, quote(scan.table.partition)))


def conjuncts(node: exp.Expression) -> list[exp.Expression]:
    found: list[exp.Expression] = []
    waiting = [node]
    while waiting:
        here = waiting.pop()
        if isinstance(here, exp.Paren) and isinstance(here.this, (exp.And, exp.Paren)):
            waiting.append(here.this)
        elif isinstance(here, exp.And):
            waiting += [here.expression, here.this]
        else:
            found.append(here)
    return found
