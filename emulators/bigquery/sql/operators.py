"""Operators: arithmetic that fails where BigQuery's fails, comparisons that know NaN, partition picking."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from emulators.bigquery.errors import invalid_query, unsupported
from emulators.bigquery.nested_types import is_struct
from emulators.bigquery.sql.casts import boolean, coerce
from emulators.bigquery.sql.expr import (
    NULL,
    NUMBERS,
    Expr,
    bound_once,
    coercible,
    combined,
    duckdb_type,
    element,
    is_array,
    signature,
    supertype,
)


def arithmetic(operator: str, left: Expr, right: Expr) -> Expr:
    if operator == "+" and left.type == "INT64" and right.type == "DATE":
        left, right = right, left
    if left.type == "DATE" and right.type == "INT64" and operator in "+-":
        sql = f"bq_date_plus({left.sql}, {'-' if operator == '-' else ''}{right.sql})"
        return combined(sql, "DATE", [left, right])
    if any(side.type not in (*NUMBERS, NULL) for side in (left, right)):
        raise invalid_query(
            f"No matching signature for operator {operator} for argument types: {signature([left, right])}"
        )
    type_ = supertype([left, right], f"operator {operator}")
    if operator == "/":
        return _divide(left, right, "FLOAT64" if type_ == "INT64" else type_)
    left, right = coerce(left, type_), coerce(right, type_)
    sql = f"({left.sql} {operator} {right.sql})"
    if type_ == "FLOAT64":
        sql = f"bq_finite({sql}, {left.sql}, {right.sql})"
    elif type_ == "NUMERIC":
        sql = f"CAST({sql} AS {duckdb_type('NUMERIC')})"
    return combined(sql, type_, [left, right])


def _divide(left: Expr, right: Expr, type_: str) -> Expr:
    if type_ == "NUMERIC":
        raise unsupported("division of NUMERIC, which BigQuery computes exactly: CAST one side to FLOAT64")
    left, right = coerce(left, type_), coerce(right, type_)
    return combined(f"bq_division({left.sql}, {right.sql})", type_, [left, right])


def negate(value: Expr) -> Expr:
    if value.type not in NUMBERS:
        raise invalid_query(f"No matching signature for operator - for argument type: {value.type}")
    result = combined(f"(-{value.sql})", value.type, [value])
    return replace(result, literal=value.literal)


def concatenate(left: Expr, right: Expr) -> Expr:
    type_ = supertype([left, right], "operator ||")
    if type_ not in ("STRING", "BYTES") and not is_array(type_):
        raise invalid_query(f"No matching signature for operator || for argument types: {signature([left, right])}")
    return combined(f"({coerce(left, type_).sql} || {coerce(right, type_).sql})", type_, [left, right])


def equatable(type_: str, operator: str) -> None:
    if is_struct(type_):
        raise unsupported(f"{operator} of STRUCTs: compare their fields")
    if type_ == "JSON" or is_array(type_):
        raise invalid_query(f"{operator} is not defined for arguments of type {type_}")


def compare(operator: str, left: Expr, right: Expr) -> Expr:
    """A comparison; between the partition column and a constant it also picks partitions."""
    type_ = supertype([left, right], f"operator {operator}")
    equatable(type_, operator)
    a, b = coerce(left, type_), coerce(right, type_)
    sql = f"({a.sql} {operator} {b.sql})"
    if type_ == "FLOAT64":
        strange = "TRUE" if operator == "!=" else "FALSE"
        doubtful = [side.sql for side in (a, b) if not side.literal or "nan" in side.sql.lower()]
        if doubtful:
            either = " OR ".join(f"isnan({value})" for value in doubtful)
            sql = f"(CASE WHEN {sql} IS NULL THEN NULL WHEN {either} THEN {strange} ELSE {sql} END)"
    result = combined(sql, "BOOL", [a, b])
    return _pruning(result, operator, left, right, a, b)


def _pruning(result: Expr, operator: str, left: Expr, right: Expr, a: Expr, b: Expr) -> Expr:
    """Coercion forgets what a column is, so the sides before it say whether one is the partition column."""
    if operator == "!=":
        return result
    if left.partition and left.type == a.type and right.constant and b.probe is not None:
        return replace(result, prunes=left.partition, probe=f"({left.probe} {operator} {b.probe})")
    if right.partition and right.type == b.type and left.constant and a.probe is not None:
        return replace(result, prunes=right.partition, probe=f"({a.probe} {operator} {right.probe})")
    return result


def distinct_from(left: Expr, right: Expr, *, equal: bool) -> Expr:
    type_ = supertype([left, right], "operator IS DISTINCT FROM")
    equatable(type_, "IS DISTINCT FROM")
    if type_ == "FLOAT64":
        raise unsupported("IS DISTINCT FROM of FLOAT64")
    a, b = coerce(left, type_), coerce(right, type_)
    return combined(f"({a.sql} IS {'NOT ' if equal else ''}DISTINCT FROM {b.sql})", "BOOL", [a, b])


def is_null(value: Expr, *, negated: bool) -> Expr:
    words = "IS NOT NULL" if negated else "IS NULL"
    result = combined(f"({value.sql} {words})", "BOOL", [value])
    if value.partition and value.probe is not None:
        return replace(result, prunes=value.partition, probe=f"({value.probe} {words})")
    return result


def logic(word: str, terms: Sequence[Expr]) -> Expr:
    """AND picks what any of its terms picks, OR what all of them pick."""
    given = [boolean(term, f"Operand of {word}") for term in terms]
    result = combined("(" + f" {word} ".join(term.sql for term in given) + ")", "BOOL", given)
    if word == "AND":
        # Only terms on one and the same set of scans can be written as one probe.
        prunes = frozenset().union(*(term.prunes for term in given))
        usable = [term.probe for term in given if term.prunes == prunes and term.probe is not None]
        probe = "(" + " AND ".join(usable) + ")" if prunes and usable else result.probe
        return replace(result, prunes=prunes if usable else result.prunes, probe=probe)
    if all(term.prunes and term.prunes == given[0].prunes and term.probe is not None for term in given):
        probe = "(" + " OR ".join(str(term.probe) for term in given) + ")"
        return replace(result, prunes=given[0].prunes, probe=probe)
    return result


def like(value: Expr, pattern: Expr) -> Expr:
    if not coercible(value, "STRING") or not coercible(pattern, "STRING"):
        raise invalid_query(
            f"No matching signature for operator LIKE for argument types: {signature([value, pattern])}"
        )
    value, pattern = coerce(value, "STRING"), coerce(pattern, "STRING")
    return combined(rf"({value.sql} LIKE {pattern.sql} ESCAPE '\')", "BOOL", [value, pattern])


def in_list(value: Expr, items: Sequence[Expr]) -> Expr:
    supertype([value, *items], "operator IN")
    if len(items) > 8:
        return _in_long(value, items)
    terms = [compare("=", value, item) for item in items]
    written = "(" + " OR ".join(term.sql for term in terms) + ")"
    return replace(logic("OR", terms), sql=bound_once(written, [value, *items]))


def between(value: Expr, low: Expr, high: Expr) -> Expr:
    terms = [compare(">=", value, low), compare("<=", value, high)]
    return replace(logic("AND", terms), sql=bound_once(f"({terms[0].sql} AND {terms[1].sql})", [value, low, high]))


def _in_long(value: Expr, items: Sequence[Expr]) -> Expr:
    type_ = supertype([value, *items], "operator IN")
    equatable(type_, "IN")
    if type_ == "FLOAT64":
        return logic("OR", [compare("=", value, item) for item in items])
    given = [coerce(item, type_) for item in items]
    listed = ", ".join(item.sql for item in given)
    result = combined(f"({coerce(value, type_).sql} IN ({listed}))", "BOOL", [value, *given])
    if value.partition and value.type == type_ and all(item.probe is not None and item.constant for item in given):
        probe = f"({value.probe} IN ({', '.join(str(item.probe) for item in given)}))"
        return replace(result, prunes=value.partition, probe=probe)
    return result


def in_array(value: Expr, array: Expr) -> Expr:
    """IN UNNEST: NULL where the value is not found among elements of which one is NULL, as with a list."""
    inner = Expr("NULL", element(array.type), literal=array.literal)
    type_ = supertype([value, inner], "operator IN UNNEST")
    equatable(type_, "IN UNNEST")
    if type_ in ("FLOAT64", NULL) or type_ != element(array.type):
        raise unsupported(f"{value.type} IN UNNEST of {array.type}")
    typed = coerce(value, type_)
    tail = (
        "WHEN len({array}) IS NULL OR len({array}) = 0 THEN FALSE WHEN {value} IS NULL THEN NULL "
        "WHEN list_contains({array}, {value}) THEN TRUE "
        "WHEN len({array}) > list_count({array}) THEN NULL ELSE FALSE END)"
    )
    template = "(CASE " + tail
    sql = template.format(array=array.sql, value=typed.sql)
    result = combined(sql, "BOOL", [typed, array])
    if value.partition and value.type == type_ and array.constant and array.probe is not None:
        return replace(result, prunes=value.partition, probe=template.format(array=array.probe, value=value.probe))
    return result
