"""Literals, and parameters, which are literals given apart."""

from __future__ import annotations

from sqlglot import exp

from emulators.bigquery.errors import invalid_query, unsupported
from emulators.bigquery.sql.compiler import handles
from emulators.bigquery.sql.expr import NULL, Expr, integer, string
from emulators.bigquery.sql.scope import Scope


@handles(exp.Literal)
def _literal(node: exp.Literal, scope: Scope) -> Expr:
    if node.is_string:
        return string(node.this)
    if node.this.isdigit():
        return integer(int(node.this))
    sql = f"CAST('{node.this}' AS DOUBLE)"  # as written: a NUMERIC made of it takes the digits, not the nearest double
    return Expr(sql, "FLOAT64", literal=True, probe=sql)


@handles(exp.RawString)
def _raw_string(node: exp.RawString, scope: Scope) -> Expr:
    return string(node.this)


@handles(exp.HexString)
def _hex(node: exp.HexString, scope: Scope) -> Expr:
    return integer(int(node.this, 16))


@handles(exp.Boolean)
def _boolean(node: exp.Boolean, scope: Scope) -> Expr:
    sql = "TRUE" if node.this else "FALSE"
    return Expr(sql, "BOOL", literal=True, probe=sql)


@handles(exp.Null)
def _null(node: exp.Null, scope: Scope) -> Expr:
    return Expr("NULL", NULL, literal=True, probe="NULL")


@handles(exp.Parameter)
def _parameter(node: exp.Parameter, scope: Scope) -> Expr:
    # Clients that quote every name write @`name`.
    if not isinstance(node.this, (exp.Var, exp.Identifier)):
        raise unsupported("system variables")
    found = scope.context.named.get(node.this.name.lower())
    if found is None:
        raise invalid_query(f"Query parameter '{node.this.name}' not found")
    return found


@handles(exp.Placeholder)
def _placeholder(node: exp.Placeholder, scope: Scope) -> Expr:
    # Positional parameters are numbered when the statement is read, since an expression may be translated twice.
    index = node.meta.get("position")
    if not isinstance(index, int) or index >= len(scope.context.positional):
        raise invalid_query("Query parameter not found: there are more ? than positional parameters")
    return scope.context.positional[index]
