"""Expressions over STRUCT and ARRAY values: constructors, fields, and rows of FROM as values."""

from __future__ import annotations

from dataclasses import replace

from sqlglot import exp

from emulators.bigquery.errors import invalid_query, unsupported
from emulators.bigquery.nested_types import is_struct
from emulators.bigquery.sql import json_path, nested
from emulators.bigquery.sql.compiler import Node, calls, compile_, handles
from emulators.bigquery.sql.expr import Expr
from emulators.bigquery.sql.scope import Output, Relation, Scope, Source


@calls("STRUCT")
def _struct(name: str, nodes: list[Node], scope: Scope) -> Expr:
    items: list[tuple[str, Expr]] = []
    for node in nodes:
        value = compile_(node.this if isinstance(node, exp.Alias) else node, scope)
        items.append((node.alias if isinstance(node, exp.Alias) else value.name or "", value))
    return nested.build(items)


@handles(exp.Tuple)
def _tuple(node: exp.Tuple, scope: Scope) -> Expr:
    return nested.build([("", compile_(item, scope)) for item in node.expressions])


@handles(exp.Struct)
def _typed_struct(node: exp.Struct, scope: Scope) -> Expr:
    """The values of STRUCT<…>(…), which the type around them names."""
    return nested.build([("", compile_(item, scope)) for item in node.expressions])


@handles(exp.Dot)
def _dot(node: exp.Dot, scope: Scope) -> Expr:
    if not isinstance(node.expression, exp.Identifier):
        raise unsupported(f"{node.sql(dialect='bigquery')[:200]}")
    return member(compile_(node.this, scope), node.expression.name)


def member(value: Expr, name: str) -> Expr:
    """`value.name` of a STRUCT or a JSON value."""
    if is_struct(value.type):
        return nested.field(value, name)
    if value.type != "JSON":
        raise invalid_query(f"Cannot access field {name} on a value with type {value.type}")
    return replace(json_path.field(value, name), name=name)


def row(source: Source) -> Expr:
    """A row of FROM as a STRUCT, for an alias that stands where a value is expected."""
    if source.whole is not None:
        return source.column(source.whole)
    if source.padded:
        raise unsupported(f"the row {source.name} as a value after an outer join")
    value = nested.build([(output.name or "", source.column(output)) for output in source.outputs])
    return replace(value, name=source.name)


def as_struct(relation: Relation, scope: Scope) -> Relation:
    """SELECT AS STRUCT: the columns of a query as one."""
    value = nested.build(
        [(output.name or "", Expr(output.sql, output.type, constant=False)) for output in relation.outputs]
    )
    reads = frozenset().union(*(output.reads for output in relation.outputs))
    output = Output(None, scope.context.column(), value.type, reads)
    return Relation(f"SELECT {value.sql} AS {output.sql} FROM ({relation.sql})", (output,))  # noqa: S608
