"""Queries inside expressions: scalar, EXISTS, IN and ARRAY."""

from __future__ import annotations

from sqlglot import exp

from emulators.bigquery.errors import invalid_query, unsupported
from emulators.bigquery.nested_types import array_of
from emulators.bigquery.sql import operators, structs
from emulators.bigquery.sql.casts import coerce
from emulators.bigquery.sql.compiler import Node, calls, handles, query
from emulators.bigquery.sql.expr import Expr, combined, supertype
from emulators.bigquery.sql.scope import Relation, Scope


def subquery(node: exp.Expression, outer: Scope) -> Relation:
    """A query inside another, which sees the names of the other."""
    relation = query(node, outer)
    return structs.as_struct(relation, outer) if _selects_struct(node) else relation


def _selects_struct(node: exp.Expression) -> bool:
    while isinstance(node, exp.Subquery):
        node = node.this
    return isinstance(node, exp.Select) and str(node.args.get("kind") or "").upper() == "STRUCT"


def in_query(value: Expr, query: Node, scope: Scope) -> Expr:
    relation = subquery(query, scope)
    if len(relation.outputs) != 1:
        raise invalid_query(f"Subquery of type IN must have only one output column, has {len(relation.outputs)}")
    output = relation.outputs[0]
    inner = Expr(output.sql, output.type, constant=False, reads=output.reads)
    type_ = supertype([value, inner], "operator IN")
    operators.equatable(type_, "IN")
    if type_ == "FLOAT64":
        raise unsupported("IN with a subquery of FLOAT64")
    sql = f"({coerce(value, type_).sql} IN (SELECT {coerce(inner, type_).sql} FROM ({relation.sql})))"  # noqa: S608
    return combined(sql, "BOOL", [value, inner])


@handles(exp.Exists)
def _exists(node: exp.Exists, scope: Scope) -> Expr:
    relation = subquery(node.this, scope)
    return Expr(f"EXISTS ({relation.sql})", "BOOL", constant=False)


@handles(exp.Subquery)
def _scalar(node: exp.Subquery, scope: Scope) -> Expr:
    relation = subquery(node, scope)
    if len(relation.outputs) != 1:
        raise invalid_query(f"Scalar subquery cannot have more than one column, has {len(relation.outputs)}")
    output = relation.outputs[0]
    return Expr(f"({relation.sql})", output.type, constant=False, reads=output.reads)


@calls("ARRAY")
def _array_of_query(name: str, nodes: list[Node], scope: Scope) -> Expr:
    if len(nodes) != 1 or not isinstance(nodes[0], exp.Query):
        raise invalid_query("Syntax error: ARRAY( takes a subquery; elements stand in brackets: [1, 2]")
    relation = subquery(nodes[0], scope)
    if len(relation.outputs) != 1:
        raise invalid_query("ARRAY subquery cannot have more than one column unless using SELECT AS STRUCT")
    output = relation.outputs[0]
    return Expr(f"ARRAY({relation.sql})", array_of(output.type), constant=False, reads=output.reads)
