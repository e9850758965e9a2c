"""How a table's columns may change: only so that no row is lost and no writer of yesterday fails. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from google.cloud.bigquery import PolicyTagList, SchemaField

from services.shared.schema import STRUCT, Column, Table

# The REST API answers with the names of legacy SQL.
_STANDARD = {"INTEGER": "INT64", "FLOAT": "FLOAT64", "BOOLEAN": "BOOL", "RECORD": STRUCT}


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
    found = _Evolving()
    after = found.evolve(table.columns, existing, "")
    return Evolution(tuple(after), tuple(found.changes), tuple(found.strangers), tuple(found.problems))


class _Evolving:
    """The columns of a table, or the fields of a STRUCT, whose names come after `parent`."""

    def __init__(self) -> None:
        self.changes: list[str] = []
        self.strangers: list[str] = []
        self.problems: list[str] = []

    def evolve(self, columns: Sequence[Column], existing: Sequence[Any], parent: str) -> list[Any]:
        wanted = {column.name.lower(): column for column in columns}
        known = {field.name.lower() for field in existing}
        after: list[Any] = []
        for field in existing:
            column = wanted.get(field.name.lower())
            changed = self._without(field, parent) if column is None else self._changed(column, field, parent)
            # Built from what BigQuery answered, so that policy tags, defaults and the like stay.
            after.append(SchemaField.from_api_repr({**field.to_api_repr(), **changed}) if changed else field)
        for column in columns:
            if column.name.lower() in known:
                continue
            name = f"{parent}{column.name}"
            if column.required:
                self.problems.append(
                    f"column {name} is new and REQUIRED; BigQuery adds only NULLABLE columns to a table that "
                    "exists, since old rows have no value: make it NULLABLE in the schema file"
                )
            after.append(_field(column))
            self.changes.append(f"new column {name} {_type(column)}")
        return after

    def _without(self, field: Any, parent: str) -> dict[str, Any]:
        """A column that the schema file has not, or not any more."""
        self.strangers.append(f"{parent}{field.name}")
        if field.mode != "REQUIRED":
            return {}
        self.changes.append(f"column {parent}{field.name} is not in the schema file any more: REQUIRED -> NULLABLE")
        return {"mode": "NULLABLE"}

    def _changed(self, column: Column, field: Any, parent: str) -> dict[str, Any]:
        changed: dict[str, Any] = {}
        name = f"{parent}{column.name}"
        if problems := _problems(column, field, name):
            self.problems += problems
            return {}
        if field.mode == "REQUIRED" and not column.required:
            changed["mode"] = "NULLABLE"
            self.changes.append(f"column {name}: REQUIRED -> NULLABLE")
        if column.description and column.description != field.description:
            changed["description"] = column.description
            self.changes.append(f"column {name}: description")
        # None in the file leaves alone what someone set by hand.
        if column.policy_tags and column.policy_tags != _tags(field):
            changed["policyTags"] = {"names": list(column.policy_tags)}
            self.changes.append(f"column {name}: policy tag")
        if column.type == STRUCT:
            fields = self.evolve(column.fields, field.fields, f"{name}.")
            if fields != list(field.fields):
                changed["fields"] = [one.to_api_repr() for one in fields]
        return changed


def _field(column: Column) -> Any:
    mode = "REPEATED" if column.repeated else "REQUIRED" if column.required else "NULLABLE"
    kind = "RECORD" if column.type == STRUCT else column.type
    inner = tuple(_field(field) for field in column.fields)
    tags = PolicyTagList(column.policy_tags) if column.policy_tags else None
    description = column.description or None
    return SchemaField(column.name, kind, mode=mode, description=description, fields=inner, policy_tags=tags)


def _tags(field: Any) -> tuple[str, ...]:
    return tuple(field.policy_tags.names) if field.policy_tags else ()


def _type(column: Column) -> str:
    return f"ARRAY<{column.type}>" if column.repeated else column.type


def _problems(column: Column, field: Any, name: str) -> list[str]:
    problems = []
    if column.name != field.name:
        problems.append(f"column {name} is {field.name} in the table; write it so in the schema file")
    if (have := type_name(field)) != _type(column):
        problems.append(
            f"column {name} is {have} in the table and {_type(column)} in the schema file; a type cannot change "
            "without rewriting every row: give the column a new name, or go back to " + have
        )
    elif column.required and field.mode != "REQUIRED":
        problems.append(
            f"column {name} is NULLABLE in the table and REQUIRED in the schema file; BigQuery cannot go that "
            "way: make it NULLABLE in the schema file"
        )
    return problems


def type_name(field: Any) -> str:
    """The type of a SchemaField as the schema file would write it, with its parameters, such as `STRING(10)`."""
    name = _STANDARD.get(field.field_type, field.field_type)
    parameters = [str(value) for value in (field.max_length, field.precision, field.scale) if value is not None]
    name += f"({', '.join(parameters)})" if parameters else ""
    return f"ARRAY<{name}>" if field.mode == "REPEATED" else name
