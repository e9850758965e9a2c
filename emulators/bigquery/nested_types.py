"""Names of types, nested ones included: `ARRAY<STRUCT<sku STRING, n INT64>>` taken apart and put together.

A type is one string everywhere, so that comparing two types is comparing two strings. A field of a STRUCT that has no
name is its type alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

import pyarrow as pa

from emulators.bigquery.errors import invalid_query, unsupported

NULL = "NULL"  # the type of a bare NULL, which becomes any other
MAX_DEPTH = 15  # BigQuery's limit for nested RECORDs

DUCKDB = {
    "STRING": "VARCHAR",
    "BYTES": "BLOB",
    "INT64": "BIGINT",
    "FLOAT64": "DOUBLE",
    "NUMERIC": "DECIMAL(38,9)",
    "BOOL": "BOOLEAN",
    "DATE": "DATE",
    "DATETIME": "TIMESTAMP",
    "TIME": "TIME",
    "TIMESTAMP": "TIMESTAMP WITH TIME ZONE",
    "JSON": "JSON",
}

ARROW = {
    "STRING": pa.string(),
    "BYTES": pa.binary(),
    "INT64": pa.int64(),
    "FLOAT64": pa.float64(),
    "NUMERIC": pa.decimal128(38, 9),
    "BOOL": pa.bool_(),
    "DATE": pa.date32(),
    "DATETIME": pa.timestamp("us"),
    "TIME": pa.time64("us"),
    "TIMESTAMP": pa.timestamp("us", tz="UTC"),
    "JSON": pa.string(),
}

Members = tuple[tuple[str, str], ...]


def is_array(type_: str) -> bool:
    return type_.startswith("ARRAY<")


def is_struct(type_: str) -> bool:
    return type_.startswith("STRUCT<")


def is_nested(type_: str) -> bool:
    return is_array(type_) or is_struct(type_)


def element(type_: str) -> str:
    return type_[len("ARRAY<") : -1]


def array_of(type_: str) -> str:
    if is_array(type_):
        raise invalid_query(f"Cannot construct array with element type {type_}: an array of arrays is not supported")
    return f"ARRAY<{type_}>"


def struct_of(members: Iterable[tuple[str, str]]) -> str:
    """The STRUCT of fields (name, type), where a name may be empty."""
    members = tuple(members)
    seen: set[str] = set()
    for place, (name, _) in enumerate(members):
        shown = label(place, name)
        if shown.lower() in seen:
            raise unsupported(f"a STRUCT with two fields called {shown}")
        if not shown.isidentifier() or not shown.isascii():
            raise unsupported(f"the name {shown} of a field of STRUCT: only letters, digits and underscores")
        seen.add(shown.lower())
    return f"STRUCT<{', '.join(f'{name} {type_}'.strip() for name, type_ in members)}>"


def label(place: int, name: str) -> str:
    """What a field is called in results: BigQuery calls those without a name by their place."""
    return name or f"_field_{place + 1}"


@lru_cache(maxsize=1024)
def members(type_: str) -> Members:
    """The fields of a STRUCT in their order."""
    found: list[tuple[str, str]] = []
    depth, start, inner = 0, 0, type_[len("STRUCT<") : -1]
    for place, sign in enumerate(inner + ","):
        depth += (sign == "<") - (sign == ">")
        if sign == "," and depth == 0:
            part = inner[start:place].strip()
            start = place + 1
            if part:
                found.append(_member(part))
    return tuple(found)


def _member(part: str) -> tuple[str, str]:
    head, _, tail = part.partition(" ")
    return (head, tail) if tail and "<" not in head else ("", part)


def leaves(type_: str) -> tuple[str, ...]:
    """The types without structure that the type is made of."""
    if is_array(type_):
        return leaves(element(type_))
    if is_struct(type_):
        return tuple(leaf for _, member in members(type_) for leaf in leaves(member))
    return (type_,)


def named_throughout(type_: str) -> bool:
    """Whether every field in it has a name, as those of a table must."""
    if is_array(type_):
        return named_throughout(element(type_))
    return not is_struct(type_) or all(name and named_throughout(member) for name, member in members(type_))


def duckdb_type(type_: str) -> str:
    if is_array(type_):
        return duckdb_type(element(type_)) + "[]"
    if is_struct(type_):
        listed = ", ".join(f'"{label(i, name)}" {duckdb_type(t)}' for i, (name, t) in enumerate(members(type_)))
        return f"STRUCT({listed})"
    return DUCKDB["INT64" if type_ == NULL else type_]


@lru_cache(maxsize=1024)
def arrow_type(type_: str) -> pa.DataType:
    """The Arrow type in which the Storage Write API takes the type."""
    if is_array(type_):
        return pa.list_(arrow_type(element(type_)))
    if is_struct(type_):
        return pa.struct([(label(i, name), arrow_type(t)) for i, (name, t) in enumerate(members(type_))])
    return ARROW[type_]
