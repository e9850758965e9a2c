"""How a table's columns may change: only so that no row is lost and no writer of yesterday fails. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from google.cloud.bigquery import SchemaField

from services.shared.schema import Column, Table

# The REST API answers with the names of legacy SQL.
_STANDARD = {"INTEGER": "INT64", "FLOAT": "FLOAT64", "BOOLEAN": "BOOL", "STRUCT": "RECORD"}


@dataclass(frozen=True)
class Evolution:
    """`fields` is the whole schema afterwards; `changes` says in words what it takes to get there; `strangers` are the
    columns that the schema file does not have; with any of `problems` nothing may be changed."""

    fields: tuple[Any, ...]
    changes: tuple[str, ...] = ()
    strangers: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


def fields(table: Table) -> tuple[Any, ...]:
    """The BigQuery schema of a new table."""
    return tuple(_field(column) for column in table.columns)


def evolve(table: Table, existing: Sequence[Any]) -> Evolution:
    """What makes a table of the columns `existing` (SchemaField) take the rows of `table`."""
    wanted = {column.name.lower(): column for column in table.columns}
    known = {field.name.lower() for field in existing}
    after: list[Any] = []
    changes: list[str] = []
    strangers: list[str] = []
    problems: list[str] = []
    for field in existing:
        column = wanted.get(field.name.lower())
        changed: dict[str, str] = {}
        if column is None:
            strangers.append(field.name)
            if field.mode == "REQUIRED":
                changed["mode"] = "NULLABLE"
                changes.append(f"column {field.name} is not in the schema file any more: REQUIRED -> NULLABLE")
        else:
            problems += _problems(column, field)
            if field.mode == "REQUIRED" and not column.required:
                changed["mode"] = "NULLABLE"
                changes.append(f"column {field.name}: REQUIRED -> NULLABLE")
            if column.description and column.description != field.description:
                changed["description"] = column.description
                changes.append(f"column {field.name}: description")
        # Built from what BigQuery answered, so that policy tags, defaults and the like stay.
        after.append(SchemaField.from_api_repr({**field.to_api_repr(), **changed}) if changed else field)
    for column in table.columns:
        if column.name.lower() in known:
            continue
        if column.required:
            problems.append(
                f"column {column.name} is new and REQUIRED; BigQuery adds only NULLABLE columns to a table that "
                "exists, since old rows have no value: make it NULLABLE in the schema file"
            )
        after.append(_field(column))
        changes.append(f"new column {column.name} {column.type}")
    return Evolution(tuple(after), tuple(changes), tuple(strangers), tuple(problems))


def _field(column: Column) -> Any:
    mode = "REQUIRED" if column.required else "NULLABLE"
    return SchemaField(column.name, column.type, mode=mode, description=column.description or None)


def _problems(column: Column, field: Any) -> list[str]:
    problems = []
    if column.name != field.name:
        problems.append(f"column {column.name} is {field.name} in the table; write it so in the schema file")
    if (have := type_name(field)) != column.type:
        problems.append(
            f"column {column.name} is {have} in the table and {column.type} in the schema file; a type cannot change "
            "without rewriting every row: give the column a new name, or go back to " + have
        )
    elif column.required and field.mode != "REQUIRED":
        problems.append(
            f"column {column.name} is NULLABLE in the table and REQUIRED in the schema file; BigQuery cannot go that "
            "way: make it NULLABLE in the schema file"
        )
    return problems


def type_name(field: Any) -> str:
    """The type of a SchemaField as the schema file would write it, with its parameters, such as `STRING(10)`."""
    name = _STANDARD.get(field.field_type, field.field_type)
    parameters = [str(value) for value in (field.max_length, field.precision, field.scale) if value is not None]
    name += f"({', '.join(parameters)})" if parameters else ""
    return f"ARRAY<{name}>" if field.mode == "REPEATED" else name
