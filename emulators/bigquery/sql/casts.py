"""CAST and SAFE_CAST: the conversions BigQuery has, each with the spellings it takes and no others."""

from __future__ import annotations

import json
import re
from dataclasses import replace

from sqlglot import exp

from emulators.bigquery.errors import invalid_query, unsupported
from emulators.bigquery.nested_types import array_of, is_nested, is_struct, struct_of
from emulators.bigquery.sql import nested
from emulators.bigquery.sql.expr import NULL, Expr, coercible, duckdb_type, is_array, text
from emulators.bigquery.table_schema import SPELLINGS, SQL_SPELLINGS

YEAR = r"(?:000[1-9]|00[1-9]\d|0[1-9]\d{2}|[1-9]\d{3})"  # BigQuery has no year 0
DATE = rf"{YEAR}-\d{{1,2}}-\d{{1,2}}"
ZONE = r"(?: ?(?:[Zz]|[+-]\d{1,2}(?::\d{2})?))?"
CLOCK = r"\d{1,2}:\d{1,2}:\d{1,2}(?:\.\d{1,6})?"
TIMESTAMP = rf"{DATE}(?:[ Tt]{CLOCK})?{ZONE}"
INT64 = r"\s*[+-]?[0-9]+\s*"
NUMBER = r"\s*[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?\s*"
SPECIAL = r"\s*[+-]?(?i:inf|infinity|nan)\s*"

# What a string must look like to be read as the type, and what BigQuery reads that is not read here.
FORMS = {
    "INT64": (INT64, r"\s*[+-]?0[xX][0-9a-fA-F]+\s*"),
    "FLOAT64": (rf"{NUMBER}|{SPECIAL}", r"\s*[+-]?0[xX].*"),
    "NUMERIC": (NUMBER, None),
    "BOOL": (r"(?i:true|false)", None),
    "DATE": (DATE, rf"{DATE}[ Tt].*"),
    "DATETIME": (rf"{DATE}(?:[ Tt]{CLOCK})?", rf"{DATE}[ Tt].*"),
    "TIME": (CLOCK, r"\s*\d{1,2}:.*"),
    "TIMESTAMP": (TIMESTAMP, rf"{DATE}[ Tt].*"),
}

SQL_TYPES = {
    exp.DataType.Type.TEXT: "STRING",
    exp.DataType.Type.BIGINT: "INT64",
    exp.DataType.Type.DOUBLE: "FLOAT64",
    exp.DataType.Type.DECIMAL: "NUMERIC",
    exp.DataType.Type.BOOLEAN: "BOOL",
    exp.DataType.Type.DATE: "DATE",
    exp.DataType.Type.TIMESTAMP: "DATETIME",
    exp.DataType.Type.TIME: "TIME",
    exp.DataType.Type.TIMESTAMPTZ: "TIMESTAMP",
    exp.DataType.Type.JSON: "JSON",
    exp.DataType.Type.BINARY: "BYTES",
    exp.DataType.Type.VARBINARY: "BYTES",
}


def sql_type(node: exp.DataType) -> str:
    """A type written in SQL; ApiError for those the emulator does not have."""
    if node.this == exp.DataType.Type.ARRAY and len(node.expressions) == 1:
        return array_of(sql_type(node.expressions[0]))
    if node.this == exp.DataType.Type.STRUCT and node.expressions:
        return struct_of(_member(item) for item in node.expressions)
    if node.this in SQL_TYPES and not node.expressions:
        return SQL_TYPES[node.this]
    raise unsupported(f"the type {node.sql(dialect='bigquery')}")


def _member(node: exp.Expression) -> tuple[str, str]:
    if isinstance(node, exp.DataType):
        return "", sql_type(node)
    if not isinstance(node, exp.ColumnDef) or node.kind is None or node.args.get("constraints"):
        raise unsupported(f"{node.sql(dialect='bigquery')} in the type of a STRUCT")
    return node.name, sql_type(node.kind)


def named_type(name: str) -> str:
    """A type named as a parameter's type is; ApiError for those the emulator does not have."""
    upper = name.upper()
    found = SPELLINGS.get(upper) or SQL_SPELLINGS.get(upper)
    if found is None:
        raise unsupported(f"the type {name}")
    return found


def cast(expr: Expr, type_: str, *, safe: bool) -> Expr:
    """`expr` converted; where `safe`, NULL takes the place of an error of the value."""
    if expr.type == type_:
        return expr.retyped(expr.sql, type_)
    if expr.type == NULL:
        return expr.retyped(f"CAST(NULL AS {duckdb_type(type_)})", type_)
    if is_struct(expr.type) and is_struct(type_):
        if safe:
            raise unsupported(f"SAFE_CAST from {expr.type} to {type_}")
        whole = nested.convert(expr.sql, expr.type, type_, lambda *leaf: cast(Expr(*leaf[:2]), leaf[2], safe=False).sql)
        return expr.retyped(whole, type_)
    sql = _cast_string(expr, type_, safe) if expr.type == "STRING" else _cast(expr, type_, safe)
    if sql is None:
        raise unsupported(f"CAST from {expr.type} to {type_}")
    return expr.retyped(sql, type_)


def coerce(expr: Expr, type_: str) -> Expr:
    """The expression as that type; the caller has made sure that it is `coercible`."""
    if expr.type == type_:
        return expr
    if expr.literal and expr.type == "STRING":
        given = expr.sql[1:-1].replace("''", "'")
        if expr.sql.startswith("'") and not any(re.fullmatch(form, given) for form in FORMS[type_] if form):
            raise invalid_query(f"Could not cast literal {json.dumps(given)} to type {type_}")
        return replace(cast(expr, type_, safe=False), literal=True)
    if is_nested(expr.type):
        whole = nested.convert(
            expr.sql, expr.type, type_, lambda sql, have, want: coerce(Expr(sql, have, literal=expr.literal), want).sql
        )
        return expr.retyped(whole, type_)
    return expr.retyped(f"CAST({expr.sql} AS {duckdb_type(type_)})", type_)


def boolean(expr: Expr, clause: str) -> Expr:
    """The expression as a condition; ApiError when it is none."""
    if not coercible(expr, "BOOL"):
        raise invalid_query(f"{clause} should return type BOOL, but returns {expr.type}")
    return coerce(expr, "BOOL")


def _cast_string(expr: Expr, type_: str, safe: bool) -> str | None:
    value = expr.sql
    if expr.literal and type_ in ("DATE", "TIMESTAMP") and re.fullmatch(FORMS[type_][0], value[1:-1]):
        found = f"{'TRY_CAST' if safe else 'CAST'}({value} AS {duckdb_type(type_)})"
        return _ranged(found, safe) if type_ == "TIMESTAMP" and value[1:5] in ("0001", "9999") else found
    if type_ == "BYTES":
        return f"encode({value})"
    if type_ not in FORMS:
        return None
    form, elsewhere = FORMS[type_]
    operand = f"trim({value})" if type_ in ("INT64", "NUMERIC", "FLOAT64") else value
    convert = "TRY_CAST" if safe else "CAST"
    good = f"{convert}({operand} AS {duckdb_type(type_)})"
    if type_ == "TIMESTAMP":
        good = _ranged(good, safe)
    refused = (
        ""
        if elsewhere is None
        else (
            f"WHEN regexp_full_match({value}, {text(elsewhere)}) "
            f"THEN CAST('⟦The local BigQuery emulator does not read this spelling of {type_}: ' || {value} || '⟧' "
            f"AS {duckdb_type(type_)}) "
        )
    )
    bad = "NULL" if safe else f"CAST('⟦Invalid {type_} value: ' || {value} || '⟧' AS {duckdb_type(type_)})"
    return (
        f"(CASE WHEN {value} IS NULL THEN NULL WHEN regexp_full_match({value}, {text(form)}) THEN {good} "
        f"{refused}ELSE {bad} END)"
    )


def _ranged(sql: str, safe: bool) -> str:
    """At the ends of the range a zone can carry a timestamp over them."""
    return f"bq_{'safe_' if safe else ''}timestamp_range({sql})"


def _cast(expr: Expr, type_: str, safe: bool) -> str | None:
    value = expr.sql
    convert = "TRY_CAST" if safe else "CAST"
    target = None if is_array(type_) else duckdb_type(type_)
    pair = (expr.type, type_)
    if pair in (("INT64", "NUMERIC"), ("INT64", "FLOAT64"), ("NUMERIC", "FLOAT64"), ("INT64", "BOOL")):
        return f"{convert}({value} AS {target})"
    if pair in (("INT64", "STRING"), ("BOOL", "INT64"), ("BOOL", "STRING"), ("DATE", "STRING")):
        return f"CAST({value} AS {target})"
    if pair == ("FLOAT64", "NUMERIC"):
        written = re.fullmatch(r"\(*CAST\('([^']*)' AS DOUBLE\)+", value)
        if expr.literal and written is not None:
            return f"{convert}('{written[1]}' AS {target})"  # as written, not as the double that is nearest
        return f"{'bq_safe_numeric' if safe else 'bq_numeric'}({value})"
    if pair in (("FLOAT64", "INT64"), ("NUMERIC", "INT64")):
        # Half goes away from zero; DuckDB's own cast of a double to an integer does not.
        return f"{convert}(round({value}) AS {target})"
    if pair == ("FLOAT64", "STRING"):
        return f"bq_double_text({value})"
    if pair == ("NUMERIC", "STRING"):
        return numeric_text(value)
    if pair == ("TIMESTAMP", "STRING"):
        return timestamp_text(value)
    if pair == ("TIMESTAMP", "DATE"):
        return f"CAST({value} AS DATE)"
    if pair == ("DATE", "TIMESTAMP"):
        return f"CAST({value} AS TIMESTAMP WITH TIME ZONE)"
    if pair == ("BYTES", "STRING"):
        return f"TRY(decode({value}))" if safe else f"decode({value})"
    if is_array(expr.type) and is_array(type_) and coercible(Expr(value, expr.type, literal=True), type_):
        return coerce(expr, type_).sql
    return None


def numeric_text(value: str) -> str:
    """NUMERIC as text without the zeros after the last digit, as BigQuery prints it."""
    return rf"regexp_replace(CAST({value} AS VARCHAR), '\.?0+$', '')"


def timestamp_text(value: str) -> str:
    """TIMESTAMP as text: seconds, then no, three or six digits, then +00."""
    fraction = (
        f"CASE WHEN epoch_us({value}) % 1000000 = 0 THEN '' "
        f"WHEN epoch_us({value}) % 1000 = 0 THEN strftime({value}, '.%g') ELSE strftime({value}, '.%f') END"
    )
    return f"(strftime({value}, '%Y-%m-%d %H:%M:%S') || {fraction} || '+00')"
