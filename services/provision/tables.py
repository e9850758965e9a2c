"""BigQuery: the dataset, the log table each, the view over it, and the views for analysts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from google.api_core import exceptions
from google.cloud import bigquery

from services.provision import expressions, schema_evolution, view
from services.provision.analyst_views import AnalystView
from services.provision.resource import CALL, LABELS, ProvisionRefused, Step
from services.shared.schema import MARK, Schema, Table

Sql = Callable[[Sequence[str]], str]
_DAY_MS = 24 * 60 * 60 * 1000


class Dataset:
    description = "Events of pixelpipe: query the views, rows are appended to the tables ending in _log"

    def __init__(self, client: Any, project: str, dataset: str, location: str) -> None:
        self._client, self._location = client, location
        self._reference = bigquery.DatasetReference(project, dataset)
        self.name, self.source = f"dataset {dataset}", "PIPE_DATASET"

    def plan(self) -> Step:
        try:
            found = self._client.get_dataset(self._reference, **CALL)
        except exceptions.NotFound:
            return Step("create", f"in {self._location}", self._create)
        if found.location and found.location.lower() != self._location.lower():
            raise ProvisionRefused(
                f"{self.name}: it is in {found.location}, PIPE_LOCATION is {self._location}, and a dataset cannot "
                f"move: set PIPE_LOCATION={found.location}, or choose another PIPE_DATASET"
            )
        drift = self._drift(found)
        if not drift:
            return Step("keep")
        # With the etag of `found`, so nothing that another run changed meanwhile is undone.
        return Step(
            "update", ", ".join(drift.values()), lambda: self._client.update_dataset(found, list(drift), **CALL)
        )

    def _drift(self, found: Any) -> dict[str, str]:
        """Set on `found` what differs; a text for each property."""
        labels = {**found.labels, **LABELS}
        if labels == found.labels:
            return {}
        found.labels = labels
        return {"labels": "labels"}

    def _create(self) -> None:
        dataset = bigquery.Dataset(self._reference)
        dataset.location = self._location
        dataset.description = self.description
        dataset.labels = dict(LABELS)
        self._client.create_dataset(dataset, **CALL)


class LogTable:
    """The table rows are appended to."""

    def __init__(self, client: Any, project: str, dataset: str, table: Table) -> None:
        self._client, self._table = client, table
        if view.has_history(table):
            self._table = replace(table, columns=(*table.columns, view.MARK_COLUMN))
        self._reference = bigquery.DatasetReference(project, dataset).table(table.log_name)
        self.name = f"table {dataset}.{table.log_name}"
        self.source = f"`{table.name}` in the schema file"
        # The names of all columns of the view as they will be once the latest plan is carried out.
        self.columns: tuple[str, ...] = tuple(column.name for column in table.columns)
        self.marked = False  # whether compaction may have marked rows, by the latest plan

    def plan(self) -> Step:
        wanted, self.marked = self._table, False
        try:
            found = self._client.get_table(self._reference, **CALL)
        except exceptions.NotFound:
            return Step("create", f"{len(wanted.columns)} columns, by {wanted.partition}", self._create)
        if found.table_type != "TABLE":
            raise ProvisionRefused(f"{self.name}: there is a {found.table_type} of this name; rename or drop it")
        evolution = schema_evolution.evolve(wanted, found.schema)
        self.columns = tuple(field.name for field in evolution.fields if field.name != MARK)
        self.marked = any(field.name == MARK for field in found.schema)
        if problems := [*_partition_problems(wanted, found), *evolution.problems]:
            raise ProvisionRefused("\n".join(f"{self.name}: {problem}" for problem in problems))
        changes = list(evolution.changes)
        properties = ["schema"] if changes else []
        if changes:
            found.schema = list(evolution.fields)
        for name, text in self._drift(found):
            changes.append(text)
            properties.append(name)
        alone = []
        if strangers := [name for name in evolution.strangers if name != MARK]:
            alone = [f"no longer filled, not in the schema file: {', '.join(strangers)}"]
        if not properties:
            return Step("keep", "; ".join(alone))
        if "time_partitioning" in properties and "require_partition_filter" not in properties:
            # It was once a part of the partitioning, so leaving it out there could take it off.
            properties.append("require_partition_filter")
        # With the etag of `found`, so nothing that another run changed meanwhile is undone.
        return Step("update", "; ".join(changes + alone), lambda: self._client.update_table(found, properties, **CALL))

    def _drift(self, found: Any) -> list[tuple[str, str]]:
        """Set on `found` what differs from the schema file; the property and a text for each."""
        wanted = self._table
        drift = []
        if wanted.description and found.description != wanted.description:
            found.description = wanted.description
            drift.append(("description", "description"))
        labels = {**found.labels, **_labels(wanted)}
        if labels != found.labels:
            found.labels = labels
            drift.append(("labels", "labels"))
        if tuple(found.clustering_fields or ()) != wanted.cluster:
            drift.append(("clustering_fields", f"clustered by {', '.join(wanted.cluster) or 'nothing'} from now on"))
            found.clustering_fields = list(wanted.cluster) or None
        filtered, expires = wanted.require_partition_filter, _expiration_ms(wanted)
        if bool(found.require_partition_filter) != filtered:
            drift.append(("require_partition_filter", f"partition filter {'' if filtered else 'not '}required"))
        if found.time_partitioning.expiration_ms != expires:
            found.time_partitioning = _partitioning(wanted)
            drift.append(
                ("time_partitioning", f"partitions expire {f'after {wanted.expire_days} days' if expires else 'never'}")
            )
        found.require_partition_filter = filtered
        return drift

    def _create(self) -> None:
        wanted = self._table
        table = bigquery.Table(self._reference, schema=list(schema_evolution.fields(wanted)))
        table.time_partitioning = _partitioning(wanted)
        table.require_partition_filter = wanted.require_partition_filter
        if wanted.cluster:
            table.clustering_fields = list(wanted.cluster)
        table.description = wanted.description or None
        table.labels = _labels(wanted)
        self._client.create_table(table, **CALL)


class View:
    """What users query: the rows of a log table, every event once."""

    def __init__(
        self, client: Any, project: str, dataset: str, table: Table, log_table: LogTable, sql: Sql | None = None
    ) -> None:
        """`sql` writes it from the columns; without it, it shows all rows of its own dataset's log table."""
        self._client, self._table, self._log_table = client, table, log_table
        self._sql = sql or (lambda columns: view.sql(table, project, dataset, columns))
        self._checks = sql is None  # the views of tenants have the same expressions
        self._reference = bigquery.DatasetReference(project, dataset).table(table.name)
        self.name = f"view {dataset}.{table.name}"
        self.source = f"`{table.name}` in the schema file"

    def plan(self) -> Step:
        """Rests on the latest plan of the log table."""
        if self._table.columns and (text := view.problem(self._table)):
            raise ProvisionRefused(f"{self.name}: {text}")
        if self._checks and (problems := expressions.problems(self._client, self._table)):
            raise ProvisionRefused("\n".join(f"{self.name}: {problem}" for problem in problems))
        sql = self._sql(self._log_table.columns)
        try:
            found = self._client.get_table(self._reference, **CALL)
        except exceptions.NotFound:
            detail = f"each event of {self._table.log_name} once" if self._table.columns else self._table.description
            return Step("create", detail, lambda: _make(self._client, self._reference, self._wanted(sql)))
        if found.table_type != "VIEW":
            raise ProvisionRefused(f"{self.name}: there is a {found.table_type} of this name; rename or drop it")
        if self._log_table.marked and view.counts_by(found.view_query, self._table):
            # Compaction moves the watermark, and nobody else.
            sql = view.settled(sql, view.watermark(found.view_query) or view.NO_DAY)
        return _repair(self._client, found, self._wanted(sql))

    def _wanted(self, sql: str) -> _Wanted:
        columns = {column.name: column.description for column in self._table.expressions if column.description}
        return _Wanted(sql, self._table.description, _labels(self._table), columns)


class AnalystTableView:
    """A view for analysts, unless there is something of its name that is not ours: that is left alone."""

    def __init__(self, client: Any, project: str, dataset: str, wanted: AnalystView, schema: Schema) -> None:
        self._client, self._wanted, self._missing = client, wanted, wanted.missing(schema)
        self._reference = bigquery.DatasetReference(project, dataset).table(wanted.name)
        self.name, self.source = f"view {dataset}.{wanted.name}", "`views` in the schema file"
        if self._missing is None:
            table = schema.tables[wanted.table]
            sql, columns = wanted.sql(schema, project, dataset), wanted.described(table)
            self._view = _Wanted(sql, wanted.description, dict(LABELS), columns)

    def plan(self) -> Step:
        if self._missing:
            return Step("keep", f"left out: {self._missing}")
        try:
            found = self._client.get_table(self._reference, **CALL)
        except exceptions.NotFound:
            make = lambda: _make(self._client, self._reference, self._view)  # noqa: E731
            return Step("create", self._wanted.description, make)
        if found.table_type != "VIEW" or any(found.labels.get(name) != value for name, value in LABELS.items()):
            return Step("keep", f"left out: there is a {found.table_type} of this name that is not ours")
        return _repair(self._client, found, self._view)


@dataclass(frozen=True)
class _Wanted:
    """A view as it should be; `columns` are the descriptions of those that have one."""

    sql: str
    description: str
    labels: dict[str, str]
    columns: dict[str, str]


def _make(client: Any, reference: Any, wanted: _Wanted) -> None:
    table = bigquery.Table(reference)
    table.view_query, table.description, table.labels = wanted.sql, wanted.description or None, wanted.labels
    _describe(client, client.create_table(table, **CALL), wanted.columns)


def _repair(client: Any, found: Any, wanted: _Wanted) -> Step:
    changed = []
    if found.view_query != wanted.sql or found.view_use_legacy_sql:
        found.view_query, found.view_use_legacy_sql = wanted.sql, False
        changed.append("view_query")
    if wanted.description and found.description != wanted.description:
        found.description = wanted.description
        changed.append("description")
    labels = {**found.labels, **wanted.labels}
    if labels != found.labels:
        found.labels = labels
        changed.append("labels")
    if not changed and not _undescribed(found, wanted.columns):
        return Step("keep")

    def update() -> None:
        _describe(client, client.update_table(found, changed, **CALL) if changed else found, wanted.columns)

    detail = ", ".join("SQL" if name == "view_query" else name for name in changed) or "columns' descriptions"
    return Step("update", detail, update)


def _describe(client: Any, made: Any, descriptions: dict[str, str]) -> None:
    """BigQuery takes descriptions of a view's columns only once it knows them: of a view that is there."""
    if made.schema and _undescribed(made, descriptions):
        fields = [_described(field.to_api_repr(), descriptions) for field in made.schema]
        made.schema = [bigquery.SchemaField.from_api_repr(field) for field in fields]
        client.update_table(made, ["schema"], **CALL)


def _undescribed(found: Any, descriptions: dict[str, str]) -> bool:
    return any(descriptions.get(field.name, field.description) != field.description for field in found.schema)


def _described(field: dict[str, Any], descriptions: dict[str, str]) -> dict[str, Any]:
    name = field["name"]
    return {**field, "description": descriptions[name]} if name in descriptions else field


def _labels(table: Table) -> dict[str, str]:
    return {**dict(table.labels), **LABELS}


def _partition_problems(wanted: Table, found: Any) -> list[str]:
    partitioning = found.time_partitioning
    have = f"by {partitioning.type_} of {partitioning.field or 'the time of loading'}" if partitioning else "not at all"
    if partitioning and partitioning.type_ == "DAY" and partitioning.field == wanted.partition:
        return []
    return [
        f"it is partitioned {have}, the schema file wants it by DAY of {wanted.partition}; the partitioning of a table "
        "cannot change: copy its rows to a new table, or go back"
    ]


def _partitioning(table: Table) -> Any:
    partitioning = bigquery.TimePartitioning(type_=bigquery.TimePartitioningType.DAY, field=table.partition)
    partitioning.expiration_ms = _expiration_ms(table)  # also where it is none: that clears what was there
    return partitioning


def _expiration_ms(table: Table) -> int | None:
    return table.expire_days * _DAY_MS if table.expire_days else None
