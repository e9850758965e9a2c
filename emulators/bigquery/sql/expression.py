"""Operators, conditionals and constructors, each to DuckDB text with BigQuery's meaning."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sqlglot import exp

from emulators.bigquery.errors import invalid_query, unsupported
from emulators.bigquery.sql import casts, grammar, json_path, operators, times
from emulators.bigquery.sql.casts import boolean, coerce
from emulators.bigquery.sql.compiler import Node, compile_, handles
from emulators.bigquery.sql.expr import (
    NULL,
    Expr,
    bound_once,
    coercible,
    combined,
    duckdb_type,
    element,
    integer,
    is_array,
    supertype,
)
from emulators.bigquery.sql.function_calls import interval
from emulators.bigquery.sql.scope import Scope
from emulators.bigquery.sql.subqueries import in_query


@handles(exp.Paren)
def _paren(node: exp.Paren, scope: Scope) -> Expr:
    inner = compile_(node.this, scope)
    probe = None if inner.probe is None else f"({inner.probe})"
    return replace(inner, sql=f"({inner.sql})", probe=probe)


@handles(exp.Cast, exp.TryCast)
def _cast(node: exp.Cast, scope: Scope) -> Expr:
    value = compile_(node.this, scope)
    type_ = casts.sql_type(node.to)
    if isinstance(node.this, exp.Array) and value.type == f"ARRAY<{NULL}>":
        return replace(value, sql=f"CAST([] AS {duckdb_type(type_)})", type=type_)
    if isinstance(node.this, (exp.Array, exp.Struct)):
        # A constructor with its type: ARRAY<STRUCT<a INT64>>[…], STRUCT<a INT64>(…).
        if not coercible(value, type_):
            raise invalid_query(f"{value.type} cannot be the value of {type_}")
        return coerce(value, type_)
    result = casts.cast(value, type_, safe=isinstance(node, exp.TryCast))
    return replace(result if result.constant or value.type != type_ else value, literal=False)


@handles(exp.ParseJSON)
def _json_literal(node: exp.ParseJSON, scope: Scope) -> Expr:
    return json_path.call("PARSE_JSON", [compile_(node.this, scope)])


@handles(exp.Array)
def _array(node: exp.Array, scope: Scope) -> Expr:
    items = [compile_(item, scope) for item in node.expressions]
    type_ = supertype(items, "array construction") if items else NULL
    if is_array(type_):
        raise invalid_query("Cannot construct array with element type ARRAY")
    items = [coerce(item, type_) for item in items] if type_ != NULL else items
    sql = f"CAST([{', '.join(item.sql for item in items)}] AS {duckdb_type(type_)}[])"
    return replace(combined(sql, f"ARRAY<{type_}>", items), literal=all(item.literal for item in items))


@handles(exp.Bracket)
def _bracket(node: exp.Bracket, scope: Scope) -> Expr:
    value = compile_(node.this, scope)
    if len(node.expressions) != 1:
        raise invalid_query("Subscript access takes one index")
    index = compile_(node.expressions[0], scope)
    if value.type == "JSON":
        key = node.expressions[0]
        if isinstance(key, exp.Literal) and node.args.get("offset") is None:
            return json_path.field(value, key.this if key.is_string else int(key.this))
        raise unsupported("a JSON subscript that is not a literal")
    if index.type == NULL:
        index = coerce(index, "INT64")
    if not is_array(value.type) or index.type != "INT64":
        raise invalid_query(f"Subscript access is not supported on type {value.type} with {index.type}")
    offset = node.args.get("offset")
    if offset is None:
        offset = 0
    place = f"bq_place({index.sql}, {1 - offset})"
    if node.args.get("safe"):
        sql = f"(CASE WHEN {place} >= 1 THEN {value.sql}[{place}] ELSE NULL END)"
    else:
        message = "'Array index ' || " + index.sql + " || ' is out of bounds'"
        sql = (
            f"(CASE WHEN {value.sql} IS NULL OR {place} BETWEEN 1 AND len({value.sql}) "
            f"THEN {value.sql}[{place}] ELSE error({message}) END)"
        )
    return combined(sql, element(value.type), [value, index])


@handles(exp.If)
def _if(node: exp.If, scope: Scope) -> Expr:
    if node.args.get("false") is None:
        raise invalid_query("Number of arguments does not match for function IF")
    condition = boolean(compile_(node.this, scope), "The first argument of IF")
    branches = [compile_(node.args["true"], scope), compile_(node.args["false"], scope)]
    type_ = supertype(branches, "function IF")
    yes, no = (coerce(branch, type_) for branch in branches)
    return combined(f"(CASE WHEN {condition.sql} THEN {yes.sql} ELSE {no.sql} END)", type_, [condition, yes, no])


@handles(exp.Case)
def _case(node: exp.Case, scope: Scope) -> Expr:
    conditions: list[Expr] = []
    subject = [compile_(node.this, scope)] if node.this is not None else []
    for branch in node.args["ifs"]:
        if subject:
            conditions.append(operators.compare("=", subject[0], compile_(branch.this, scope)))
        else:
            conditions.append(boolean(compile_(branch.this, scope), "CASE condition"))
    values = [compile_(branch.args["true"], scope) for branch in node.args["ifs"]]
    default = node.args.get("default")
    values.append(compile_(default, scope) if default is not None else Expr("NULL", NULL, literal=True, probe="NULL"))
    type_ = supertype(values, "CASE")
    values = [coerce(value, type_) for value in values]
    cases = " ".join(f"WHEN {c.sql} THEN {v.sql}" for c, v in zip(conditions, values[:-1], strict=True))
    sql = bound_once(f"(CASE {cases} ELSE {values[-1].sql} END)", subject)
    return combined(sql, type_, [*conditions, *values])


ARITHMETIC = {exp.Add: "+", exp.Sub: "-", exp.Mul: "*", exp.Div: "/"}

COMPARISONS = {exp.EQ: "=", exp.NEQ: "!=", exp.LT: "<", exp.LTE: "<=", exp.GT: ">", exp.GTE: ">="}


@handles(*ARITHMETIC)
def _arithmetic(node: exp.Binary, scope: Scope) -> Expr:
    operator = ARITHMETIC[type(node)]
    grammar.operands(operator, node.this, node.expression)
    if isinstance(node.expression, exp.Interval):
        value = compile_(node.this, scope)
        amount, part = interval(node.expression, scope)
        if operator not in "+-" or value.type not in ("DATE", "TIMESTAMP"):
            raise unsupported(f"{operator} of {value.type} and INTERVAL")
        if value.type == "DATE" and part not in times.DATE_PARTS:
            raise unsupported(f"DATE {operator} INTERVAL {part}, which gives a DATETIME")
        if value.type == "DATE":
            raise unsupported(f"DATE {operator} INTERVAL, which gives a DATETIME: use DATE_ADD or DATE_SUB")
        return times.shift(f"TIMESTAMP_{'ADD' if operator == '+' else 'SUB'}", value, amount, part)
    return operators.arithmetic(operator, compile_(node.this, scope), compile_(node.expression, scope))


@handles(*COMPARISONS)
def _comparison(node: exp.Binary, scope: Scope) -> Expr:
    grammar.operands(COMPARISONS[type(node)], node.this, node.expression)
    return operators.compare(COMPARISONS[type(node)], compile_(node.this, scope), compile_(node.expression, scope))


@handles(exp.NullSafeEQ, exp.NullSafeNEQ)
def _distinct_from(node: exp.Binary, scope: Scope) -> Expr:
    equal = isinstance(node, exp.NullSafeEQ)
    return operators.distinct_from(compile_(node.this, scope), compile_(node.expression, scope), equal=equal)


@handles(exp.And, exp.Or)
def _logic(node: exp.Binary, scope: Scope) -> Expr:
    word = "AND" if isinstance(node, exp.And) else "OR"
    # Long chains lean to the left, and would exhaust the stack one by one.
    terms: list[Node] = []
    here: Any = node
    while type(here) is type(node):
        terms.append(here.expression)
        here = here.this
    terms.append(here)
    return operators.logic(word, [compile_(term, scope) for term in reversed(terms)])


@handles(exp.Not)
def _not(node: exp.Not, scope: Scope) -> Expr:
    inner = node.this
    if isinstance(inner, exp.Is) and isinstance(inner.expression, exp.Null):
        return operators.is_null(compile_(inner.this, scope), negated=True)
    grammar.operands("NOT", inner)
    value = boolean(compile_(inner, scope), "Operand of NOT")
    return combined(f"(NOT {value.sql})", "BOOL", [value])


@handles(exp.Is)
def _is(node: exp.Is, scope: Scope) -> Expr:
    value = compile_(node.this, scope)
    if isinstance(node.expression, exp.Null):
        return operators.is_null(value, negated=False)
    if isinstance(node.expression, exp.Boolean):
        value = boolean(value, "Operand of IS")
        truth = "TRUE" if node.expression.this else "FALSE"
        return combined(f"({value.sql} IS NOT DISTINCT FROM {truth})", "BOOL", [value])
    raise unsupported(f"IS {node.expression.sql(dialect='bigquery')}")


@handles(exp.Neg)
def _neg(node: exp.Neg, scope: Scope) -> Expr:
    if isinstance(node.this, exp.Literal) and not node.this.is_string and node.this.this.isdigit():
        return integer(-int(node.this.this))
    grammar.operands("-", node.this)
    return operators.negate(compile_(node.this, scope))


@handles(exp.DPipe)
def _concat(node: exp.DPipe, scope: Scope) -> Expr:
    grammar.operands("||", node.this, node.expression)
    return operators.concatenate(compile_(node.this, scope), compile_(node.expression, scope))


@handles(exp.Like)
def _like(node: exp.Like, scope: Scope) -> Expr:
    grammar.operands("NOT LIKE" if node.args.get("negate") else "LIKE", node.this, node.expression)
    found = operators.like(compile_(node.this, scope), compile_(node.expression, scope))
    return combined(f"(NOT {found.sql})", "BOOL", [found]) if node.args.get("negate") else found


@handles(exp.Between)
def _between(node: exp.Between, scope: Scope) -> Expr:
    value = compile_(node.this, scope)
    low, high = compile_(node.args["low"], scope), compile_(node.args["high"], scope)
    return operators.between(value, low, high)


@handles(exp.In)
def _in(node: exp.In, scope: Scope) -> Expr:
    value = compile_(node.this, scope)
    if node.args.get("query") is not None:
        return in_query(value, node.args["query"], scope)
    if node.args.get("unnest") is not None:
        array = compile_(node.args["unnest"].expressions[0], scope)
        if not is_array(array.type):
            raise invalid_query(f"Second argument of IN UNNEST must be an array but was {array.type}")
        return operators.in_array(value, array)
    if not node.expressions:
        raise invalid_query("Syntax error: Expected a list after IN")
    return operators.in_list(value, [compile_(item, scope) for item in node.expressions])
