"""The tables and views as other tools see them: what one can query, its columns and their types. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from services.provision import analyst_views
from services.provision.analyst_views import AnalystView
from services.shared.schema import STRUCT, Column, Schema, Table


@dataclass(frozen=True)
class Field:
    name: str
    type: str  # as GoogleSQL names it; STRUCT has `fields`
    description: str = ""
    required: bool = False
    repeated: bool = False
    fields: tuple[Field, ...] = ()

    @property
    def data_type(self) -> str:
        """The whole type, such as ARRAY<STRUCT<sku STRING>>."""
        inner = ", ".join(f"{one.name} {one.data_type}" for one in self.fields)
        whole = f"STRUCT<{inner}>" if self.type == STRUCT else self.type
        return f"ARRAY<{whole}>" if self.repeated else whole


@dataclass(frozen=True)
class Exported:
    """A view of the dataset. `key` are the columns that make a row unique, if that is known."""

    name: str
    description: str
    fields: tuple[Field, ...]
    key: tuple[str, ...] = ()
    day: str | None = None  # the column by which BigQuery reads only the days that are asked for
    analyst: bool = False  # whether its numbers are sums already


def exported(schema: Schema) -> tuple[Exported, ...]:
    """The view of each table, then the views for analysts that the file makes. Table functions are no tables."""
    made = (one for one in analyst_views.wanted(schema) if not one.arguments and one.missing(schema) is None)
    return (*map(_of_table, schema.tables.values()), *(_of_view(one, schema.tables[one.table]) for one in made))


def _of_table(table: Table) -> Exported:
    fields = tuple(map(_field, table.columns))
    return Exported(table.name, table.description, fields, table.key, table.filled_by("event.day").name)


def _field(column: Column) -> Field:
    return Field(
        column.name,
        column.type,
        column.description,
        column.required,
        column.repeated,
        tuple(map(_field, column.fields)),
    )


def _of_view(view: AnalystView, table: Table) -> Exported:
    fields = tuple(
        Field(name, analyst_views.TYPES.get(name, "STRING"), text) for name, text in view.described(table).items()
    )
    day = "day" if view.days and "day" in view.columns else None
    return Exported(view.name, view.description, fields, day=day, analyst=True)
