"""GROUP BY: keys, ALL and ROLLUP."""

from __future__ import annotations

from dataclasses import replace

from sqlglot import exp

from emulators.bigquery.errors import invalid_query, unsupported
from emulators.bigquery.sql.compiler import compile_
from emulators.bigquery.sql.dialect import only
from emulators.bigquery.sql.expr import Expr, groupable
from emulators.bigquery.sql.scope import Scope
from emulators.bigquery.sql.select_list import Item, unambiguous


def keys_of(node: exp.Expression | None, items: list[Item], names: dict[str, Item], scope: Scope) -> list[Expr] | None:
    if node is None:
        return None
    if node.args.get("all"):
        only(node, "all")
        return _all_keys(items, scope)
    only(node, "expressions")
    listed = rollup(node)
    keys: list[Expr] = []
    scope.forbid("GROUP BY clause")
    for given in (listed or node).expressions:
        if isinstance(given, exp.Literal) and not given.is_string:
            index = int(given.this) if given.this.isdigit() else 0
            if not 1 <= index <= len(items):
                raise invalid_query(f"GROUP BY column number {given.this} is not in the SELECT list")
            key = items[index - 1].expr
        elif isinstance(given, exp.Column) and len(given.parts) == 1 and given.name.lower() in names:
            key = unambiguous(names, scope, "GROUP BY", given.name.lower())[given.name.lower()]
        else:
            key = compile_(given, scope)
        if key.aggregate or key.window:
            raise invalid_query("Aggregate and analytic functions are not allowed in GROUP BY")
        keys.append(groupable(key, "Grouping by expressions"))
        scope.context.reads |= key.reads
    scope.forbid(None)
    # DuckDB would take a constant for a position.
    return [replace(key, sql=f"({key.sql})") if key.constant else key for key in keys]


def _all_keys(items: list[Item], scope: Scope) -> list[Expr]:
    """GROUP BY ALL: every item that depends on a row and on no others."""
    keys = [item.expr for item in items if not (item.expr.aggregate or item.expr.window or item.expr.constant)]
    for key in keys:
        scope.context.reads |= groupable(key, "Grouping by expressions").reads
    return keys


def rollup(node: exp.Expression | None) -> exp.Expression | None:
    """The ROLLUP that the clause consists of; ApiError when it has one beside other keys."""
    found = [item for item in node.expressions if isinstance(item, exp.Rollup)] if node is not None else []
    if found and (node is None or len(node.expressions) != 1):
        raise unsupported("GROUP BY with ROLLUP and other keys")
    return found[0] if found else None
