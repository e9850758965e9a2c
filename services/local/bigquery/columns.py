"""Columns and their types: one table of what BigQuery, DuckDB and Arrow call the same thing."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from services.local.bigquery.errors import invalid

DUCKDB = {
    "STRING": "VARCHAR",
    "BYTES": "BLOB",
    "INT64": "BIGINT",
    "FLOAT64": "DOUBLE",
    "NUMERIC": "DECIMAL(38,9)",
    "BOOL": "BOOLEAN",
    "DATE": "DATE",
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
    "TIMESTAMP": pa.timestamp("us", tz="UTC"),
    "JSON": pa.string(),
}

REST = {"INT64": "INTEGER", "FLOAT64": "FLOAT", "BOOL": "BOOLEAN"}
SPELLINGS = {name: name for name in DUCKDB} | {"INTEGER": "INT64", "FLOAT": "FLOAT64", "BOOLEAN": "BOOL"}
# Spellings that SQL has beside the canonical ones.
SQL_SPELLINGS = {"INT": "INT64", "SMALLINT": "INT64", "BIGINT": "INT64", "TINYINT": "INT64", "DECIMAL": "NUMERIC"}

MODES = ("NULLABLE", "REQUIRED")
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,299}")
RESERVED_PREFIXES = ("_table_", "_file_", "_partition", "_row_timestamp", "__root__", "_colidentifier")
FIELD_KEYS = {"name", "type", "mode", "description", "fields", "policyTags"}


@dataclass(frozen=True)
class Column:
    name: str
    type: str  # a key of DUCKDB
    required: bool = False
    description: str | None = None

    def resource(self) -> dict[str, Any]:
        """The column as a TableFieldSchema of the REST API."""
        found: dict[str, Any] = {
            "name": self.name,
            "type": REST.get(self.type, self.type),
            "mode": MODES[self.required],
        }
        if self.description is not None:
            found["description"] = self.description
        return found


def quote(name: str) -> str:
    """A DuckDB identifier."""
    return '"' + name.replace('"', '""') + '"'


def parse(fields: Iterable[Mapping[str, Any]]) -> tuple[Column, ...]:
    """Columns from TableFieldSchema objects; ApiError 400 naming the field and what is wrong with it."""
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
        columns.append(_column(name, field))
    if len(columns) > 10_000:
        raise invalid(f"Too many fields: {len(columns)}. Maximum allowed is 10000.")
    return tuple(columns)


def _column(name: str, field: Mapping[str, Any]) -> Column:
    given = str(field.get("type", "")).upper()
    mode = str(field.get("mode") or "NULLABLE").upper()
    if given in ("RECORD", "STRUCT") or mode == "REPEATED":
        raise invalid(f"Field {name}: the local BigQuery emulator does not support RECORD or REPEATED fields")
    if given not in SPELLINGS:
        raise invalid(f"Invalid value for type: {given} is not a valid value (field {name})")
    if mode not in MODES:
        raise invalid(f"Invalid value for mode: {mode} is not a valid value (field {name})")
    for key, value in field.items():
        if key not in FIELD_KEYS and value not in (None, "", [], {}):
            raise invalid(f"Field {name}: the local BigQuery emulator does not support {key}")
    if field.get("policyTags") not in (None, {}, {"names": []}):
        raise invalid(f"Field {name}: the local BigQuery emulator does not support policyTags")
    description = field.get("description")
    return Column(name, SPELLINGS[given], mode == "REQUIRED", None if description is None else str(description))


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
        if found.type != column.type:
            raise invalid(
                f"Provided Schema does not match Table {table}. Field {column.name} has changed type from "
                f"{REST.get(column.type, column.type)} to {REST.get(found.type, found.type)}"
            )
        if found.required and not column.required:
            raise invalid(
                f"Provided Schema does not match Table {table}. Field {column.name} has changed mode from "
                "NULLABLE to REQUIRED"
            )
        kept.append(Column(column.name, column.type, found.required, found.description))
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
