"""Statements that change something, each in one commit on the writer thread."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import duckdb

from emulators.bigquery import table_schema, tables
from emulators.bigquery.catalog import Table
from emulators.bigquery.errors import ApiError, duplicate, invalid_query, not_found
from emulators.bigquery.sql import ddl, dml, nested
from emulators.bigquery.store import FAILURES, Store, query_error
from emulators.bigquery.table_schema import quote
from emulators.bigquery.writer import Connection

Publish = Callable[[], None]


@dataclass(frozen=True)
class Changed:
    """How many rows a statement inserted, updated and deleted."""

    inserted: int = 0
    updated: int = 0
    deleted: int = 0

    @property
    def rows(self) -> int:
        return self.inserted + self.updated + self.deleted

    def resource(self) -> dict[str, str]:
        """As dmlStats of a job's statistics."""
        return {
            "insertedRowCount": str(self.inserted),
            "updatedRowCount": str(self.updated),
            "deletedRowCount": str(self.deleted),
        }


_FIELDS = {"INSERT": "inserted", "UPDATE": "updated", "DELETE": "deleted", "TRUNCATE_TABLE": "deleted"}


def change_rows(connection: Connection, store: Store, change: dml.Change) -> Changed:
    """Run an INSERT, UPDATE, DELETE, MERGE or TRUNCATE; return how many rows it changed, and how."""
    now = store.catalog.tables.get(change.table.key)
    if now is None or now.id != change.table.id:
        raise not_found(f"Table {change.table.title}")
    try:
        if change.doubled is not None and connection.execute(change.doubled).fetchone() is not None:
            raise invalid_query("UPDATE/MERGE must match at most one source row for each target row")
        if change.kind == "MERGE":
            return _merged(connection, change.sql)
        row = connection.execute(change.sql).fetchone()
    except duckdb.ConstraintException as error:
        column = str(error).split("failed: ")[-1].split(".")[-1].strip()
        raise invalid_query(f"Required field {column} cannot be null") from error
    except FAILURES as error:
        raise query_error(error) from error
    return Changed(**{_FIELDS[change.kind]: int(row[0]) if row else 0})


def _merged(connection: Connection, sql: str) -> Changed:
    """Run a MERGE; DuckDB itself counts only all of its changes together."""
    reader = connection.execute(f"{sql} RETURNING merge_action").to_arrow_reader(100_000)
    found = Counter[str]()
    for batch in reader:
        for pair in batch.column(0).value_counts().to_pylist():
            found[_FIELDS[pair["values"]]] += pair["counts"]
    return Changed(**found)


def define(connection: Connection, store: Store, definition: ddl.Definition) -> tuple[str, Publish]:
    """Run a CREATE, DROP or ALTER; return BigQuery's ddlOperationPerformed, and what makes it visible."""
    project, dataset, name = definition.key
    store.catalog.dataset(project, dataset)
    old = store.catalog.tables.get(definition.key)
    if definition.kind.startswith(("DROP", "ALTER")):
        if old is not None:
            of_old = _alter if definition.kind == "ALTER_TABLE" else _drop
            return of_old(connection, store, definition, old)
        if definition.unless:
            return "SKIP", lambda: None
        raise not_found("Table {}:{}.{}".format(*definition.key))
    if old is not None and definition.unless:
        return "SKIP", lambda: None
    if old is not None and not definition.replace:
        raise duplicate(f"Table {old.title}")
    if old is not None and (old.view is None) != ("view" not in definition.body):
        raise invalid_query(
            f"{old.title} is a {'table' if old.view is None else 'view'}, and cannot be replaced by the other"
        )
    made = tables.build(connection, tables.define(store, project, dataset, name, definition.body))
    if definition.query is not None:
        names = ", ".join(quote(column.name) for column in made.columns)
        values = ", ".join(nested.stored(f"c{place}", column) for place, column in enumerate(made.columns))
        try:
            given = f"SELECT {values} FROM ({definition.query.sql})"  # noqa: S608 - generated
            connection.execute(f"INSERT INTO {made.rows} ({names}) {given}")
        except FAILURES as error:
            raise query_error(error) from error
    if old is not None and old.view is None:
        connection.execute(f"DROP TABLE {old.rows}")
    return "REPLACE" if old is not None else "CREATE", lambda: store.catalog.set_table(made)


def _drop(connection: Connection, store: Store, definition: ddl.Definition, old: Table) -> tuple[str, Publish]:
    if (old.view is not None) != (definition.kind == "DROP_VIEW"):
        raise invalid_query(f"{old.title} is a {'view' if old.view is not None else 'table'}")
    tables.drop_now(connection, old)
    return "DROP", lambda: store.catalog.forget_table(old.key)


def _alter(connection: Connection, store: Store, definition: ddl.Definition, old: Table) -> tuple[str, Publish]:
    tables.require_rows(old)
    wanted: list[dict[str, Any]] = [column.resource() for column in old.columns]
    for field, unless in definition.added:
        if old.column(field["name"]) is not None:
            if unless:
                continue
            raise ApiError(400, "invalidQuery", f"Column already exists: {field['name']}")
        wanted.append(field)
    new = replace(
        old,
        columns=table_schema.evolved(old.title, old.columns, table_schema.parse(wanted)),
        revision=old.revision + 1,
        modified=old.modified + 1,
    )
    tables.alter(connection, old, new)
    return "ALTER", lambda: store.catalog.set_table(new)
