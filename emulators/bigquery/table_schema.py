"""Columns and their types: one table of what BigQuery, DuckDB and Arrow call the same thing."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from emulators.bigquery.errors import invalid
from emulators.bigquery.nested_types import (
    DUCKDB,
    MAX_DEPTH,
    NULL,
    array_of,
    element,
    is_array,
    is_struct,
    label,
    members,
    struct_of,
)

REST = {"INT64": "INTEGER", "FLOAT64": "FLOAT", "BOOL": "BOOLEAN"}
SPELLINGS = {name: name for name in DUCKDB} | {"INTEGER": "INT64", "FLOAT": "FLOAT64", "BOOLEAN": "BOOL"}
# Spellings that SQL has beside the canonical ones.
SQL_SPELLINGS = {"INT": "INT64", "SMALLINT": "INT64", "BIGINT": "INT64", "TINYINT": "INT64", "DECIMAL": "NUMERIC"}

RECORDS = ("RECORD", "STRUCT")
LACKING = ("BIGNUMERIC", "BIGDECIMAL", "GEOGRAPHY", "INTERVAL", "RANGE")  # types of BigQuery that are not here
MODES = ("NULLABLE", "REQUIRED", "REPEATED")
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,299}")
RESERVED_PREFIXES = ("_table_", "_file_", "_partition", "_row_timestamp", "__root__", "_colidentifier")
POLICY_TAG = re.compile(r"projects/[^/]+/locations/[^/]+/taxonomies/[^/]+/policyTags/[^/]+")
# Bytes of a value as BigQuery counts them; the others' are those of their text.
FIXED_WIDTHS = {"INT64": 8, "FLOAT64": 8, "NUMERIC": 16, "BOOL": 1, "DATE": 8, "DATETIME": 8, "TIME": 8, "TIMESTAMP": 8}
FIELD_KEYS = {"name", "type", "mode", "description", "fields", "policyTags"}


@dataclass(frozen=True)
class Column:
    name: str
    type: str  # the whole type, ARRAY<…> of a REPEATED field and STRUCT<…> of a RECORD
    required: bool = False
    description: str | None = None
    fields: tuple[Column, ...] = ()  # of a RECORD
    policy_tags: tuple[str, ...] = ()  # kept, and asked of nobody: who may read what, the emulator does not know

    def resource(self) -> dict[str, Any]:
        """The column as a TableFieldSchema of the REST API."""
        type_ = element(self.type) if is_array(self.type) else self.type
        found: dict[str, Any] = {
            "name": self.name,
            "type": "RECORD" if is_struct(type_) else REST.get(type_, type_),
            "mode": "REPEATED" if is_array(self.type) else MODES[self.required],
        }
        if self.fields:
            found["fields"] = [field.resource() for field in self.fields]
        if self.description is not None:
            found["description"] = self.description
        if self.policy_tags:
            found["policyTags"] = {"names": list(self.policy_tags)}
        return found


def of_type(name: str, type_: str, description: str | None = None) -> Column:
    """A column of that type whose fields, if it has any, are all NULLABLE: what a query gives."""
    inner = element(type_) if is_array(type_) else type_
    if not is_struct(inner):
        return Column(name, type_.replace(NULL, "INT64"), description=description)
    fields = tuple(of_type(label(place, name), t) for place, (name, t) in enumerate(members(inner)))
    return record(name, fields, "REPEATED" if is_array(type_) else "NULLABLE", description)


def record(name: str, fields: tuple[Column, ...], mode: str, description: str | None = None) -> Column:
    """A RECORD column of that mode."""
    type_ = struct_of((field.name, field.type) for field in fields)
    if mode == "REPEATED":
        return Column(name, array_of(type_), False, description, fields)
    return Column(name, type_, mode == "REQUIRED", description, fields)


def from_known(known: Mapping[str, Any]) -> Column:
    """A column as `dataclasses.asdict` wrote it."""
    fields = tuple(from_known(field) for field in known.get("fields", ()))
    return Column(**{**known, "fields": fields, "policy_tags": tuple(known.get("policy_tags", ()))})


def quote(name: str) -> str:
    """A DuckDB identifier."""
    return '"' + name.replace('"', '""') + '"'


def parse(fields: Any, depth: int = 0) -> tuple[Column, ...]:
    """Columns from TableFieldSchema objects; ApiError 400 naming the field and what is wrong with it."""
    if not isinstance(fields, list) or not all(isinstance(field, dict) for field in fields):
        raise invalid("Invalid value for fields: a list of objects is expected")
    columns: list[Column] = []
    seen: set[str] = set()
    for field in fields:
        name = field.get("name", "")
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise invalid(
                f'Invalid field name "{name}". Fields must contain only letters, numbers, and underscores, '
                "start with a letter or underscore, and be at most 300 characters long."
            )
        if name.lower().startswith(RESERVED_PREFIXES):
            raise invalid(f'Invalid field name "{name}". Field names are not allowed to start with a reserved prefix')
        if name.lower() in seen:
            raise invalid(f"Duplicate field name: {name}. Field names are not case sensitive.")
        seen.add(name.lower())
        columns.append(_column(name, field, depth))
    if len(columns) > 10_000:
        raise invalid(f"Too many fields: {len(columns)}. Maximum allowed is 10000.")
    return tuple(columns)


def _column(name: str, field: Mapping[str, Any], depth: int) -> Column:
    given = str(field.get("type", "")).upper()
    mode = str(field.get("mode") or "NULLABLE").upper()
    if given in LACKING:
        raise invalid(f"Field {name}: the local BigQuery emulator does not support the type {given}")
    if given not in SPELLINGS and given not in RECORDS:
        raise invalid(f"Invalid value for type: {given} is not a valid value (field {name})")
    if mode not in MODES:
        raise invalid(f"Invalid value for mode: {mode} is not a valid value (field {name})")
    for key, value in field.items():
        if key not in FIELD_KEYS and value not in (None, "", [], {}):
            raise invalid(f"Field {name}: the local BigQuery emulator does not support {key}")
    tags = _policy_tags(name, field, given in RECORDS)
    description = None if field.get("description") is None else str(field["description"])
    if given in RECORDS:
        if not field.get("fields"):
            raise invalid(f"Field {name} is type RECORD but has no schema")
        if depth >= MAX_DEPTH:
            raise invalid(f"Field {name} is nested too deeply: RECORD fields can be nested {MAX_DEPTH} levels deep")
        return record(name, parse(field["fields"], depth + 1), mode, description)
    if field.get("fields"):
        raise invalid(f"Field {name} has type {given} and fields; only a RECORD has fields")
    if mode == "REPEATED":
        return Column(name, array_of(SPELLINGS[given]), False, description, policy_tags=tags)
    return Column(name, SPELLINGS[given], mode == "REQUIRED", description, policy_tags=tags)


def _policy_tags(name: str, field: Mapping[str, Any], is_record: bool) -> tuple[str, ...]:
    given = field.get("policyTags") or {}
    names = given.get("names") or [] if isinstance(given, dict) else None
    if not isinstance(names, list) or not all(isinstance(one, str) for one in names):
        raise invalid(f"Invalid value for policyTags: a list of names is expected (field {name})")
    if len(names) > 1:
        raise invalid(f"Field {name} has {len(names)} policy tags. At most one policy tag is allowed per field.")
    if names and is_record:
        raise invalid(f"Policy tags cannot be set on field {name} of type RECORD; set them on its fields")
    for one in names:
        if not POLICY_TAG.fullmatch(one):
            raise invalid(f"Invalid policy tag resource name: {one} (field {name})")
    return tuple(names)


def evolved(table: str, old: tuple[Column, ...], new: tuple[Column, ...]) -> tuple[Column, ...]:
    """The schema after an update: what BigQuery allows is more NULLABLE columns and REQUIRED made NULLABLE.

    `new` may list columns in any order; the stored order stays and new columns go to the end.
    """
    wanted = {column.name.lower(): column for column in new}
    kept: list[Column] = []
    for column in old:
        found = wanted.pop(column.name.lower(), None)
        if found is None:
            raise invalid(f"Provided Schema does not match Table {table}. Field {column.name} is missing in new schema")
        kept.append(_evolved(table, column, found))
    for column in new:
        if column.name.lower() not in wanted:
            continue
        if column.required:
            raise invalid(
                f"Provided Schema does not match Table {table}. "
                f"Cannot add required fields to an existing schema. (field: {column.name})"
            )
        kept.append(column)
    return tuple(kept)


def _evolved(table: str, old: Column, new: Column) -> Column:
    before, after = old.resource(), new.resource()
    changed = f"Provided Schema does not match Table {table}. Field {old.name} has changed"
    if before["type"] != after["type"]:
        raise invalid(f"{changed} type from {before['type']} to {after['type']}")
    if before["mode"] != after["mode"] and (before["mode"], after["mode"]) != ("REQUIRED", "NULLABLE"):
        raise invalid(f"{changed} mode from {before['mode']} to {after['mode']}")
    if not old.fields:
        return Column(old.name, old.type, new.required, new.description, policy_tags=new.policy_tags)
    return record(old.name, evolved(table, old.fields, new.fields), after["mode"], new.description)


def variable_width(columns: Iterable[Column]) -> str:
    """DuckDB's expression for the bytes of a row in those of the columns that have no fixed width."""
    sizes = {"BYTES": "octet_length({})"}
    return " + ".join(
        f"coalesce({sizes.get(column.type, 'strlen(CAST({} AS VARCHAR))').format(quote(column.name))}, 0)"
        for column in columns
        if column.type not in FIXED_WIDTHS
    )
