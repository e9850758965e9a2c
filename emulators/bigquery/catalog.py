"""Datasets, tables, views, table functions: their definitions, and the rows of DuckDB's `meta` schema that keep them.

The dictionaries are what every request reads. They change on the writer thread only, after the commit
that made the change durable, and their values are frozen, so a reader never sees half a change.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any

from emulators.bigquery.errors import ApiError, not_found
from emulators.bigquery.nested_types import is_nested
from emulators.bigquery.table_schema import Column, from_known

# When a row was written, in the DuckDB table of every table: no column that anyone sees.
WRITTEN = '"$written"'
WRITTEN_TYPE = "TIMESTAMP WITH TIME ZONE DEFAULT now()"
DatasetKey = tuple[str, str]  # project, dataset
TableKey = tuple[str, str, str]  # project, dataset, table


@dataclass(frozen=True)
class Dataset:
    project: str
    name: str
    created: int  # milliseconds since 1970
    modified: int
    fields: dict[str, Any] = field(default_factory=dict)  # description, labels, location … as given

    @property
    def key(self) -> DatasetKey:
        return self.project, self.name

    @property
    def etag(self) -> str:
        return etag(asdict(self))


@dataclass(frozen=True)
class RowPolicy:
    """A row access policy: kept and shown. There are no identities here, so it hides no row from anyone."""

    name: str
    filter: str
    grantees: tuple[str, ...]
    created: int = 0  # milliseconds since 1970
    modified: int = 0

    @property
    def etag(self) -> str:
        return etag(asdict(self))


@dataclass(frozen=True)
class Table:
    project: str
    dataset: str
    name: str
    id: int  # rows are in DuckDB's rows.t<id>; a view has an id and no rows
    created: int
    modified: int
    revision: int
    columns: tuple[Column, ...]
    view: str | None = None
    partition: str | None = None  # column name
    require_filter: bool = False
    clustering: tuple[str, ...] = ()
    fields: dict[str, Any] = field(default_factory=dict)  # description, labels, friendlyName
    policies: tuple[RowPolicy, ...] = ()

    @property
    def key(self) -> TableKey:
        return self.project, self.dataset, self.name

    @property
    def rows(self) -> str:
        """The DuckDB table that holds the rows."""
        return f"rows.t{self.id}"

    @property
    def title(self) -> str:
        return f"{self.project}:{self.dataset}.{self.name}"

    @property
    def etag(self) -> str:
        return etag(asdict(replace(self, policies=())))  # a policy has an etag of its own

    @cached_property
    def nested(self) -> bool:
        """Whether it has a RECORD or REPEATED column."""
        return any(is_nested(column.type) for column in self.columns)

    def column(self, name: str) -> Column | None:
        return self._named.get(name.lower())

    @cached_property
    def _named(self) -> dict[str, Column]:
        return {column.name.lower(): column for column in self.columns}


@dataclass(frozen=True)
class TableFunction:
    """A query with parameters, which FROM calls. No other routines are kept."""

    project: str
    dataset: str
    name: str
    created: int  # milliseconds since 1970
    modified: int
    arguments: tuple[tuple[str, str], ...]  # name and type
    body: str  # the query
    columns: tuple[tuple[str, str], ...] = ()  # name and type, as the query gave them when it was written
    description: str | None = None

    @property
    def key(self) -> TableKey:
        return self.project, self.dataset, self.name

    @property
    def title(self) -> str:
        return f"{self.project}:{self.dataset}.{self.name}"

    @property
    def etag(self) -> str:
        return etag(asdict(self))


def etag(known: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()[:22] + "=="


@dataclass
class Catalog:
    """All datasets and tables, as last committed. A change makes a new dictionary, so readers need no lock."""

    datasets: dict[DatasetKey, Dataset] = field(default_factory=dict)
    tables: dict[TableKey, Table] = field(default_factory=dict)
    functions: dict[TableKey, TableFunction] = field(default_factory=dict)

    def dataset(self, project: str, dataset: str) -> Dataset:
        found = self.datasets.get((project, dataset))
        if found is None:
            raise not_found(f"Dataset {project}:{dataset}")
        return found

    def table(self, project: str, dataset: str, table: str) -> Table:
        """The table or view; ApiError 404 that says whether the dataset or the table is missing."""
        self.dataset(project, dataset)
        found = self.tables.get((project, dataset, table))
        if found is None:
            raise not_found(f"Table {project}:{dataset}.{table}")
        return found

    def tables_of(self, project: str, dataset: str) -> Iterator[Table]:
        for key in sorted(self.tables):
            if key[:2] == (project, dataset):
                yield self.tables[key]

    def function(self, project: str, dataset: str, name: str) -> TableFunction:
        self.dataset(project, dataset)
        found = self.functions.get((project, dataset, name))
        if found is None:
            raise not_found(f"Routine {project}:{dataset}.{name}")
        return found

    def functions_of(self, project: str, dataset: str) -> Iterator[TableFunction]:
        for key in sorted(self.functions):
            if key[:2] == (project, dataset):
                yield self.functions[key]

    def set_dataset(self, dataset: Dataset) -> None:
        self.datasets = {**self.datasets, dataset.key: dataset}

    def forget_dataset(self, key: DatasetKey) -> None:
        self.datasets = {other: dataset for other, dataset in self.datasets.items() if other != key}
        self.tables = {other: table for other, table in self.tables.items() if other[:2] != key}
        self.functions = {other: function for other, function in self.functions.items() if other[:2] != key}

    def set_table(self, table: Table) -> None:
        self.tables = {**self.tables, table.key: table}

    def forget_table(self, key: TableKey) -> None:
        self.tables = {other: table for other, table in self.tables.items() if other != key}

    def set_function(self, function: TableFunction) -> None:
        self.functions = {**self.functions, function.key: function}

    def forget_function(self, key: TableKey) -> None:
        self.functions = {other: function for other, function in self.functions.items() if other != key}


SCHEMA = """
CREATE SCHEMA IF NOT EXISTS meta;
CREATE SCHEMA IF NOT EXISTS rows;
CREATE TABLE IF NOT EXISTS meta.datasets (project VARCHAR, name VARCHAR, known VARCHAR);
CREATE TABLE IF NOT EXISTS meta.tables (project VARCHAR, dataset VARCHAR, name VARCHAR, id BIGINT, known VARCHAR);
CREATE TABLE IF NOT EXISTS meta.functions (project VARCHAR, dataset VARCHAR, name VARCHAR, known VARCHAR);
CREATE TABLE IF NOT EXISTS meta.ids (last BIGINT);
INSERT INTO meta.ids SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM meta.ids);
CREATE TABLE IF NOT EXISTS meta.jobs (project VARCHAR, id VARCHAR, created BIGINT, kind VARCHAR, known VARCHAR);
"""


def load(connection: Any) -> Catalog:
    catalog = Catalog()
    for (known,) in connection.execute("SELECT known FROM meta.datasets").fetchall():
        dataset = Dataset(**json.loads(known))
        catalog.datasets[dataset.key] = dataset
    for (known,) in connection.execute("SELECT known FROM meta.tables").fetchall():
        fields = json.loads(known)
        fields["columns"] = tuple(from_known(column) for column in fields["columns"])
        fields["clustering"] = tuple(fields["clustering"])
        fields["policies"] = tuple(
            RowPolicy(**{**policy, "grantees": tuple(policy["grantees"])}) for policy in fields.get("policies", ())
        )
        table = Table(**fields)
        catalog.tables[table.key] = table
        if table.view is None:  # in a file of before this column, all rows are of now
            connection.execute(f"ALTER TABLE {table.rows} ADD COLUMN IF NOT EXISTS {WRITTEN} {WRITTEN_TYPE}")
    for (known,) in connection.execute("SELECT known FROM meta.functions").fetchall():
        fields = json.loads(known)
        for part in ("arguments", "columns"):
            fields[part] = tuple((name, type_) for name, type_ in fields[part])
        function = TableFunction(**fields)
        catalog.functions[function.key] = function
    return catalog


def next_id(connection: Any) -> int:
    """An id that no table has ever had."""
    return int(connection.execute("UPDATE meta.ids SET last = last + 1 RETURNING last").fetchone()[0])


def put_dataset(connection: Any, dataset: Dataset) -> None:
    drop_dataset(connection, dataset.key)
    connection.execute("INSERT INTO meta.datasets VALUES (?, ?, ?)", [*dataset.key, json.dumps(asdict(dataset))])


def drop_dataset(connection: Any, key: DatasetKey) -> None:
    connection.execute("DELETE FROM meta.datasets WHERE project = ? AND name = ?", list(key))


def put_table(connection: Any, table: Table) -> None:
    drop_table(connection, table.key)
    known = json.dumps(asdict(table))
    connection.execute("INSERT INTO meta.tables VALUES (?, ?, ?, ?, ?)", [*table.key, table.id, known])


def drop_table(connection: Any, key: TableKey) -> None:
    connection.execute("DELETE FROM meta.tables WHERE project = ? AND dataset = ? AND name = ?", list(key))


def put_function(connection: Any, function: TableFunction) -> None:
    drop_function(connection, function.key)
    connection.execute("INSERT INTO meta.functions VALUES (?, ?, ?, ?)", [*function.key, json.dumps(asdict(function))])


def drop_function(connection: Any, key: TableKey) -> None:
    connection.execute("DELETE FROM meta.functions WHERE project = ? AND dataset = ? AND name = ?", list(key))


def check_etag(wanted: str | None, found: str) -> None:
    """Honour an If-Match header; ApiError 412 if the resource has changed since."""
    if wanted and wanted.strip() not in ("*", found, f'"{found}"'):
        raise ApiError(412, "conditionNotMet", f"Precondition check failed. Expected etag {wanted}, found {found}.")
