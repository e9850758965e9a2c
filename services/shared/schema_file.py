"""Reads and checks a schema file; every mistake becomes a one-line error with its line and column in the file."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from pathlib import Path

import yaml

from services.shared import schema, schema_routes, schema_yaml
from services.shared.schema import Column, Schema, SchemaError, Table
from services.shared.schema_columns import ColumnsReader
from services.shared.schema_lookups import LookupsReader
from services.shared.schema_nodes import NodeReader, near, quoted
from services.shared.schema_privacy import PrivacyReader
from services.shared.schema_sources import SourcesReader
from services.shared.schema_tenant_tables import TenantTables
from services.shared.schema_tenants import TenantsReader
from services.shared.tenants import Tenants

FILE_KEYS = ("expire_days", "privacy", "tenants", "views", "lookups", "tables")
NO_VIEWS = "none"
TABLE_KEYS = (
    "description", "when", "copy", "sample", "tenants", "partition", "require_partition_filter", "expire_days",
    "cluster", "unique", "require_any", "labels", "write", "columns",
)  # fmt: skip
NEVER = "never"  # of expire_days: kept, whatever the file's default
MOST_CLUSTERED = 4  # BigQuery's limits, here and below
TABLE_DESCRIPTION = 16_384
MOST_LABELS = 64
_SHARE = re.compile(r"0?\.[0-9]{1,9}|1(\.0)?")
# BigQuery takes letters and digits of all scripts, but no capitals.
_LABEL, _LABEL_VALUE = re.compile(r"[^\W\d_][\w-]{0,62}"), re.compile(r"[\w-]{0,63}")


def load(path: Path) -> Schema:
    """The schema of a file. Raises SchemaError for a file that cannot be read or used."""
    return parse(schema_yaml.read(path), str(path))


def parse(text: str, file: str = "schema.yaml") -> Schema:
    """The schema in a YAML text. Raises SchemaError with a line for each problem found."""
    found = _Reader(file).read(text)
    return dataclasses.replace(found, digest=hashlib.sha256(text.encode()).hexdigest()[:12])


class _Reader(NodeReader):
    def __init__(self, file: str) -> None:
        super().__init__(file)
        self._tenants, self._found = TenantsReader(file, self._errors), Tenants()
        self._expire_days: int | None = None
        self._places: dict[str, yaml.Node] = {}  # of each table's conditions, or of the table if it has none
        self._privacy = PrivacyReader(file, self._errors)
        self._sources = SourcesReader(file, self._errors, self._privacy)
        self._column_reader = ColumnsReader(file, self._errors, self._sources)

    def read(self, text: str) -> Schema:
        root = schema_yaml.compose(text, self._file)
        if root is None:
            raise SchemaError(f"{self._file}:1:1: the file is empty; it needs `tables:`")
        tables: dict[str, Table] = {}
        taken: set[str] = set()
        keys = self._mapping(root, "the file", FILE_KEYS, required=("tables",))
        privacy = self._privacy.read(keys.get("privacy"))
        self._found = self._tenants.read(keys.get("tenants"))
        self._expire_days = self._days(keys.get("expire_days"), "the file", None)
        views = self._views(keys.get("views"))
        lookups = LookupsReader(self._file, self._errors, self._sources).read(keys.get("lookups"))
        self._sources.lookups = lookups
        if "tables" in keys:
            for name, node in self._mapping(keys["tables"], "tables").items():
                for table in self._tables(name, node):
                    if table.name.lower() in taken:
                        self._error(node, f"table {table.name} is there twice; rename one")
                    if table.name.lower().removesuffix(schema.LOG_SUFFIX) in schema.RESERVED:
                        self._error(node, f"table {table.name}: the provisioner makes one of this name; choose another")
                    taken.add(table.name.lower())
                    tables[table.name] = table
            self._check_names(tables, keys["tables"])
        if not self._errors:  # what could not be read would look like a table without conditions
            self._check_routes(tables)
        if self._errors:
            raise SchemaError(self._report())
        return Schema(tables, privacy=privacy, tenants=self._found, expire_days=self._expire_days, views=views)

    def _views(self, node: yaml.Node | None) -> tuple[str, ...] | None:
        if node is None:
            return None
        chosen = self._texts(node, "views")
        if chosen == [NO_VIEWS]:
            return ()
        for item in node.value if isinstance(node, yaml.SequenceNode) else [node]:
            if isinstance(item, yaml.ScalarNode) and item.value in chosen and item.value not in schema.VIEWS:
                known = f"{', '.join(schema.VIEWS)}, or `views: {NO_VIEWS}`"
                self._error(item, f"views: {quoted(item.value)} is none of {known}{near(item.value, schema.VIEWS)}")
        return tuple(chosen)

    def _check_routes(self, tables: dict[str, Table]) -> None:
        told = set()
        events = [one for name, one in tables.items() if name != schema.REJECTS]
        for table, takers in schema_routes.unreachable(events):
            place = self._places[table.name]
            if id(place) in told:  # another tenant's table, from the same lines of the file
                continue
            told.add(id(place))
            why = "two of its conditions exclude each other; change one"
            if takers:
                more = f" and {len(takers) - 3} more" if len(takers) > 3 else ""
                why = (
                    f"{', '.join(takers[:3])}{more} before it takes all that it would; tables are tried in order: "
                    "move it up, or change its `when`"
                )
            self._error(place, f"table {table.name}: no event can reach it: {why}")

    def _check_names(self, tables: dict[str, Table], node: yaml.Node) -> None:
        lower = {name.lower() for name in tables}
        for name in tables:
            if (name + schema.LOG_SUFFIX).lower() in lower:
                self._error(
                    node, f"table {name}{schema.LOG_SUFFIX} has the name of the log table of {name}; rename one"
                )
        if schema.REJECTS not in tables:
            self._error(node, f"there is no table `{schema.REJECTS}`: an event that is refused has nowhere to go")
        if not any(name != schema.REJECTS and not one.copy for name, one in tables.items()) and not self._errors:
            copies = " that is not a copy: one with `copy` takes what another table takes" if len(tables) > 1 else ""
            self._error(node, f"there is no table for events{copies}")

    def _tables(self, name: str, node: yaml.Node) -> list[Table]:
        keys = self._mapping(node, f"table {name}", TABLE_KEYS, required=("partition", "columns"))
        if wrong := schema.valid_name(name.replace(schema.TENANT, "tenant")):
            self._error(node, f"table {name}: {wrong}")
        columns = self._column_reader.read(name, keys.get("columns"))
        by_name = {column.name: column for column in columns or () if not column.expression}
        partition = self._text(keys.get("partition"), f"table {name}: partition")
        if partition and by_name:
            self._check_partition(name, keys["partition"], by_name, partition)
        cluster = self._texts(keys.get("cluster"), f"table {name}: cluster")
        self._check_cluster(name, keys.get("cluster"), by_name, cluster)
        unique = self._unique(name, keys["unique"], by_name) if "unique" in keys else None
        require_any = self._require_any(name, keys.get("require_any"), by_name)
        if columns is not None:
            self._check_needed(name, node, columns)
        if "write" in keys:
            self._error(
                keys["write"], f"table {name}: `write` is gone: the Storage Write API appends all rows; remove it"
            )
        conditions = self._sources.conditions(keys.get("when"), f"table {name}: when", name)
        for key in ("when", "copy", "sample") if name == schema.REJECTS else ():
            if key in keys:
                self._error(keys[key], f"table {name} takes what no other table could: it has no `{key}`")
        table = Table(
            name=name,
            columns=tuple(by_name.values()),
            partition=partition,
            cluster=tuple(cluster),
            conditions=tuple(conditions),
            description=self._description(keys, f"table {name}", TABLE_DESCRIPTION),
            require_partition_filter=self._bool(keys, name, "require_partition_filter"),
            copy=self._bool(keys, name, "copy"),
            sample=self._sample(name, keys.get("sample"), by_name),
            labels=self._labels(name, keys.get("labels")),
            expressions=tuple(column for column in columns or () if column.expression),
            expire_days=self._days(keys.get("expire_days"), f"table {name}", self._expire_days),
            unique=unique,
            require_any=require_any,
        )
        if self._found:
            table = self._tenants.check(table, keys.get("columns"), keys.get("when"))
        tables = TenantTables(self._file, self._errors).read(table, keys.get("tenants"), node, self._found)
        self._places |= dict.fromkeys((one.name for one in tables), keys.get("when", node))
        return tables

    def _check_partition(self, name: str, node: yaml.Node, columns: dict[str, Column], partition: str) -> None:
        column = columns.get(partition)
        if column is None:
            self._error(
                node, f"table {name}: partition: there is no column {quoted(partition)}{near(partition, columns)}"
            )
        elif column.type not in schema.PARTITIONABLE:
            self._error(node, f"table {name}: partition: {partition} is {column.type}; use a DATE or TIMESTAMP column")
        elif not column.required:
            self._error(
                node,
                f"table {name}: partition: {partition} may be NULL, and no filter on days finds such rows; make it "
                "`mode: REQUIRED`",
            )

    def _check_cluster(self, name: str, node: yaml.Node | None, columns: dict[str, Column], cluster: list[str]) -> None:
        if len(cluster) > MOST_CLUSTERED:
            self._error(node, f"table {name}: cluster: {len(cluster)} columns; BigQuery takes at most {MOST_CLUSTERED}")
        for item in cluster[:MOST_CLUSTERED]:
            if item not in columns:
                self._error(node, f"table {name}: cluster: there is no column {quoted(item)}{near(item, columns)}")
            elif columns[item].type not in schema.CLUSTERABLE or columns[item].repeated:
                kind = f"{'REPEATED ' if columns[item].repeated else ''}{columns[item].type}"
                self._error(node, f"table {name}: cluster: BigQuery cannot cluster by {kind} ({item})")

    def _unique(self, name: str, node: yaml.Node, columns: dict[str, Column]) -> tuple[str, ...]:
        where = f"table {name}: unique"
        chosen: list[str] = []
        for item in node.value if isinstance(node, yaml.SequenceNode) else [node]:
            column = self._text(item, where)
            if not column:
                continue
            if column in chosen:
                self._error(item, f"{where}: {column} is there twice")
            elif column not in columns:
                self._error(item, f"{where}: there is no column {column!r}{near(column, columns)}")
            elif columns[column].type not in schema.GROUPABLE or columns[column].repeated:
                kind = f"{'REPEATED ' if columns[column].repeated else ''}{columns[column].type}"
                self._error(item, f"{where}: {column} is {kind}, which BigQuery cannot group by; choose another column")
            chosen.append(column)
        if isinstance(node, yaml.SequenceNode) and not node.value:
            self._error(node, f"{where}: name at least one column; for day and event id alone name that of event.id")
        return tuple(chosen)

    def _require_any(self, name: str, node: yaml.Node | None, columns: dict[str, Column]) -> tuple[str, ...]:
        where = f"table {name}: require_any"
        chosen = self._texts(node, where)
        if node is not None and len(set(chosen)) < 2:
            self._error(node, f"{where}: name two columns or more; for one alone write `mode: REQUIRED` at the column")
        if node is not None and name == schema.REJECTS:
            self._error(node, f"table {name} takes what no other table could: it has no `require_any`")
        for item in chosen:
            if item not in columns:
                self._error(node, f"{where}: there is no column {quoted(item)}{near(item, columns)}")
        return tuple(chosen)

    def _check_needed(self, name: str, node: yaml.Node, columns: list[Column]) -> None:
        """The view deduplicates by day and event id and keeps the earliest: every table needs those three."""
        for source in ("event.day", "event.id", "hit.received_at"):
            found = [column for column in columns if [str(item) for item in column.sources] == [source]]
            if not found:
                self._error(node, f"table {name}: no column comes from {source} alone; the view deduplicates by it")
            elif not found[0].required:
                self._error(node, f"table {name}: column {found[0].name} (from {source}) must be `mode: REQUIRED`")
        for needed in ("reject.reason", "reject.hit") if name == schema.REJECTS else ():
            if not any(str(item) == needed for column in columns for item in column.sources):
                self._error(node, f"table {name}: no column comes from {needed}")

    def _sample(self, name: str, node: yaml.Node | None, columns: dict[str, Column]) -> float | None:
        where = f"table {name}: sample"
        text = self._text(node, where)
        if not text:
            return None
        share = float(text) if _SHARE.fullmatch(text) else 0.0
        if not 0 < share < 1:
            hint = "; for all events leave it out" if text in ("1", "1.0") else "; write 10% as 0.1"
            self._error(node, f"{where}: {quoted(text)} is not a number between 0 and 1{hint}")
        if not any(one in columns and columns[one].scalar for one in schema.PERSON_COLUMNS):
            wanted = ", ".join(schema.PERSON_COLUMNS)
            self._error(node, f"{where}: it keeps or leaves whole people, by the columns {wanted}; add one of them")
        return share

    def _labels(self, name: str, node: yaml.Node | None) -> tuple[tuple[str, str], ...]:
        where = f"table {name}: labels"
        found = {}
        for key, value in (self._mapping(node, where) if node is not None else {}).items():
            # An empty value is one that BigQuery takes.
            empty = isinstance(value, yaml.ScalarNode) and not value.value and value.style in ("'", '"')
            text = "" if empty else self._text(value, f"{where}: {key}")
            if not _LABEL.fullmatch(key) or key != key.lower():
                self._error(
                    value,
                    f"{where}: {quoted(key)}: a key is at most 63 lower-case letters, digits, - and _, the first a "
                    "letter",
                )
            elif key in schema.OWN_LABELS:
                why = "made the table" if key in schema.LABELS else "has compacted it"
                self._error(value, f"{where}: {key} says that pixelpipe {why}; choose another key")
            if not _LABEL_VALUE.fullmatch(text) or text != text.lower():
                self._error(
                    value, f"{where}: {key}: {quoted(text)}: a value is at most 63 lower-case letters, digits, - and _"
                )
            found[key] = text
        if len(found) > MOST_LABELS - len(schema.OWN_LABELS):
            self._error(node, f"{where}: {len(found)} labels; BigQuery takes {MOST_LABELS}, of which two are ours")
        return tuple(found.items())

    def _bool(self, keys: dict[str, yaml.Node], table: str, key: str) -> bool:
        return self._choice(keys.get(key), f"table {table}: {key}", ("true", "false")) == "true"

    def _days(self, node: yaml.Node | None, where: str, default: int | None) -> int | None:
        text = self._text(node, f"{where}: expire_days")
        if text == NEVER:
            return None
        if not text:
            return default
        if not re.fullmatch(r"[1-9][0-9]{0,4}", text):
            self._error(
                node,
                f"{where}: expire_days: {quoted(text)} is not a whole number of days from 1 to 99999, nor `{NEVER}`",
            )
            return None
        return int(text)
