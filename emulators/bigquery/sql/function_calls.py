"""Function calls: which module translates a function, and what its arguments are there."""

from __future__ import annotations

from typing import Any

from sqlglot import exp

from emulators.bigquery.errors import invalid_query, unsupported
from emulators.bigquery.sql import (
    aggregates,
    casts,
    functions,
    json_path,
    patterns,
    percentile,
    times,
    to_json,
    windows,
)
from emulators.bigquery.sql.casts import coerce
from emulators.bigquery.sql.compiler import Node, compile_, handles, special_call
from emulators.bigquery.sql.expr import Expr, coercible, integer
from emulators.bigquery.sql.scope import Scope

TIMES = ("CURRENT_DATE", "CURRENT_TIMESTAMP", "FORMAT_TIMESTAMP", "FORMAT_DATE", "PARSE_TIMESTAMP", "PARSE_DATE")

KNOWN = {*TIMES, *json_path.NAMES, *patterns.NAMES, *functions.SIGNATURES, *functions.COMPOSED}


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
    if (special := special_call(name)) is not None:
        return special(name, nodes, scope)
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
        raise invalid_query(f"{name} is not an aggregate function")
    return _plain(name, arguments, scope)


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


def _count(name: str, given: list[Any], least: int, most: int) -> None:
    if not least <= len(given) <= most:
        raise invalid_query(f"Number of arguments does not match for function {name}")
