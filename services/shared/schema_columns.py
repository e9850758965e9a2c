"""Reads the columns of a schema file's table: types, sources, fields, and what is done to values on the way."""

from __future__ import annotations

import re
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import re2
import yaml

from services.shared import schema
from services.shared.schema import LOOKUP, Column, Lookup, Source, Transform
from services.shared.schema_nodes import NodeReader, near, quoted
from services.shared.schema_privacy import PrivacyReader

COLUMN_KEYS = ("type", "mode", "from", "fields", "transform", "on_error", "description")
MOST_COLUMNS = 10_000  # BigQuery's limit of columns, those in STRUCTs as well
COLUMN_DESCRIPTION = 1_024
MOST_TRANSFORMS = 20
_HEADER = re.compile(r"[a-z0-9!#$%&'+.^_`|~-]+")
_NUMBER = re.compile(r"-?[0-9]{1,29}(\.[0-9]{1,38})?")
_NUMBERS = ("INT64", "FLOAT64", "NUMERIC", "BIGNUMERIC")

# Steps on text, before it becomes a value of the column's type: what they take after a colon.
TEXT_STEPS = {
    "trim": None,
    "collapse": None,
    "lower": None,
    "upper": None,
    "url.host": None,
    "url.path": None,
    "url.query.NAME": None,
    "default": "text",
    "map": "map",
    "regex": "pattern",
    "max_length": "count",
    "split": "text",
    "time_zone": "zone",
}
VALUE_STEPS = {"round": "decimals", "min": "number", "max": "number"}  # on the value
_QUERY = "url.query."


class ColumnsReader(NodeReader):
    """`privacy` knows what is removed before anything is stored."""

    def __init__(self, file: str, errors: list[tuple[int, int, str]], privacy: PrivacyReader) -> None:
        super().__init__(file, errors)
        self._privacy = privacy
        self.lookups: dict[str, Lookup] = {}  # by name, those that a source may read

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
        return columns

    def sources(self, node: yaml.Node | None, where: str, table: str) -> list[Source]:
        sources = []
        for text in self._texts(node, where) if node is not None else ():
            namespace, _, name = text.partition(".")
            known = (*schema.OPEN_SOURCES, *schema.FIXED_SOURCES, *((LOOKUP,) if self.lookups else ()))
            if namespace == LOOKUP:
                sources += self._of_lookup(node, f"{where}: {quoted(text)}", name)
            elif namespace not in known:
                self._error(
                    node, f"{where}: {quoted(text)} starts with none of {', '.join(known)}{near(namespace, known)}"
                )
            elif not name:
                self._error(node, f"{where}: {quoted(text)} names nothing in {namespace!r}")
            elif (fixed := schema.FIXED_SOURCES.get(namespace)) and name not in fixed:
                self._error(node, f"{where}: {quoted(text)}: {namespace} has {', '.join(fixed)}{near(name, fixed)}")
            elif namespace == "reject" and table != schema.REJECTS:
                self._error(node, f"{where}: {quoted(text)} is known in the table `{schema.REJECTS}` only")
            elif namespace == "header" and not _HEADER.fullmatch(name):
                self._error(
                    node, f"{where}: {quoted(text)}: a header's name has no such character; write it in lower case"
                )
            elif namespace in schema.OPEN_SOURCES and self._privacy.is_secret(name, is_header=namespace == "header"):
                self._error(
                    node, f"{where}: {quoted(text)} is one of the secrets, which are never stored; remove it here"
                )
            else:
                sources.append(Source(namespace, name))
        return sources

    def _of_lookup(self, node: yaml.Node | None, where: str, name: str) -> list[Source]:
        lookup, _, column = name.partition(".")
        if not self.lookups:
            self._error(node, f"{where}: the file has no `lookups` that can be read here; list them at its top")
        elif lookup not in self.lookups:
            self._error(node, f"{where}: there is no lookup {quoted(lookup)}{near(lookup, self.lookups)}")
        elif not column:
            self._error(node, f"{where}: name a column of its file too, such as {LOOKUP}.{lookup}.name")
        else:
            return [Source(LOOKUP, name, lookup=self.lookups[lookup])]
        return []

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
        required_keys = ("type",) if depth else ("type", "from")
        keys = self._mapping(spec, where, COLUMN_KEYS, required=required_keys)
        kind = self._choice(keys.get("type"), f"{where}: type", schema.TYPES)
        mode = self._choice(keys.get("mode"), f"{where}: mode", schema.MODES)
        if depth:  # relative to the object
            texts = self._texts(keys["from"], f"{where}: from") if "from" in keys else [name]
            sources = [Source("param", text) for text in texts]
        else:
            sources = self.sources(keys.get("from"), f"{where}: from", table)
        column = Column(
            name=name,
            type=kind,
            sources=tuple(sources),
            required=mode == "REQUIRED",
            description=self._description(keys, where, COLUMN_DESCRIPTION),
            repeated=mode == "REPEATED",
            fields=self._fields(table, where, kind, keys, spec, depth),
            lenient=self._lenient(keys.get("on_error"), where, mode),
            transforms=self._transforms(keys.get("transform"), where, kind, repeated=mode == "REPEATED"),
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

    def _transforms(self, node: yaml.Node | None, where: str, kind: str, *, repeated: bool) -> tuple[Transform, ...]:
        if node is None:
            return ()
        where = f"{where}: transform"
        items = node.value if isinstance(node, yaml.SequenceNode) else [node]
        steps = [step for item in items[:MOST_TRANSFORMS] if (step := self._transform(item, where)) is not None]
        if len(items) > MOST_TRANSFORMS:
            self._error(node, f"{where}: {len(items)} steps; at most {MOST_TRANSFORMS}")
        names = [step.name for step in steps]
        if kind in (schema.STRUCT, "JSON"):
            self._error(node, f"{where}: a {kind} has none; give the fields of a STRUCT their own")
        if any(name in VALUE_STEPS for name in names) and kind not in _NUMBERS:
            self._error(node, f"{where}: {', '.join(VALUE_STEPS)} go with {', '.join(_NUMBERS)}, not {kind}")
        first_value = next((index for index, name in enumerate(names) if name in VALUE_STEPS), len(names))
        if late := [name for name in names[first_value:] if name not in VALUE_STEPS]:
            self._error(node, f"{where}: {late[0]} works on text, so it comes before {', '.join(VALUE_STEPS)}")
        if "split" in names and not repeated:
            self._error(node, f"{where}: split makes a list; the column must be `mode: REPEATED`")
        if "time_zone" in names and kind != "TIMESTAMP":
            self._error(node, f"{where}: time_zone goes with TIMESTAMP, not {kind}")
        return tuple(steps)

    def _transform(self, node: yaml.Node, where: str) -> Transform | None:
        known = {**TEXT_STEPS, **VALUE_STEPS}
        if isinstance(node, yaml.MappingNode):
            pairs = list(self._mapping(node, where).items())
            if len(pairs) != 1:
                self._error(node, f"{where}: one step an item, such as `- max_length: 100`")
                return None
            name, value = pairs[0]
        else:
            name, value = self._text(node, where), None
        if not name:
            return None
        plain = "url.query.NAME" if name.startswith(_QUERY) and len(name) > len(_QUERY) else name
        if plain not in known or name == "url.query.NAME":
            self._error(node, f"{where}: {quoted(name)} is none of {', '.join(known)}{near(name, known)}")
            return None
        takes = known[plain]
        if (takes is None) != (value is None):
            needs = f"needs a value: `{name}: …`" if takes else "takes no value"
            self._error(node, f"{where}: {name} {needs}")
            return None
        if value is None:
            return Transform(name)
        argument = self._argument(value, f"{where}: {name}", str(takes))
        return None if argument is None else Transform(name, argument)

    def _argument(self, node: yaml.Node, where: str, takes: str) -> Any:
        """What a step is given; None if that is an error, which is kept."""
        if takes == "map":
            pairs = self._mapping(node, where)
            if not pairs:
                self._error(node, f"{where}: name at least one value")
            return {name: self._text(value, f"{where}: {name}") for name, value in pairs.items()}
        text = self._text(node, where)
        if not text:
            return None
        match takes:
            case "count" | "decimals":
                low, high = (1, 1_048_576) if takes == "count" else (0, 38)
                if not re.fullmatch(r"[0-9]{1,7}", text) or not low <= int(text) <= high:
                    self._error(node, f"{where}: {quoted(text)} is not a whole number from {low} to {high:,}")
                    return None
                return int(text)
            case "number":
                if not _NUMBER.fullmatch(text):
                    self._error(node, f"{where}: {quoted(text)} is not a number")
                    return None
            case "pattern":
                try:
                    found = re2.compile(text, _quiet())
                except re2.error as error:
                    why = error.args[0].decode(errors="replace") if error.args else "unreadable"
                    self._error(node, f"{where}: {quoted(text)} is no pattern of RE2: {why}")
                    return None
                if found.groups > 1:
                    self._error(
                        node, f"{where}: {quoted(text)} has {found.groups} groups; one at most says what to take"
                    )
            case "zone":
                try:
                    ZoneInfo(text)
                except (ZoneInfoNotFoundError, ValueError, OSError):
                    self._error(node, f"{where}: {quoted(text)} is no time zone such as Europe/Berlin")
                    return None
        return text


def _quiet() -> Any:
    options = re2.Options()
    options.log_errors = False
    return options


def _nullable(column: Column) -> bool:
    return not column.required and not column.repeated


def _count(node: yaml.Node) -> int:
    """The columns of a mapping of columns, with those in STRUCTs."""
    if not isinstance(node, yaml.MappingNode):
        return 0
    count = 0
    for _, spec in node.value:
        count += 1
        for key, value in spec.value if isinstance(spec, yaml.MappingNode) else ():
            if isinstance(key, yaml.ScalarNode) and key.value == "fields":
                count += _count(value)
    return count
