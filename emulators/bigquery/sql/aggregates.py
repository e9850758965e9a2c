"""Aggregate functions, and the functions that need OVER."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from sqlglot import exp

from emulators.bigquery.errors import invalid_query, unsupported
from emulators.bigquery.sql.casts import boolean, coerce
from emulators.bigquery.sql.expr import Expr, coercible, combined, groupable, is_array, signature

NAMES = (
    "COUNT", "COUNTIF", "SUM", "AVG", "MIN", "MAX", "ANY_VALUE", "LOGICAL_AND", "LOGICAL_OR", "ARRAY_AGG", "STRING_AGG",
    "APPROX_COUNT_DISTINCT", "APPROX_QUANTILES", "STDDEV", "STDDEV_SAMP", "STDDEV_POP", "VARIANCE", "VAR_SAMP",
    "VAR_POP",
)  # fmt: skip
RANKS = {
    "ROW_NUMBER": "INT64",
    "RANK": "INT64",
    "DENSE_RANK": "INT64",
    "PERCENT_RANK": "FLOAT64",
    "CUME_DIST": "FLOAT64",
}
NAVIGATION = ("FIRST_VALUE", "LAST_VALUE", "NTH_VALUE", "LAG", "LEAD", "NTILE")
ONLY_OVER = (*RANKS, *NAVIGATION)
SPREAD = {"STDDEV": "stddev_samp", "STDDEV_SAMP": "stddev_samp", "STDDEV_POP": "stddev_pop"}
SPREAD |= {"VARIANCE": "var_samp", "VAR_SAMP": "var_samp", "VAR_POP": "var_pop"}

Compile = Callable[[exp.Expression], Expr]


@dataclass(frozen=True)
class Arguments:
    """What stands in the parentheses of an aggregate."""

    values: list[Expr]
    distinct: bool = False
    ignore_nulls: bool = False
    respect_nulls: bool = False
    order: str = ""  # DuckDB's ORDER BY, or nothing
    order_keys: tuple[Expr, ...] = ()
    limit: int | None = None
    star: bool = False


def read_arguments(name: str, nodes: Sequence[exp.Expression], compile_: Compile) -> Arguments:
    """DISTINCT, IGNORE NULLS, ORDER BY and LIMIT hang on whichever argument they follow."""
    found = Arguments([])
    for position, given in enumerate(nodes):
        node = given
        while True:
            if isinstance(node, exp.Limit):
                found = replace(found, limit=_limit(name, node.expression))
                node = node.this
            elif isinstance(node, exp.Order):
                sql, keys = order_by(node, compile_)
                found = replace(found, order=sql, order_keys=tuple(keys))
                node = node.this
            elif isinstance(node, exp.IgnoreNulls):
                found = replace(found, ignore_nulls=True)
                node = node.this
            elif isinstance(node, exp.RespectNulls):
                found = replace(found, respect_nulls=True)
                node = node.this
            elif isinstance(node, exp.Distinct) and position == 0 and node.args.get("on") is None:
                found = replace(found, distinct=True)
                found.values.extend(compile_(item) for item in node.expressions)
                break
            elif isinstance(node, exp.Star) and not node.args.get("except_") and not node.args.get("replace"):
                found = replace(found, star=True)
                break
            elif isinstance(node, exp.HavingMax):
                raise unsupported(f"HAVING inside {name}")
            else:
                found.values.append(compile_(node))
                break
    return found


def _limit(name: str, node: exp.Expression) -> int:
    if not isinstance(node, exp.Literal) or node.is_string:
        raise unsupported(f"a LIMIT inside {name} that is not an integer literal")
    return int(node.this)


def order_by(order: exp.Expression, compile_: Compile) -> tuple[str, list[Expr]]:
    """ORDER BY as DuckDB needs it to sort as BigQuery does: NULL before NaN before all numbers, ascending."""
    keys: list[Expr] = []
    written: list[str] = []
    for item in order.expressions:
        node = item.this if isinstance(item, exp.Ordered) else item
        key = groupable(compile_(node), "ORDER BY")
        descending = bool(isinstance(item, exp.Ordered) and item.args.get("desc"))
        nulls_first = bool(item.args.get("nulls_first")) if isinstance(item, exp.Ordered) else True
        keys.append(key)
        written += sort_key(key, descending=descending, nulls_first=nulls_first)
    return " ORDER BY " + ", ".join(written), keys


def sort_key(key: Expr, *, descending: bool, nulls_first: bool) -> list[str]:
    direction = f"{'DESC' if descending else 'ASC'} NULLS {'FIRST' if nulls_first else 'LAST'}"
    if key.type == "FLOAT64":
        return [f"NOT isnan({key.sql}) {direction}", f"{key.sql} {direction}"]
    return [f"{key.sql} {direction}"]


def call(name: str, given: Arguments, over: str | None) -> Expr:
    """An aggregate; `over` is DuckDB's OVER clause when it is used as a window function."""
    if given.star and (name != "COUNT" or given.values):
        raise invalid_query(f"Argument * can only be used in COUNT(*), not in {name}")
    if given.respect_nulls and name != "ARRAY_AGG":
        raise unsupported(f"RESPECT NULLS in {name}")
    if name not in ("ARRAY_AGG", "STRING_AGG") and (given.order or given.limit is not None):
        raise unsupported(f"ORDER BY or LIMIT inside {name}")
    if name not in ("ARRAY_AGG", "APPROX_QUANTILES") and given.ignore_nulls:
        raise unsupported(f"IGNORE NULLS in {name}")
    if given.distinct and given.values:
        groupable(given.values[0], f"{name} DISTINCT")
    sql, type_ = _written(name, given, over)
    parts = [*given.values, *given.order_keys]
    result = combined(sql, type_, parts, once=False)
    return replace(result, aggregate=True, constant=False, probe=None)


def _one(name: str, given: Arguments, *types: str) -> Expr:
    """The only argument, as the first of the types it can be."""
    if len(given.values) != 1:
        raise invalid_query(f"Number of arguments does not match for aggregate function {name}")
    value = given.values[0]
    if not types:
        return value
    for type_ in types:
        if value.type == type_:
            return value
    for type_ in types:
        if coercible(value, type_):
            return coerce(value, type_)
    raise invalid_query(f"No matching signature for aggregate function {name} for argument types: {value.type}")


def _written(name: str, given: Arguments, over: str | None) -> tuple[str, str]:
    tail = over or ""
    distinct = "DISTINCT " if given.distinct else ""
    if name == "COUNT":
        if given.star:
            return f"count(*){tail}", "INT64"
        return f"count({distinct}{_one(name, given).sql}){tail}", "INT64"
    if name == "COUNTIF":
        return f"count(CASE WHEN {boolean(_one(name, given), 'COUNTIF').sql} THEN 1 END){tail}", "INT64"
    if name == "APPROX_COUNT_DISTINCT":
        return f"count(DISTINCT {groupable(_one(name, given), name).sql}){tail}", "INT64"
    if name == "SUM":
        value = _one(name, given, "INT64", "NUMERIC", "FLOAT64")
        cast = {"INT64": "BIGINT", "NUMERIC": "DECIMAL(38,9)", "FLOAT64": "DOUBLE"}[value.type]
        sql = f"CAST(sum({distinct}{value.sql}){tail} AS {cast})"
        return (_finite(sql, value.sql, tail) if value.type == "FLOAT64" else sql), value.type
    if name == "AVG":
        value = _one(name, given, "INT64", "NUMERIC", "FLOAT64")
        if value.type == "NUMERIC":
            raise unsupported("AVG of NUMERIC, which BigQuery computes exactly: CAST to FLOAT64")
        sql = f"avg({distinct}{value.sql}){tail}"
        return (_finite(sql, value.sql, tail) if value.type == "FLOAT64" else sql), "FLOAT64"
    if name in ("MIN", "MAX"):
        value = groupable(_one(name, given), name)
        sql = f"{name.lower()}({value.sql}){tail}"
        if value.type == "FLOAT64":
            sql = f"CASE WHEN bool_or(isnan({value.sql})){tail} THEN CAST('nan' AS DOUBLE) ELSE {sql} END"
        return sql, value.type
    if name == "ANY_VALUE":
        return f"any_value({_one(name, given).sql}){tail}", given.values[0].type
    if name in ("LOGICAL_AND", "LOGICAL_OR"):
        return f"bool_{name[8:].lower()}({boolean(_one(name, given), name).sql}){tail}", "BOOL"
    if name in SPREAD:
        return f"{SPREAD[name]}({distinct}{_one(name, given, 'FLOAT64').sql}){tail}", "FLOAT64"
    if over is not None:
        raise unsupported(f"{name} with OVER")
    if name == "ARRAY_AGG":
        return _array_agg(given, distinct)
    if name == "STRING_AGG":
        return _string_agg(given, distinct)
    return _quantiles(given)


def _finite(sql: str, value: str, tail: str) -> str:
    """A sum that is infinite though no part of it was is an error."""
    overflown = f"isinf({sql}) AND NOT bool_or(isinf({value})){tail}"
    return f"(CASE WHEN {overflown} THEN error('Floating point error: overflow') ELSE {sql} END)"


def _array_agg(given: Arguments, distinct: str) -> tuple[str, str]:
    value = _one("ARRAY_AGG", given)
    if is_array(value.type):
        raise invalid_query("Cannot use array as an element of an array")
    kept = f" FILTER (WHERE {value.sql} IS NOT NULL)" if given.ignore_nulls else ""
    sql = f"list({distinct}{value.sql}{given.order}){kept}"
    return (sql if given.limit is None else f"({sql})[:{given.limit}]"), f"ARRAY<{value.type}>"


def _string_agg(given: Arguments, distinct: str) -> tuple[str, str]:
    if not 1 <= len(given.values) <= 2 or not all(coercible(value, "STRING") for value in given.values):
        raise invalid_query(f"No matching signature for STRING_AGG for argument types: {signature(given.values)}")
    value = given.values[0].sql
    separator = given.values[1].sql if len(given.values) == 2 else "','"
    if len(given.values) == 2 and (given.values[1].type != "STRING" or not given.values[1].literal):
        raise unsupported("STRING_AGG with a separator that is not a string literal")
    joined = f"list({distinct}{value}{given.order}) FILTER (WHERE {value} IS NOT NULL)"
    if given.limit is not None:
        joined = f"({joined})[:{given.limit}]"
    return f"CASE WHEN len({joined}) > 0 THEN array_to_string({joined}, {separator}) END", "STRING"


def _quantiles(given: Arguments) -> tuple[str, str]:
    """The exact quantiles, which are within what the approximation promises."""
    if len(given.values) != 2 or given.values[1].type != "INT64" or not given.values[1].literal:
        raise unsupported("APPROX_QUANTILES without an integer literal as its second argument")
    found = re.search(r"-?\d+", given.values[1].sql)
    number = int(found[0]) if found is not None else 0
    if not 1 <= number <= 10_000:
        raise invalid_query("The second argument of APPROX_QUANTILES must be between 1 and 10000")
    value = groupable(given.values[0], "APPROX_QUANTILES")
    numbers = f"CASE WHEN NOT isnan({value.sql}) THEN {value.sql} END"
    kept = numbers if value.type == "FLOAT64" else value.sql
    points = ", ".join(str(step / number) for step in range(number + 1))
    distinct = "DISTINCT " if given.distinct else ""
    return f"quantile_disc({distinct}{kept}, [{points}])", f"ARRAY<{value.type}>"


def over_only(name: str, given: Arguments, over: str) -> Expr:
    """ROW_NUMBER and its like."""
    if given.distinct or given.order or given.limit is not None or given.star:
        raise invalid_query(f"{name} takes plain arguments only")
    values = given.values
    nulls = " IGNORE NULLS" if given.ignore_nulls else ""
    if name in RANKS:
        if values:
            raise invalid_query(f"{name} takes no arguments")
        sql, type_ = f"{name.lower()}(){over}", RANKS[name]
    elif name in ("FIRST_VALUE", "LAST_VALUE") and len(values) == 1:
        sql, type_ = f"{name.lower()}({values[0].sql}{nulls}){over}", values[0].type
    elif (
        name in ("NTH_VALUE", "NTILE")
        and len(values) == (2 if name == "NTH_VALUE" else 1)
        and values[-1].type == "INT64"
    ):
        shown = ", ".join(value.sql for value in values)
        sql, type_ = f"{name.lower()}({shown}{nulls}){over}", values[0].type
    elif name in ("LAG", "LEAD") and 1 <= len(values) <= 3 and not given.ignore_nulls:
        if len(values) > 1 and (values[1].type != "INT64" or not values[1].literal):
            raise unsupported(f"{name} with an offset that is not an integer literal")
        if len(values) == 3:
            if not coercible(values[2], values[0].type):
                raise invalid_query(f"No matching signature for {name} for argument types: {signature(values)}")
            values[2] = coerce(values[2], values[0].type)
        sql, type_ = f"{name.lower()}({', '.join(value.sql for value in values)}){over}", values[0].type
    else:
        raise invalid_query(
            f"No matching signature for analytic function {name} for argument types: {signature(values)}"
        )
    return replace(combined(sql, type_, values, once=False), constant=False, probe=None)
