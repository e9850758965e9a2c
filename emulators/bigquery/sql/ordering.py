"""ORDER BY, LIMIT and OFFSET, inside a SELECT and outside of a query."""

from __future__ import annotations

from dataclasses import replace

from sqlglot import exp

from emulators.bigquery.errors import invalid_query
from emulators.bigquery.sql import aggregates
from emulators.bigquery.sql.compiler import compile_, handles_query, query
from emulators.bigquery.sql.dialect import only
from emulators.bigquery.sql.expr import NONE, Expr
from emulators.bigquery.sql.scope import Relation, Scope, Source
from emulators.bigquery.sql.select_list import Item


def order(node: exp.Expression, items: list[Item], names: dict[str, Item], scope: Scope) -> str:
    clause = node.args.get("order")
    if clause is None:
        return ""
    only(clause, "expressions")
    scope.aliases = {name: item.expr for name, item in names.items()}

    def key(given: exp.Expression) -> Expr:
        if isinstance(given, exp.Literal) and not given.is_string:
            index = int(given.this) if given.this.isdigit() else 0
            if not 1 <= index <= len(items):
                raise invalid_query(f"ORDER BY column number {given.this} is not in the SELECT list")
            return items[index - 1].expr
        return compile_(given, scope)

    written, keys = aggregates.order_by(clause, key)
    scope.aliases = {}
    for found in keys:
        scope.context.reads |= found.reads
    return written


def limits(node: exp.Expression, scope: Scope) -> str:
    written = ""
    for word in ("limit", "offset"):
        clause = node.args.get(word)
        if clause is None:
            continue
        only(clause, "expression")
        number = compile_(clause.expression, scope)
        if number.type != "INT64" or not number.literal:
            raise invalid_query(f"{word.upper()} expects an integer literal or parameter")
        written += f" {word.upper()} {number.sql}"
    return written


def finished(relation: Relation, node: exp.Expression, outer: Scope) -> Relation:
    """The query with the ORDER BY and LIMIT that stand outside of it, where only its own columns have names."""
    if not any(node.args.get(part) is not None for part in ("order", "limit", "offset")):
        return relation
    scope = outer.child()
    source = Source(None, scope.context.unique(), list(relation.outputs))
    scope.sources.append(source)
    items = [Item(source.column(output), output.name, False) for output in relation.outputs]
    tail = order(node, items, {}, scope) + limits(node, scope)
    outputs = tuple(replace(output, partition=NONE) for output in relation.outputs)
    if node.args.get("limit") is None and node.args.get("offset") is None:
        outputs = relation.outputs
    return Relation(f"SELECT * FROM ({relation.sql}) AS {source.alias}{tail}", outputs)  # noqa: S608


@handles_query(exp.Subquery)
def _in_parentheses(node: exp.Subquery, outer: Scope) -> Relation:
    only(node, "this", "with_", "order", "limit", "offset", "alias")
    return finished(query(node.this, outer), node, outer)
