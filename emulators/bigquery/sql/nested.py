"""STRUCT and ARRAY in DuckDB text: built, taken apart, converted, and made fit to be stored or shown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from emulators.bigquery.errors import invalid_query, unsupported
from emulators.bigquery.nested_types import (
    duckdb_type,
    element,
    is_array,
    is_nested,
    is_struct,
    label,
    leaves,
    members,
    struct_of,
)
from emulators.bigquery.sql.expr import Expr, combined, text
from emulators.bigquery.table_schema import Column

Change = Callable[[str, str], str]  # DuckDB text and type to DuckDB text


def build(items: Sequence[tuple[str, Expr]]) -> Expr:
    """STRUCT(value AS name, …)."""
    if not items:
        raise unsupported("a STRUCT without fields")
    type_ = struct_of((name, value.type) for name, value in items)
    written = [f"CAST({value.sql} AS {duckdb_type(value.type)})" for _, value in items]
    found = combined(_pack(type_, written), type_, [value for _, value in items])
    return replace(found, literal=all(value.literal for _, value in items))


def _pack(type_: str, values: Sequence[str]) -> str:
    names = (label(place, name) for place, (name, _) in enumerate(members(type_)))
    return "{" + ", ".join(f"'{name}': {sql}" for name, sql in zip(names, values, strict=True)) + "}"


def field(value: Expr, name: str) -> Expr:
    """`value.name`; ApiError when the STRUCT has no such field."""
    for place, (member, type_) in enumerate(members(value.type)):
        if member and member.lower() == name.lower():
            found = combined(_extract(value.sql, label(place, member)), type_, [value])
            return replace(found, name=member)
    raise invalid_query(f"Field name {name} does not exist in {value.type}")


def fields(value: Expr) -> list[Expr]:
    """Every field, for `value.*`; `name` is what each is called."""
    return [
        replace(combined(_extract(value.sql, label(place, name)), type_, [value]), name=name or None)
        for place, (name, type_) in enumerate(members(value.type))
    ]


def _extract(sql: str, name: str) -> str:
    return f"struct_extract({sql}, {text(name)})"


def _each(sql: str, type_: str, change: Change, depth: int) -> str:
    """The value with `change` made to whatever stands one level below it."""
    if is_array(type_):
        name = f"e{depth}"
        return f"list_transform({sql}, lambda {name}: {change(name, element(type_))})"
    parts = [change(_extract(sql, label(place, name)), member) for place, (name, member) in enumerate(members(type_))]
    return f"(CASE WHEN {sql} IS NULL THEN NULL ELSE {_pack(type_, parts)} END)"


def convert(sql: str, type_: str, wanted: str, leaf: Callable[[str, str, str], str], depth: int = 0) -> str:
    """The value as another nested type of the same form; `leaf` converts what has no structure."""
    if type_ == wanted:
        return sql
    if is_array(type_) and is_array(wanted):
        name = f"e{depth}"
        inner = convert(name, element(type_), element(wanted), leaf, depth + 1)
        return f"CAST(list_transform({sql}, lambda {name}: {inner}) AS {duckdb_type(wanted)})"
    if is_struct(type_) and is_struct(wanted) and len(members(type_)) == len(members(wanted)):
        pairs = zip(members(type_), members(wanted), strict=True)
        parts = [
            convert(_extract(sql, label(place, name)), have, want, leaf, depth)
            for place, ((name, have), (_, want)) in enumerate(pairs)
        ]
        return f"CAST(CASE WHEN {sql} IS NULL THEN NULL ELSE {_pack(wanted, parts)} END AS {duckdb_type(wanted)})"
    return leaf(sql, type_, wanted)


def shown(sql: str, type_: str, depth: int = 0) -> str:
    """The value as a result gives it: JSON as compact text, wherever it stands."""
    if type_ == "JSON":
        return f"CAST(json({sql}) AS VARCHAR)"
    if not is_nested(type_) or "JSON" not in leaves(type_):
        return sql
    return _each(sql, type_, lambda inner, member: shown(inner, member, depth + 1), depth)


def stored(sql: str, column: Column, depth: int = 0) -> str:
    """The value as a table keeps it: no array is NULL or has a NULL in it, and no REQUIRED field is NULL."""
    if is_array(column.type):
        return f"bq_stored_array({_stored_items(sql, column, depth)})"
    if not any(_changes(field) for field in column.fields):
        return sql
    parts = [_stored_field(_extract(sql, field.name), column, field, depth) for field in column.fields]
    return f"(CASE WHEN {sql} IS NULL THEN NULL ELSE {_pack(column.type, parts)} END)"


def _stored_items(sql: str, column: Column, depth: int) -> str:
    if not any(_changes(field) for field in column.fields):
        return sql
    item = replace(column, type=element(column.type))
    return f"list_transform({sql}, lambda e{depth}: {stored(f'e{depth}', item, depth + 1)})"


def _stored_field(sql: str, column: Column, field: Column, depth: int) -> str:
    value = stored(sql, field, depth)
    if not field.required:
        return value
    return f"coalesce({value}, error({text(f'Required field {column.name}.{field.name} cannot be null')}))"


def _changes(column: Column) -> bool:
    """Whether a value has to be looked at before it is stored as this field."""
    return column.required or is_array(column.type) or any(_changes(field) for field in column.fields)
