"""Calls with OVER, and aggregates where they may and may not stand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from sqlglot import exp

from emulators.bigquery.errors import invalid_query, unsupported
from emulators.bigquery.sql import aggregates, percentile
from emulators.bigquery.sql.expr import Expr, groupable
from emulators.bigquery.sql.scope import Scope

CompileIn = Callable[[exp.Expression, Scope], Expr]
BOUNDS = {"UNBOUNDED": "UNBOUNDED", "CURRENT ROW": "CURRENT ROW"}


def aggregate(name: str, nodes: Sequence[exp.Expression], scope: Scope, compile_: CompileIn) -> Expr:
    if scope.aggregates_allowed is not None:
        raise invalid_query(f"Aggregate function {name} not allowed in {scope.aggregates_allowed}")
    before, scope.aggregates_allowed = scope.aggregates_allowed, "the arguments of an aggregate function"
    aliases, scope.aliases = scope.aliases, {}
    try:
        given = aggregates.read_arguments(name, nodes, lambda node: compile_(node, scope))
    finally:
        scope.aggregates_allowed = before
        scope.aliases = aliases
    return aggregates.call(name, given, None)


def call(name: str, nodes: Sequence[exp.Expression], node: exp.Window, scope: Scope, compile_: CompileIn) -> Expr:
    if scope.windows_allowed is not None:
        raise invalid_query(f"Analytic function {name} not allowed in {scope.windows_allowed}")
    over, keys = _over(node, scope, compile_)
    given = aggregates.read_arguments(name, nodes, lambda argument: compile_(argument, scope))
    if name in aggregates.NAMES:
        inner_aggregate = any(value.aggregate for value in given.values)
        result = replace(aggregates.call(name, given, over), aggregate=inner_aggregate)
    elif name in aggregates.ONLY_OVER:
        result = aggregates.over_only(name, given, over)
    elif name == percentile.NAME:
        result = percentile.call(given, over, framed="ORDER BY" in over or bool(node.args.get("spec")))
    else:
        raise unsupported(f"the analytic function {name}")
    reads = result.reads.union(*(key.reads for key in keys)) if keys else result.reads
    held = any(key.aggregate for key in keys)
    return replace(result, window=True, reads=reads, aggregate=result.aggregate or held, constant=False)


def _over(node: exp.Window, scope: Scope, compile_: CompileIn) -> tuple[str, list[Expr]]:
    """DuckDB's OVER clause. Notes the partition columns it keeps apart, since only those filter through it."""
    named = node.args.get("alias")
    if named is not None:
        spec = scope.named_windows.get(named.name.lower())
        if spec is None or node.args.get("partition_by") or node.args.get("order") or node.args.get("spec"):
            raise unsupported(f"the window {named.name}: only names of the WINDOW clause, used as they are")
        node = spec
    keys = [groupable(compile_(item, scope), "PARTITION BY") for item in node.args.get("partition_by") or []]
    if any(key.type == "FLOAT64" for key in keys):
        raise invalid_query("Partitioning by expressions of type FLOAT64 is not allowed")
    scope.windows.append(frozenset().union(*(key.partition for key in keys if key.name is not None)))
    parts: list[str] = []
    if keys:
        parts.append("PARTITION BY " + ", ".join(key.sql for key in keys))
    order = node.args.get("order")
    if order is not None:
        written, order_keys = aggregates.order_by(order, lambda item: compile_(item, scope))
        parts.append(written.strip())
        keys += order_keys
    frame = node.args.get("spec")
    if frame is not None:
        parts.append(_frame(frame))
    return f" OVER ({' '.join(parts)})", keys


def _frame(spec: exp.Expression) -> str:
    kind = str(spec.args.get("kind")).upper()
    start = _bound(spec, "start")
    end = _bound(spec, "end") if spec.args.get("end") is not None else "CURRENT ROW"
    numeric = any(side[0].isdigit() for side in (start, end))
    if kind not in ("ROWS", "RANGE") or (kind == "RANGE" and numeric) or spec.args.get("exclude") is not None:
        raise unsupported(f"the window frame {spec.sql(dialect='bigquery')}")
    return f"{kind} BETWEEN {start} AND {end}"


def _bound(spec: exp.Expression, side: str) -> str:
    value = spec.args.get(side)
    direction = str(spec.args.get(f"{side}_side") or "").upper()
    if isinstance(value, str):
        return f"{BOUNDS[value.upper()]} {direction}".strip()
    if isinstance(value, exp.Literal) and value.this.isdigit():
        return f"{value.this} {direction}"
    raise unsupported("a window frame bound that is not an integer literal")
