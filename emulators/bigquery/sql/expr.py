"""A translated expression: DuckDB text, the BigQuery type, and what planning needs to know of it."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from emulators.bigquery.errors import invalid_query
from emulators.bigquery.nested_types import NULL as NULL
from emulators.bigquery.nested_types import duckdb_type as duckdb_type
from emulators.bigquery.nested_types import element as element
from emulators.bigquery.nested_types import is_array as is_array
from emulators.bigquery.nested_types import is_nested, is_struct, members

NUMBERS = ("INT64", "NUMERIC", "FLOAT64")  # each coerces to those after it
PARTITION = "\ue000"  # stands for the partition column in `probe`; a private character no query has a use for

LONG = 48  # characters of an expression that is worth a name
NOT_IN_LAMBDA = re.compile(r"\bSELECT\b|\bOVER\b|\blambda\b")

Read = tuple[int, str]  # scan, column
NONE: frozenset[int] = frozenset()
NOTHING: frozenset[Read] = frozenset()


@dataclass(frozen=True)
class Expr:
    sql: str
    type: str
    literal: bool = False  # a literal or a parameter: STRING coerces to DATE and TIMESTAMP, numbers to each other
    constant: bool = True  # no column in it
    reads: frozenset[Read] = NOTHING  # stored columns that the value depends on
    partition: frozenset[int] = NONE  # scans whose partition column this is, or a function that keeps its order
    prunes: frozenset[int] = NONE  # for a condition: scans of which it picks partitions
    probe: str | None = None  # `sql` with the partition column named PARTITION; constants: `sql`
    aggregate: bool = False
    window: bool = False
    name: str | None = None  # the output name it implies: that of a plain column

    def retyped(self, sql: str, type_: str) -> Expr:
        """The same value in another form: what is known of it stays, except that it selects partitions."""
        sql = bound_once(sql, [self])
        return replace(self, sql=sql, type=type_, partition=NONE, prunes=NONE, probe=sql if self.constant else None)


def combined(sql: str, type_: str, parts: Iterable[Expr], *, once: bool = True) -> Expr:
    """An expression made of others, each computed `once` unless it belongs to an aggregate or window."""
    parts = list(parts)
    if once:
        sql = bound_once(sql, parts)
    constant = all(part.constant for part in parts)
    return Expr(
        sql,
        type_,
        constant=constant,
        reads=frozenset().union(*(part.reads for part in parts)),
        probe=sql if constant else None,
        aggregate=any(part.aggregate for part in parts),
        window=any(part.window for part in parts),
    )


def bound_once(sql: str, parts: Sequence[Expr]) -> str:
    """`sql`, in which a part that is long and used more than once is computed once, as the argument of a lambda.

    A function may name its argument five times, a macro does so too, and functions of functions would multiply that.
    DuckDB allows no subquery, aggregate or window in a lambda, so those are arguments as well, or nothing is done.
    """
    body, given, wanted = sql, [], False
    for part in sorted(parts, key=lambda part: -len(part.sql)):
        uses = body.count(part.sql)
        if uses and (len(part.sql) > LONG or part.aggregate or part.window or "SELECT" in part.sql):
            name = f"v{zlib.crc32(part.sql.encode()):08x}"
            body = body.replace(part.sql, f"n['{name}']")
            given.append(f"{name} := {part.sql}")
            wanted = wanted or (len(part.sql) > LONG and uses > 1)
    if not given or not (wanted or "bq_" in body) or NOT_IN_LAMBDA.search(body):
        return sql
    return f"(list_transform([struct_pack({', '.join(given)})], lambda n: {body})[1])"


def text(value: str) -> str:
    """A DuckDB string literal."""
    if "\x00" in value:
        raise invalid_query("The local BigQuery emulator does not support the character U+0000 in a string")
    return "'" + value.replace("'", "''") + "'"


def null(type_: str) -> Expr:
    """The NULL of a type."""
    sql = f"CAST(NULL AS {duckdb_type(type_)})"
    return Expr(sql, type_, probe=sql)


def string(value: str) -> Expr:
    return Expr(text(value), "STRING", literal=True, probe=None if PARTITION in value else text(value))


def integer(value: int) -> Expr:
    if not -(2**63) <= value < 2**63:
        raise invalid_query(f"Invalid integer literal: {value}")
    sql = f"CAST('{value}' AS BIGINT)" if value == -(2**63) else f"CAST({value} AS BIGINT)"
    return Expr(sql, "INT64", literal=True, probe=sql)


def coercible(expr: Expr, type_: str) -> bool:
    """Whether BigQuery coerces this expression to that type implicitly."""
    if expr.type in (type_, NULL):
        return True
    if expr.type in NUMBERS and type_ in NUMBERS:
        widens = NUMBERS.index(expr.type) < NUMBERS.index(type_)
        return widens or (expr.literal and expr.type == "FLOAT64" and type_ == "NUMERIC")
    if expr.literal and expr.type == "STRING":
        return type_ in ("DATE", "DATETIME", "TIME", "TIMESTAMP")
    if expr.literal and is_array(type_) and expr.type == f"ARRAY<{NULL}>":
        return True
    return is_nested(type_) and _nested_coercible(expr, type_)


def _nested_coercible(expr: Expr, type_: str) -> bool:
    """A STRUCT coerces field by field, whatever the fields are called; an array where its elements need no change."""
    if is_struct(expr.type) and is_struct(type_):
        given, wanted = members(expr.type), members(type_)
        return len(given) == len(wanted) and all(
            coercible(Expr("", have, literal=expr.literal), want)
            for (_, have), (_, want) in zip(given, wanted, strict=True)
        )
    if is_array(expr.type) and is_array(type_):
        if expr.literal:
            return coercible(Expr("", element(expr.type), literal=True), element(type_))
        return nameless(expr.type) == nameless(type_)
    return False


def nameless(type_: str) -> str:
    """The type without the names of its fields."""
    if is_array(type_):
        return f"ARRAY<{nameless(element(type_))}>"
    if is_struct(type_):
        return f"STRUCT<{', '.join(nameless(member) for _, member in members(type_))}>"
    return type_


def supertype(exprs: Iterable[Expr], what: str) -> str:
    """The type that all of them coerce to; ApiError naming the types when there is none."""
    exprs = list(exprs)
    types = [expr.type for expr in exprs if expr.type != NULL]
    firm = [expr.type for expr in exprs if expr.type != NULL and not expr.literal]
    for candidate in [*firm, *types, *NUMBERS]:
        if all(coercible(expr, candidate) for expr in exprs):
            return candidate
    if not types:
        return "INT64"  # what a NULL is that nothing says more of
    raise invalid_query(f"No matching signature for {what} for argument types: {signature(exprs)}")


def signature(exprs: Iterable[Expr]) -> str:
    return ", ".join(expr.type for expr in exprs)


def groupable(expr: Expr, what: str) -> Expr:
    if expr.type == "JSON" or is_nested(expr.type):
        raise invalid_query(f"{what} of type {expr.type} is not allowed")
    return expr
