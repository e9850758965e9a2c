"""Reads the YAML of a schema file, keeping the line and column of everything for the errors it reports."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from services.shared import schema
from services.shared.schema import Column, Condition, Schema, SchemaError, Source, Table

_TABLE_KEYS = (
    "description",
    "when",
    "tenants",
    "partition",
    "require_partition_filter",
    "expire_days",
    "cluster",
    "unique",
    "write",
    "columns",
)
_COLUMN_KEYS = ("type", "mode", "from", "description")


def load(path: Path) -> Schema:
    """The schema of a file. Raises SchemaError for a file that cannot be read or used."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SchemaError(f"{path}: cannot be read: {error}; set PIPE_SCHEMA to the path of a schema file") from error
    return parse(text, str(path))


def parse(text: str, file: str = "schema.yaml") -> Schema:
    """The schema in a YAML text. Raises SchemaError with a line for each problem found."""
    return _Reader(file).read(text)


class _Reader:
    def __init__(self, file: str) -> None:
        self._file = file
        self._errors: list[tuple[int, int, str]] = []

    def read(self, text: str) -> Schema:
        try:
            root = yaml.compose(text, Loader=yaml.SafeLoader)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark
            where = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
            raise SchemaError(f"{self._file}{where}: not YAML: {error.problem or error.context}") from error
        except yaml.YAMLError as error:
            raise SchemaError(f"{self._file}: not YAML: {error}") from error
        if root is None:
            raise SchemaError(f"{self._file}:1:1: the file is empty; it needs `tables:`")
        tables: dict[str, Table] = {}
        keys = self._mapping(root, "the file", ("tables",), required=("tables",))
        if "tables" in keys:
            for name, node in self._mapping(keys["tables"], "tables").items():
                for table in self._tables(name, node):
                    other = next((known for known in tables if known.lower() == table.name.lower()), None)
                    if other is not None:
                        self._error(node, f"table {table.name} is there twice")
                    if table.name.lower() in (schema.CONFLICTS, schema.CONFLICTS + schema.LOG_SUFFIX):
                        self._error(node, f"table {table.name}: the provisioner makes one of this name; choose another")
                    tables[table.name] = table
            self._check_names(tables, keys["tables"])
        if self._errors:
            raise SchemaError(
                "\n".join(f"{self._file}:{line}:{col}: {text}" for line, col, text in sorted(self._errors))
            )
        return Schema(tables)

    def _check_names(self, tables: dict[str, Table], node: yaml.Node) -> None:
        for name in tables:
            if name + schema.LOG_SUFFIX in tables:
                self._error(
                    node, f"table {name}{schema.LOG_SUFFIX} has the name of the log table of {name}; rename one"
                )
        if schema.REJECTS not in tables:
            self._error(node, f"there is no table `{schema.REJECTS}`: what fails to type would have no place to go")
        if not set(tables) - {schema.REJECTS}:
            self._error(node, "there is no table for events")

    def _tables(self, name: str, node: yaml.Node) -> list[Table]:
        keys = self._mapping(node, f"table {name}", _TABLE_KEYS, required=("partition", "columns"))
        if wrong := schema.valid_name(name.replace(schema.TENANT, "tenant")):
            self._error(node, f"table {name}: {wrong}")
        columns = self._columns(name, keys.get("columns"))
        by_name = {column.name: column for column in columns}
        partition = self._text(keys.get("partition"), f"table {name}: partition")
        if partition and by_name:
            self._check_partition(name, keys["partition"], by_name, partition)
        cluster = self._texts(keys.get("cluster"), f"table {name}: cluster")
        self._check_cluster(name, keys.get("cluster"), by_name, cluster)
        unique = self._unique(name, keys["unique"], by_name) if "unique" in keys else None
        self._check_needed(name, node, columns)
        conditions = self._conditions(name, keys.get("when"))
        if name == schema.REJECTS and "when" in keys:
            self._error(keys["when"], f"table {name} takes what no other table could: it has no `when`")
        table = Table(
            name=name,
            columns=tuple(columns),
            partition=partition,
            cluster=tuple(cluster),
            conditions=tuple(conditions),
            description=self._text(keys.get("description"), f"table {name}: description"),
            require_partition_filter=self._bool(keys.get("require_partition_filter"), name),
            expire_days=self._days(keys.get("expire_days"), name),
            write=self._choice(keys.get("write"), f"table {name}: write", schema.WRITES) or schema.WRITES[0],
            unique=unique,
        )
        return self._per_tenant(table, keys.get("tenants"), node)

    def _per_tenant(self, table: Table, tenants: yaml.Node | None, node: yaml.Node) -> list[Table]:
        if schema.TENANT not in table.name:
            if tenants is not None:
                self._error(tenants, f"table {table.name}: `tenants` goes with a name that holds {schema.TENANT}")
            return [table]
        names = self._texts(tenants, f"table {table.name}: tenants")
        if not names:
            self._error(
                tenants or node, f"table {table.name}: list its `tenants`: a query string must never create a table"
            )
        source = next((column for column in table.columns if column.name == "tenant"), None)
        if source is None:
            self._error(node, f"table {table.name}: it needs a column `tenant` to choose the table by")
            return []
        tables = []
        for tenant in names:
            if not re.fullmatch(r"[A-Za-z0-9_]{1,100}", tenant):
                self._error(tenants or node, f"tenant {tenant!r}: letters, digits and underscores only, at most 100")
            condition = Condition(source.sources[0], frozenset({tenant}))
            fields = {**table.__dict__, "name": table.name.replace(schema.TENANT, tenant)}
            tables.append(Table(**{**fields, "conditions": (*table.conditions, condition)}))
        return tables

    def _check_partition(self, name: str, node: yaml.Node, columns: dict[str, Column], partition: str) -> None:
        column = columns.get(partition)
        if column is None:
            self._error(node, f"table {name}: partition: there is no column {partition!r}{_near(partition, columns)}")
        elif column.type not in schema.PARTITIONABLE:
            self._error(node, f"table {name}: partition: {partition} is {column.type}; use a DATE or TIMESTAMP column")

    def _check_cluster(self, name: str, node: yaml.Node | None, columns: dict[str, Column], cluster: list[str]) -> None:
        if len(cluster) > 4:
            self._error(node, f"table {name}: cluster: {len(cluster)} columns; BigQuery takes at most 4")
        if len(set(cluster)) < len(cluster):
            self._error(node, f"table {name}: cluster: a column is there twice")
        for item in cluster:
            if item not in columns:
                self._error(node, f"table {name}: cluster: there is no column {item!r}{_near(item, columns)}")
            elif columns[item].type not in schema.CLUSTERABLE:
                self._error(node, f"table {name}: cluster: BigQuery cannot cluster by {columns[item].type} ({item})")

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
                self._error(item, f"{where}: there is no column {column!r}{_near(column, columns)}")
            elif columns[column].type not in schema.GROUPABLE:
                kind = columns[column].type
                self._error(item, f"{where}: {column} is {kind}, which BigQuery cannot group by; choose another column")
            chosen.append(column)
        if isinstance(node, yaml.SequenceNode) and not node.value:
            self._error(node, f"{where}: name at least one column; for day and event id alone name that of event.id")
        return tuple(chosen)

    def _check_needed(self, name: str, node: yaml.Node, columns: list[Column]) -> None:
        """The view counts by day and event id, the earliest first: every table needs those three."""
        for source in ("event.day", "event.id", "hit.received_at"):
            found = [column for column in columns if [str(item) for item in column.sources] == [source]]
            if not found:
                self._error(node, f"table {name}: no column comes from {source} alone; the view needs one to count by")
            elif not found[0].required:
                self._error(node, f"table {name}: column {found[0].name} (from {source}) must be `mode: REQUIRED`")
        for needed in ("reject.reason", "reject.hit") if name == schema.REJECTS else ():
            if not any(str(item) == needed for column in columns for item in column.sources):
                self._error(node, f"table {name}: no column comes from {needed}")

    def _columns(self, table: str, node: yaml.Node | None) -> list[Column]:
        if node is None:
            return []
        columns: list[Column] = []
        rest = 0
        for name, spec in self._mapping(node, f"table {table}: columns").items():
            where = f"column {table}.{name}"
            if wrong := schema.valid_name(name):
                self._error(spec, f"{where}: {wrong}")
            if any(column.name.lower() == name.lower() for column in columns):
                self._error(spec, f"{where}: there is a column of this name already; upper and lower case are the same")
            keys = self._mapping(spec, where, _COLUMN_KEYS, required=("type", "from"))
            column = Column(
                name=name,
                type=self._choice(keys.get("type"), f"{where}: type", schema.TYPES),
                sources=tuple(self._sources(keys.get("from"), f"{where}: from", table)),
                required=self._choice(keys.get("mode"), f"{where}: mode", schema.MODES) == "REQUIRED",
                description=self._text(keys.get("description"), f"{where}: description"),
            )
            if "from" in keys:
                self._check_types(where, keys["from"], column)
            rest += any(source.name == "*" for source in column.sources)
            columns.append(column)
        if rest > 1:
            self._error(node, f"table {table}: two columns take `query.*`; what no column took can go to one only")
        if not columns:
            self._error(node, f"table {table}: it has no columns")
        return columns

    def _check_types(self, where: str, node: yaml.Node, column: Column) -> None:
        for source in column.sources:
            fixed = schema.FIXED_SOURCES.get(source.namespace, {}).get(source.name)
            if fixed is not None and column.type and column.type != fixed:
                self._error(node, f"{where}: {source} is {fixed}, the column is {column.type}; use {fixed}")
            if source.name == "*" and (column.type != "JSON" or len(column.sources) > 1):
                self._error(node, f"{where}: `query.*` fills a JSON column, alone")

    def _sources(self, node: yaml.Node | None, where: str, table: str) -> list[Source]:
        sources = []
        for text in self._texts(node, where):
            namespace, _, name = text.partition(".")
            known = (*schema.OPEN_SOURCES, *schema.FIXED_SOURCES)
            if namespace not in known:
                self._error(node, f"{where}: {text!r} starts with none of {', '.join(known)}{_near(namespace, known)}")
            elif not name:
                self._error(node, f"{where}: {text!r} names nothing in {namespace!r}")
            elif (fixed := schema.FIXED_SOURCES.get(namespace)) and name not in fixed:
                self._error(node, f"{where}: {text!r}: {namespace} has {', '.join(fixed)}{_near(name, fixed)}")
            elif namespace == "reject" and table != schema.REJECTS:
                self._error(node, f"{where}: {text!r} is known in the table `{schema.REJECTS}` only")
            elif namespace == "header" and name != name.lower():
                self._error(node, f"{where}: {text!r}: write header names in lower case")
            else:
                sources.append(Source(namespace, name))
        return sources

    def _conditions(self, table: str, node: yaml.Node | None) -> list[Condition]:
        conditions = []
        for key, value in (self._mapping(node, f"table {table}: when") if node is not None else {}).items():
            where = f"table {table}: when: {key}"
            for source in self._sources(yaml.ScalarNode("", key, value.start_mark, value.end_mark), where, table):
                if source.namespace == "event" or source.name in ("*", "received_at"):
                    self._error(
                        value, f"{where}: a condition is on a query parameter, a header, the path or an enrichment"
                    )
                conditions.append(Condition(source, frozenset(self._texts(value, where))))
        return conditions

    def _mapping(
        self, node: yaml.Node | None, where: str, allowed: Iterable[str] = (), required: Iterable[str] = ()
    ) -> dict[str, yaml.Node]:
        if not isinstance(node, yaml.MappingNode):
            self._error(node, f"{where}: a mapping (`name: value` lines) is wanted here")
            return {}
        keys: dict[str, yaml.Node] = {}
        for key, value in node.value:
            name = str(key.value)
            if name in keys:
                self._error(key, f"{where}: {name!r} is there twice")
            elif allowed and name not in allowed:
                self._error(key, f"{where}: {name!r} is not known here{_near(name, allowed)}")
            keys[name] = value
        for name in required:
            if name not in keys:
                self._error(node, f"{where}: {name!r} is missing")
        return keys

    def _text(self, node: yaml.Node | None, where: str) -> str:
        if node is None:
            return ""
        if not isinstance(node, yaml.ScalarNode) or not node.value:
            self._error(node, f"{where}: a text is wanted here")
            return ""
        return str(node.value)

    def _texts(self, node: yaml.Node | None, where: str) -> list[str]:
        if isinstance(node, yaml.SequenceNode):
            return [text for item in node.value if (text := self._text(item, where))]
        return [text] if (text := self._text(node, where)) else []

    def _choice(self, node: yaml.Node | None, where: str, choices: tuple[str, ...]) -> str:
        text = self._text(node, where)
        if text and text not in choices:
            self._error(node, f"{where}: {text!r} is none of {', '.join(choices)}{_near_choice(text, choices)}")
        return text

    def _bool(self, node: yaml.Node | None, table: str) -> bool:
        return self._choice(node, f"table {table}: require_partition_filter", ("true", "false")) == "true"

    def _days(self, node: yaml.Node | None, table: str) -> int | None:
        text = self._text(node, f"table {table}: expire_days")
        if not text:
            return None
        if not re.fullmatch(r"[1-9][0-9]{0,4}", text):
            self._error(node, f"table {table}: expire_days: {text!r} is not a whole number of days from 1 to 99999")
            return None
        return int(text)

    def _error(self, node: yaml.Node | None, text: str) -> None:
        mark: Any = node.start_mark if node is not None else None
        self._errors.append((mark.line + 1, mark.column + 1, text) if mark else (1, 1, text))


def _near_choice(word: str, choices: tuple[str, ...]) -> str:
    """As `_near`, whatever the case of either."""
    by_lower = {choice.lower(): choice for choice in choices}
    match = difflib.get_close_matches(word.lower(), by_lower, n=1)
    return f"; did you mean {by_lower[match[0]]!r}?" if match else ""


def _near(word: str, known: Iterable[str]) -> str:
    match = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {match[0]!r}?" if match else ""
