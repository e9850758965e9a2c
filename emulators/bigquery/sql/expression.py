"""Expressions: every node of the syntax tree that is understood, each to DuckDB text with BigQuery's meaning."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from sqlglot import exp

from emulators.bigquery.errors import invalid_query, unsupported
from emulators.bigquery.sql import (
    aggregates,
    casts,
    functions,
    grammar,
    json_path,
    operators,
    patterns,
    percentile,
    times,
    to_json,
    windows,
)
from emulators.bigquery.sql.casts import boolean, coerce
from emulators.bigquery.sql.dialect import only
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
from emulators.bigquery.sql.parts import PARTS
from emulators.bigquery.sql.scope import Scope

Node = exp.Expression
_handlers: dict[type[Any], Callable[[Any, Scope], Expr]] = {}
Call = Callable[[str, list[Node], Scope], Expr]
_calls: dict[str, Call] = {}


def handles(*kinds: type[Any]) -> Callable[[Callable[[Any, Scope], Expr]], Callable[[Any, Scope], Expr]]:
    def register(handler: Callable[[Any, Scope], Expr]) -> Callable[[Any, Scope], Expr]:
        _handlers.update(dict.fromkeys(kinds, handler))
        return handler

    return register


def calls(*names: str) -> Callable[[Call], Call]:
    """Register functions that have a module of their own; each gets its name and its arguments as they were written."""

    def register(handler: Call) -> Call:
        _calls.update(dict.fromkeys(names, handler))
        return handler

    return register


def compile_(node: Node, scope: Scope) -> Expr:
    """Translate one expression; ApiError invalidQuery for what is wrong or not known."""
    handler = _handlers.get(type(node))
    if handler is None:
        raise unsupported(f"{type(node).__name__}: {node.sql(dialect='bigquery')[:200]}")
    only(node, *PARTS.get(type(node), ("this", "expression")))
    return handler(node, scope)


@handles(exp.Paren)
def _paren(node: exp.Paren, scope: Scope) -> Expr:
    inner = compile_(node.this, scope)
    probe = None if inner.probe is None else f"({inner.probe})"
    return replace(inner, sql=f"({inner.sql})", probe=probe)


@handles(exp.Column)
def _column(node: exp.Column, scope: Scope) -> Expr:
    path = [part.name for part in node.parts]
    return resolve(path, scope)


def resolve(path: list[str], scope: Scope) -> Expr:
    """A dotted name: source.column, column, and fields of a STRUCT or JSON column after either."""
    from emulators.bigquery.sql.structs import member, row

    found: Expr | None = None
    source = scope.source(path[0]) if len(path) > 1 else None
    if source is not None:
        outputs = source.find(path[1])
        if not outputs:
            raise invalid_query(f"Name {path[1]} not found inside {path[0]}")
        if len(outputs) > 1:
            raise invalid_query(f"Column name {path[1]} is ambiguous")
        found, rest = source.column(outputs[0]), path[2:]
    else:
        found, rest = scope.bare(path[0]), path[1:]
        if found is None and (source := scope.source(path[0])) is not None:
            found = row(source)
        if found is None:
            raise invalid_query(f"Unrecognized name: {'.'.join(path)}")
    for key in rest:
        found = member(found, key)
    return found


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
        raise unsupported("a JSON subscript that is no literal")
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


def interval(node: exp.Interval, scope: Scope) -> tuple[Expr, str]:
    """The number and the part of INTERVAL 3 DAY; an expression may stand in the place of the number."""
    if node.this is None or node.args.get("unit") is None:
        raise unsupported("this form of INTERVAL")
    number = node.this
    if isinstance(number, exp.Literal) and number.is_string:
        if not number.this.lstrip("-").isdigit():
            raise unsupported(f"INTERVAL '{number.this}'")
        return integer(int(number.this)), times.part_of(node.args["unit"])
    return compile_(number, scope), times.part_of(node.args["unit"])


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
        return _in_query(value, node.args["query"], scope)
    if node.args.get("unnest") is not None:
        array = compile_(node.args["unnest"].expressions[0], scope)
        if not is_array(array.type):
            raise invalid_query(f"Second argument of IN UNNEST must be an array but was {array.type}")
        return operators.in_array(value, array)
    if not node.expressions:
        raise invalid_query("Syntax error: Expected a list after IN")
    return operators.in_list(value, [compile_(item, scope) for item in node.expressions])


def _in_query(value: Expr, query: Node, scope: Scope) -> Expr:
    from emulators.bigquery.sql import select

    relation = select.subquery(query, scope)
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
    from emulators.bigquery.sql import select

    relation = select.subquery(node.this, scope)
    return Expr(f"EXISTS ({relation.sql})", "BOOL", constant=False)


@handles(exp.Subquery)
def _scalar(node: exp.Subquery, scope: Scope) -> Expr:
    from emulators.bigquery.sql import select

    relation = select.subquery(node, scope)
    if len(relation.outputs) != 1:
        raise invalid_query(f"Scalar subquery cannot have more than one column, has {len(relation.outputs)}")
    output = relation.outputs[0]
    return Expr(f"({relation.sql})", output.type, constant=False, reads=output.reads)


@handles(exp.Extract)
def _extract(node: exp.Extract, scope: Scope) -> Expr:
    value, zone = node.expression, None
    if isinstance(value, exp.AtTimeZone):
        value, zone = value.this, compile_(value.args["zone"], scope)
    return times.extract(compile_(value, scope), times.part_of(node.this), zone)


@handles(exp.CurrentDate, exp.CurrentTimestamp)
def _now(node: Node, scope: Scope) -> Expr:
    return _current("CURRENT_DATE" if isinstance(node, exp.CurrentDate) else "CURRENT_TIMESTAMP", [], scope)


def _current(name: str, arguments: list[Expr], scope: Scope) -> Expr:
    moment = f"CAST('{scope.context.now:%Y-%m-%d %H:%M:%S.%f}+00' AS TIMESTAMP WITH TIME ZONE)"
    now = Expr(moment, "TIMESTAMP", probe=moment)
    if name == "CURRENT_TIMESTAMP" and not arguments:
        return now
    if name == "CURRENT_DATE" and len(arguments) <= 1:
        sql = f"CAST({times.zoned(now, arguments[0] if arguments else None)} AS DATE)"
        return Expr(sql, "DATE", probe=sql)
    raise invalid_query(f"Number of arguments does not match for function {name}")


@handles(exp.Window)
def _window(node: exp.Window, scope: Scope) -> Expr:
    call = node.this
    if not isinstance(call, exp.Anonymous):
        raise unsupported(f"OVER after {node.this.sql(dialect='bigquery')[:100]}")
    return windows.call(call.name.upper(), call.expressions, node, scope, compile_)


@handles(exp.Anonymous)
def _function(node: exp.Anonymous, scope: Scope) -> Expr:
    name = node.name.upper()
    nodes = node.expressions
    if name in _calls:
        return _calls[name](name, nodes, scope)
    if name in aggregates.NAMES:
        return windows.aggregate(name, nodes, scope, compile_)
    if name in aggregates.ONLY_OVER or name == percentile.NAME:
        raise invalid_query(f"Analytic function {name} cannot be called without an OVER clause")
    if name in ("DATE_ADD", "DATE_SUB", "TIMESTAMP_ADD", "TIMESTAMP_SUB"):
        if len(nodes) != 2 or not isinstance(nodes[1], exp.Interval):
            raise invalid_query(f"No matching signature for function {name}: the second argument must be an INTERVAL")
        amount, part = interval(nodes[1], scope)
        return times.shift(name, compile_(nodes[0], scope), amount, part)
    if name in ("DATE_DIFF", "TIMESTAMP_DIFF"):
        _count(name, nodes, 3, 3)
        return times.difference(name, compile_(nodes[0], scope), compile_(nodes[1], scope), times.part_of(nodes[2]))
    if name in ("DATE_TRUNC", "TIMESTAMP_TRUNC"):
        _count(name, nodes, 2, 3)
        zone = compile_(nodes[2], scope) if len(nodes) == 3 else None
        return times.truncate(name, compile_(nodes[0], scope), times.part_of(nodes[1]), zone)
    if name in to_json.NAMES:
        return to_json.call(name, nodes, lambda argument: compile_(argument, scope))
    if name not in KNOWN:
        raise unsupported(f"the function {name}")
    arguments = [compile_(argument, scope) for argument in nodes]
    if any(isinstance(argument, (exp.Distinct, exp.Order, exp.Limit)) for argument in nodes):
        raise invalid_query(f"{name} is no aggregate function")
    return _plain(name, arguments, scope)


TIMES = ("CURRENT_DATE", "CURRENT_TIMESTAMP", "FORMAT_TIMESTAMP", "FORMAT_DATE", "PARSE_TIMESTAMP", "PARSE_DATE")
KNOWN = {*TIMES, *json_path.NAMES, *patterns.NAMES, *functions.SIGNATURES, *functions.COMPOSED}


def _plain(name: str, arguments: list[Expr], scope: Scope) -> Expr:
    if name in ("CURRENT_DATE", "CURRENT_TIMESTAMP"):
        return _current(name, arguments, scope)
    if name == "DATE" and len(arguments) == 2:
        return times.date_of(*arguments)
    if name in ("FORMAT_TIMESTAMP", "FORMAT_DATE"):
        _count(name, arguments, 2, 3 if name == "FORMAT_TIMESTAMP" else 2)
        return times.format_time(name, arguments[0], arguments[1], arguments[2] if len(arguments) == 3 else None)
    if name in ("PARSE_TIMESTAMP", "PARSE_DATE"):
        _count(name, arguments, 2, 2)
        return times.parse_time(name, arguments[0], arguments[1])
    if name in json_path.NAMES:
        return json_path.call(name, arguments)
    if name in patterns.NAMES:
        return patterns.call(name, arguments)
    if (
        name == "TIMESTAMP"
        and len(arguments) == 1
        and coercible(arguments[0], "STRING")
        and arguments[0].type == "STRING"
    ):
        return _converted(arguments[0], "TIMESTAMP")
    if name == "DATE" and len(arguments) == 1 and arguments[0].type == "STRING":
        return _converted(arguments[0], "DATE")
    return functions.call(name, arguments)


def _converted(value: Expr, type_: str) -> Expr:
    return coerce(value, type_) if value.literal else casts.cast(value, type_, safe=False)


def _count(name: str, given: list[Any], least: int, most: int) -> None:
    if not least <= len(given) <= most:
        raise invalid_query(f"Number of arguments does not match for function {name}")
