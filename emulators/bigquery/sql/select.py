"""SELECT: its clauses, in the order in which BigQuery resolves names, to one DuckDB query."""

from __future__ import annotations

from sqlglot import exp

from emulators.bigquery.errors import invalid_query, unsupported
from emulators.bigquery.sql import conditions, grouping, ordering
from emulators.bigquery.sql.casts import boolean
from emulators.bigquery.sql.compiler import compile_, handles_query
from emulators.bigquery.sql.dialect import only
from emulators.bigquery.sql.expr import NONE, NULL, Expr, groupable
from emulators.bigquery.sql.scope import Output, Relation, Scope
from emulators.bigquery.sql.select_list import Item, items_of, unambiguous
from emulators.bigquery.sql.sources import from_clause

SELECT_PARTS = (
    "expressions", "from_", "joins", "where", "group", "having", "qualify", "order", "limit", "offset", "distinct",
    "with_", "windows", "kind",
)  # fmt: skip

BARE = {
    "where": "have a WHERE clause",
    "group": "have a GROUP BY clause",
    "having": "have a HAVING clause",
    "qualify": "have a QUALIFY clause",
    "order": "have an ORDER BY clause",
    "distinct": "use SELECT DISTINCT",
}


@handles_query(exp.Select)
def _select(node: exp.Select, outer: Scope) -> Relation:
    only(node, *SELECT_PARTS)
    if str(node.args.get("kind") or "STRUCT").upper() != "STRUCT":
        raise unsupported(f"SELECT AS {node.args['kind']}")
    scope = outer.child()
    context = scope.context
    for window in node.args.get("windows") or []:
        scope.named_windows[window.this.name.lower()] = window
    scope.forbid("FROM clause")
    clauses = [from_clause(node, scope)]
    where = node.args.get("where")
    if where is not None:
        scope.forbid("WHERE clause")
        clauses.append(" WHERE " + conditions.filtered(where.this, scope))
    without = None if node.args.get("from_") is not None else "SELECT without FROM clause"
    if without is not None:
        _check_bare(node)
    scope.forbid(without)
    items = items_of(node, scope)
    names = {item.name.lower(): item for item in items if item.alias and item.name is not None}
    group = node.args.get("group")
    keys = grouping.keys_of(group, items, names, scope)
    if keys is not None:
        listed = ", ".join(key.sql for key in keys)
        clauses.append(" GROUP BY " + (f"ROLLUP ({listed})" if grouping.rollup(group) is not None else listed or "()"))
    written, also_read = _group_conditions(node, names, scope)
    clauses += written
    aggregate = keys is not None or any(part.aggregate for part in [*(item.expr for item in items), *also_read])
    distinct = bool(node.args.get("distinct"))
    if distinct:
        only(node.args["distinct"])
        for item in items:
            groupable(item.expr, "SELECT DISTINCT")
    limited = node.args.get("limit") is not None or node.args.get("offset") is not None
    outputs = tuple(
        Output(
            item.name,
            context.column(),
            item.expr.type,
            item.expr.reads,
            NONE if limited else _filterable(item.expr, keys if aggregate else None, aggregate, scope),
        )
        for item in items
    )
    listed = ", ".join(f"{_typed(item.expr)} AS {output.sql}" for item, output in zip(items, outputs, strict=True))
    sql = f"SELECT {'DISTINCT ' if distinct else ''}{listed}{''.join(clauses)}"
    if distinct:
        return ordering.finished(Relation(sql, outputs), node, outer)
    tail = ordering.order(node, items, names, scope) + ordering.limits(node, scope)
    return Relation(sql + tail, outputs)


def _group_conditions(node: exp.Select, names: dict[str, Item], scope: Scope) -> tuple[list[str], list[Expr]]:
    """HAVING and QUALIFY, as DuckDB text and as what they read."""
    group = node.args.get("group")
    written: list[str] = []
    found: list[Expr] = []
    # Without rows there is no group at all, where DuckDB gives the one of everything.
    some = "count(*) > 0" if group is not None and grouping.rollup(group) is not None else None
    for clause in ("having", "qualify"):
        if node.args.get(clause) is None:
            if some and clause == "having":
                written.append(f" HAVING {some}")
            continue
        scope.aliases = unambiguous(names, scope, clause)
        scope.windows_allowed = "HAVING clause" if clause == "having" else None
        condition = boolean(compile_(node.args[clause].this, scope), f"{clause.upper()} clause")
        scope.aliases, scope.windows_allowed = {}, None
        also = f"{some} AND " if some and clause == "having" else ""
        written.append(f" {clause.upper()} {also}{condition.sql}")
        scope.context.reads |= condition.reads
        found.append(condition)
    return written, found


def _check_bare(node: exp.Select) -> None:
    """A query without FROM has one row, of which there is nothing to choose, group or sort."""
    for part, words in BARE.items():
        if node.args.get(part):
            raise invalid_query(f"Query without FROM clause cannot {words}")


def _typed(expr: Expr) -> str:
    """A bare NULL is an INT64 once it is a column."""
    return "CAST(NULL AS BIGINT)" if expr.type == NULL else expr.sql


def _filterable(expr: Expr, keys: list[Expr] | None, aggregate: bool, scope: Scope) -> frozenset[int]:
    """Scans that a condition on this column from outside would filter as well as one inside."""
    if not expr.partition or expr.probe is None:
        return NONE
    if aggregate and not any(key.sql == expr.sql for key in keys or []):
        return NONE
    kept = expr.partition
    for window in scope.windows:
        kept &= window
    return frozenset(scope.context.compute(number, expr.probe) for number in kept)
