"""TO_JSON and TO_JSON_STRING: any value, or a STRUCT of values, as the JSON text that BigQuery writes."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

from sqlglot import exp

from emulators.bigquery.errors import invalid_query, unsupported
from emulators.bigquery.nested_types import element, is_array, is_nested, is_struct
from emulators.bigquery.sql import nested
from emulators.bigquery.sql.casts import numeric_text
from emulators.bigquery.sql.expr import NULL, Expr, combined, text

NAMES = ("TO_JSON", "TO_JSON_STRING")
_LOSSLESS = 2**53  # integers up to it are exact as a double, and written as numbers

Compile = Callable[[exp.Expression], Expr]


def call(name: str, nodes: Sequence[exp.Expression], compile_: Compile) -> Expr:
    """The call with these arguments; ApiError invalidQuery for those that are not known."""
    if not nodes:
        raise invalid_query(f"Number of arguments does not match for function {name}")
    if name == "TO_JSON_STRING" and len(nodes) > 1:
        raise unsupported("TO_JSON_STRING with pretty_print")
    if name == "TO_JSON":
        _check_wide(nodes[1:])
    given, sql = _value(nodes[0], compile_, name)
    if name == "TO_JSON":
        return combined(f"CAST({sql} AS JSON)", "JSON", given)
    return combined(sql, "STRING", given)


def _check_wide(options: Sequence[exp.Expression]) -> None:
    """Without the option a number beyond a double's precision is an error for NUMERIC and a number for INT64."""
    for option in options:
        if (
            len(options) == 1
            and isinstance(option, exp.Kwarg)
            and option.this.name.lower() == "stringify_wide_numbers"
            and isinstance(option.expression, exp.Boolean)
            and option.expression.this
        ):
            return
    raise unsupported("TO_JSON without stringify_wide_numbers => TRUE")


def _value(node: exp.Expression, compile_: Compile, name: str) -> tuple[list[Expr], str]:
    """What the value is made of, and its DuckDB text."""
    if not (isinstance(node, exp.Anonymous) and node.name.upper() == "STRUCT"):
        value = compile_(node)
        return [value], _text(value, name)
    parts: list[Expr] = []
    members: list[str] = []
    for item in node.expressions:
        value = compile_(item.this if isinstance(item, exp.Alias) else item)
        key = item.alias if isinstance(item, exp.Alias) else value.name
        if not key:
            raise unsupported("a field of STRUCT without a name")
        parts.append(value)
        members.append(f"CAST(to_json({text(key)}) AS VARCHAR) || ':' || {_text(value, name)}")
    if not members:
        raise unsupported("a STRUCT without fields")
    listed = " || ',' || ".join(members)
    return parts, f"('{{' || {listed} || '}}')"


def _text(value: Expr, name: str) -> str:
    if value.type == NULL:
        return "'null'"
    if value.type == "NUMERIC":
        return f"coalesce({_numeric(value.sql, name)}, 'null')"
    return f"coalesce({_written(value.sql, value.type)}, 'null')"


def _numeric(sql: str, name: str) -> str:
    """TO_JSON_STRING writes integers that a double holds as numbers, TO_JSON all numbers that it holds."""
    short = numeric_text(sql)
    lossless = f"trunc({sql}) = {sql}"
    if name == "TO_JSON":
        lossless = f"TRY_CAST(CAST({sql} AS DOUBLE) AS DECIMAL(38,9)) = {sql}"
    return f"(CASE WHEN {lossless} AND abs({sql}) <= {_LOSSLESS} THEN {short} ELSE '\"' || {short} || '\"' END)"


def _moment(sql: str, form: str, zone: str) -> str:
    """A quoted time; its fraction has no, three or six digits, as BigQuery writes it."""
    fraction = (
        f"CASE WHEN epoch_us({sql}) % 1000000 = 0 THEN '' "
        f"WHEN epoch_us({sql}) % 1000 = 0 THEN strftime({sql}, '.%g') ELSE strftime({sql}, '.%f') END"
    )
    return f"('\"' || strftime({sql}, '{form}') || {fraction} || '{zone}\"')"


def _written(sql: str, type_: str) -> str:
    number = f"CAST({sql} AS VARCHAR)"
    quoted = f"('\"' || {number} || '\"')"
    match type_:
        case "INT64":
            return f"(CASE WHEN {sql} BETWEEN -{_LOSSLESS} AND {_LOSSLESS} THEN {number} ELSE {quoted} END)"
        case "FLOAT64":
            names = f"CASE WHEN isnan({sql}) THEN 'NaN' WHEN {sql} > 0 THEN 'Infinity' ELSE '-Infinity' END"
            return f"(CASE WHEN NOT isfinite({sql}) THEN '\"' || ({names}) || '\"' ELSE bq_double_text({sql}) END)"
        case "BOOL":
            return number
        case "STRING":
            return f"CAST(to_json({sql}) AS VARCHAR)"
        case "DATE":
            return quoted
        case "DATETIME":
            return _moment(sql, "%Y-%m-%dT%H:%M:%S", "")
        case "TIME":
            return _moment(f"(DATE '2000-01-01' + {sql})", "%H:%M:%S", "")
        case "TIMESTAMP":
            return _moment(sql, "%Y-%m-%dT%H:%M:%S", "Z")
        case "BYTES":
            return f"('\"' || to_base64({sql}) || '\"')"
        case "JSON":
            return f"CAST(json({sql}) AS VARCHAR)"
    return _nested(sql, type_)


def _nested(sql: str, type_: str, depth: int = 0) -> str:
    """An array or object of what `_written` gives."""

    def inner(part: str, member: str) -> str:
        if member == NULL:
            return "'null'"
        written = _nested(part, member, depth + 1) if is_nested(member) else _written(part, member)
        return f"coalesce({written}, 'null')"

    if is_array(type_):
        name = f"e{depth}"
        items = f"list_transform({sql}, lambda {name}: {inner(name, element(type_))})"
        return f"('[' || array_to_string({items}, ',') || ']')"
    if is_struct(type_):
        pairs = [
            f"{text(json.dumps(field.name or '') + ':')} || {inner(field.sql, field.type)}"
            for field in nested.fields(Expr(sql, type_))
        ]
        listed = " || ',' || ".join(pairs)
        return f"(CASE WHEN {sql} IS NOT NULL THEN '{{' || {listed} || '}}' END)"
    raise unsupported(f"TO_JSON of {type_}")
