"""Reads the columns of a schema file's table: types, sources, fields, and what is done to values on the way."""

from __future__ import annotations

import re

import yaml

from services.shared import schema, schema_expressions
from services.shared.schema import Column, Condition, Source
from services.shared.schema_nodes import NodeReader, near, quoted
from services.shared.schema_sources import SourcesReader
from services.shared.schema_transforms import TransformsReader

COLUMN_KEYS = (
    "type", "mode", "from", "fields", "transform", "on_error", "required_if", "time_zone", "expression", "policy_tags",
    "description",
)  # fmt: skip
FIELD_KEYS = tuple(key for key in COLUMN_KEYS if key not in ("required_if", "time_zone", "expression"))
EXPRESSION_KEYS = ("type", "expression", "description")
MOST_COLUMNS = 10_000  # BigQuery's limit of columns, those in STRUCTs as well
COLUMN_DESCRIPTION = 1_024
_POLICY_TAG = re.compile(
    r"projects/[a-z0-9:.-]{1,63}/locations/[a-z0-9-]{1,63}/taxonomies/[0-9]{1,20}/policyTags/[0-9]{1,20}", re.ASCII
)


class ColumnsReader(NodeReader):
    def __init__(self, file: str, errors: list[tuple[int, int, str]], sources: SourcesReader) -> None:
        super().__init__(file, errors)
        self._sources = sources
        self._steps = TransformsReader(file, errors)

    def read(self, table: str, node: yaml.Node | None) -> list[Column] | None:
        """The columns in order; None if an error already says it all."""
        if node is None:
            return None
        where = f"table {table}: columns"
        specs = self._mapping(node, where)
        if _count(node) > MOST_COLUMNS:
            self._error(node, f"table {table}: {_count(node):,} columns; BigQuery takes at most {MOST_COLUMNS:,}")
            return None
        columns = self._named(table, f"column {table}", specs, depth=0)
        if sum(any(source.name == "*" for source in column.sources) for column in columns) > 1:
            self._error(node, f"table {table}: two columns take `param.*`; what no column took can go to one only")
        if not columns:
            self._error(node, f"table {table}: it has no columns")
        self._check_expressions(table, specs, columns)
        return columns

    def _named(self, table: str, parent: str, specs: dict[str, yaml.Node], depth: int) -> list[Column]:
        columns: list[Column] = []
        taken: set[str] = set()
        for name, spec in specs.items():
            where = f"{parent}.{name}"
            if wrong := schema.valid_name(name):
                self._error(spec, f"{where}: {wrong}")
            if name.lower() in taken:
                self._error(spec, f"{where}: there is a column of this name already; upper and lower case are the same")
            taken.add(name.lower())
            columns.append(self._column(table, where, name, spec, depth))
        return columns

    def _column(self, table: str, where: str, name: str, spec: yaml.Node, depth: int) -> Column:
        if not depth and _has(spec, "expression"):
            return self._expression(where, name, spec)
        required_keys = ("type",) if depth else ("type", "from")
        keys = self._mapping(spec, where, FIELD_KEYS if depth else COLUMN_KEYS, required=required_keys)
        kind = self._choice(keys.get("type"), f"{where}: type", schema.TYPES)
        mode = self._choice(keys.get("mode"), f"{where}: mode", schema.MODES)
        if depth:  # relative to the object
            texts = self._texts(keys["from"], f"{where}: from") if "from" in keys else [name]
            sources = [Source("param", text) for text in texts]
        else:
            sources = self._sources.read(keys.get("from"), f"{where}: from", table)
        column = Column(
            name=name,
            type=kind,
            sources=tuple(sources),
            required=mode == "REQUIRED",
            description=self._description(keys, where, COLUMN_DESCRIPTION),
            repeated=mode == "REPEATED",
            fields=self._fields(table, where, kind, keys, spec, depth),
            lenient=self._lenient(keys.get("on_error"), where, mode),
            transforms=self._steps.read(keys.get("transform"), where, kind, repeated=mode == "REPEATED"),
            required_if=self._required_if(keys.get("required_if"), where, table, mode),
            time_zone=self._time_zone(keys.get("time_zone"), where, sources),
            policy_tags=self._policy_tags(keys.get("policy_tags"), where, kind),
        )
        if "from" in keys and not depth:
            self._check_types(where, keys["from"], column)
        return column

    def _fields(
        self, table: str, where: str, kind: str, keys: dict[str, yaml.Node], spec: yaml.Node, depth: int
    ) -> tuple[Column, ...]:
        if kind != schema.STRUCT:
            if kind and "fields" in keys:
                self._error(keys["fields"], f"{where}: `fields` goes with type STRUCT, not {kind}")
            return ()
        if "fields" not in keys:
            self._error(spec, f"{where}: a STRUCT needs `fields`")
            return ()
        if depth + 1 > schema.MAX_NESTED:
            self._error(spec, f"{where}: nested over {schema.MAX_NESTED} levels, which are all that BigQuery takes")
            return ()
        fields = self._named(table, where, self._mapping(keys["fields"], f"{where}: fields"), depth + 1)
        if not fields:
            self._error(keys["fields"], f"{where}: a STRUCT has at least one field")
        return tuple(fields)

    def _expression(self, where: str, name: str, spec: yaml.Node) -> Column:
        keys = self._mapping(spec, where, required=("type",))
        for key in keys:
            if key in COLUMN_KEYS and key not in EXPRESSION_KEYS:
                self._error(
                    keys[key], f"{where}: `{key}` goes with `from`, not with `expression`, which the view computes"
                )
            elif key not in COLUMN_KEYS:
                self._error(keys[key], f"{where}: {quoted(key)} is not known here{near(key, EXPRESSION_KEYS)}")
        kind = self._choice(keys.get("type"), f"{where}: type", schema.TYPES)
        if kind == schema.STRUCT:
            self._error(keys["type"], f"{where}: type: an expression gives one value, not a STRUCT; use JSON")
        text = self._text(keys["expression"], f"{where}: expression")
        if text and (wrong := schema_expressions.problem(text)):
            self._error(keys["expression"], f"{where}: expression: {wrong}")
        description = self._description(keys, where, COLUMN_DESCRIPTION)
        return Column(name, kind, (), description=description, expression=text)

    def _check_expressions(self, table: str, specs: dict[str, yaml.Node], columns: list[Column]) -> None:
        """None may read another: the view computes all of them from the table's own columns."""
        computed = {column.name.lower(): column.name for column in columns if column.expression}
        for column in columns:
            for name in schema_expressions.names(column.expression):
                if (other := computed.get(name.lower())) is not None:
                    itself = "itself" if other == column.name else f"{other}, which is an expression too"
                    where = f"column {table}.{column.name}: expression"
                    self._error(
                        specs[column.name], f"{where}: it reads {itself}; write it with the columns that have a `from`"
                    )

    def _required_if(self, node: yaml.Node | None, where: str, table: str, mode: str) -> tuple[Condition, ...]:
        if node is None:
            return ()
        where = f"{where}: required_if"
        if mode == "REQUIRED":
            self._error(node, f"{where}: the column is REQUIRED anyway; leave out one of the two")
        if table == schema.REJECTS:
            self._error(node, f"{where}: {table} takes what no other table could; nothing in it depends on the event")
        found = self._sources.conditions(node, where, table)
        if isinstance(node, yaml.MappingNode) and not node.value:
            self._error(node, f"{where}: name at least one condition, such as `{{param.type: order}}`")
        return tuple(found)

    def _time_zone(self, node: yaml.Node | None, where: str, sources: list[Source]) -> str:
        if node is None:
            return "UTC"
        if not any(str(source) in schema.IN_A_ZONE for source in sources):
            self._error(
                node,
                f"{where}: time_zone goes with `from: {' or '.join(schema.IN_A_ZONE)}`; for a time that is sent "
                "without a zone use the step `transform: [{time_zone: …}]`",
            )
        text = self._text(node, f"{where}: time_zone")
        return text if text and self._steps.is_zone(node, f"{where}: time_zone", text) else "UTC"

    def _policy_tags(self, node: yaml.Node | None, where: str, kind: str) -> tuple[str, ...]:
        if node is None:
            return ()
        where = f"{where}: policy_tags"
        tags = self._texts(node, where)
        if kind == schema.STRUCT:
            self._error(node, f"{where}: BigQuery takes none at a STRUCT; give them to its fields")
        if len(tags) > 1:
            self._error(node, f"{where}: {len(tags)} of them; BigQuery takes one at a column")
        for tag in tags:
            if not _POLICY_TAG.fullmatch(tag):
                self._error(
                    node,
                    f"{where}: {quoted(tag)} is not a policy tag; write its full name, "
                    "projects/PROJECT/locations/LOCATION/taxonomies/NUMBER/policyTags/NUMBER",
                )
        return tuple(tags)

    def _lenient(self, node: yaml.Node | None, where: str, mode: str) -> bool:
        if node is None:
            return mode != "REQUIRED"
        # YAML reads an unquoted null as nothing, and here it is the name of a choice.
        null = isinstance(node, yaml.ScalarNode) and node.value == schema.SET_NULL
        choice = schema.SET_NULL if null else self._choice(node, f"{where}: on_error", schema.ON_ERROR)
        if choice == schema.SET_NULL and mode == "REQUIRED":
            self._error(node, f"{where}: on_error: a REQUIRED column cannot be null; make it NULLABLE, or `reject`")
        return choice == schema.SET_NULL

    def _check_types(self, where: str, node: yaml.Node, column: Column) -> None:
        for source in column.sources:
            fixed = schema.FIXED_SOURCES.get(source.namespace, {}).get(source.name)
            if fixed is not None and column.type and (column.type != fixed or column.repeated):
                kind = f"{'REPEATED ' if column.repeated else ''}{column.type}"
                self._error(node, f"{where}: {source} is {fixed}, the column is {kind}; use {fixed}")
            if source.name == "*" and (column.type != "JSON" or len(column.sources) > 1 or not _nullable(column)):
                self._error(node, f"{where}: `param.*` fills a JSON column, alone, which may be NULL")
            if source.name == "*" and column.transforms:
                self._error(node, f"{where}: `param.*` takes what is left as it is; it has no `transform`")
            if str(source) == "event.problems" and (len(column.sources) > 1 or not _nullable(column)):
                self._error(node, f"{where}: `event.problems` fills a column alone, which may be NULL")
            if source.namespace != "param" and column.type == schema.STRUCT:
                self._error(node, f"{where}: a STRUCT is filled from a parameter, not from {source}")


def _has(spec: yaml.Node, name: str) -> bool:
    return isinstance(spec, yaml.MappingNode) and any(key.value == name for key, _ in spec.value)


def _nullable(column: Column) -> bool:
    return not column.required and not column.repeated


def _count(node: yaml.Node, known: dict[int, int] | None = None) -> int:
    """The columns of a mapping of columns, with those in STRUCTs.

    By aliases a small file can have more of them than could be counted one by one: `known` are those of nodes by id.
    """
    known = {} if known is None else known
    if not isinstance(node, yaml.MappingNode):
        return 0
    if id(node) not in known:
        count = 0
        for _, spec in node.value:
            count += 1
            for key, value in spec.value if isinstance(spec, yaml.MappingNode) else ():
                if isinstance(key, yaml.ScalarNode) and key.value == "fields":
                    count += _count(value, known)
        known[id(node)] = count
    return known[id(node)]
