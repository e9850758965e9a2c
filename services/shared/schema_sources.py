"""Reads the sources of a schema file, such as `param.user_id`, and conditions on them."""

from __future__ import annotations

import re

import yaml

from services.shared import schema
from services.shared.schema import LOOKUP, Condition, Lookup, SchemaError, Source
from services.shared.schema_nodes import NodeReader, near, quoted
from services.shared.schema_privacy import PrivacyReader

MOST_SOURCES = 100_000  # in all columns and conditions; by aliases a small file could have millions
HEADER = re.compile(r"[a-z0-9!#$%&'+.^_`|~-]+")


class SourcesReader(NodeReader):
    """`privacy` knows what is removed before anything is stored."""

    def __init__(self, file: str, errors: list[tuple[int, int, str]], privacy: PrivacyReader) -> None:
        super().__init__(file, errors)
        self._privacy = privacy
        self.lookups: dict[str, Lookup] = {}  # by name, those that a source may read
        self._count = 0

    def read(self, node: yaml.Node | None, where: str, table: str) -> list[Source]:
        sources: list[Source] = []
        for text in self._texts(node, where) if node is not None else ():
            self._add(node, where, 1)
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
            elif namespace == "header" and not HEADER.fullmatch(name):
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
            self._add(node, where, len(self.lookups[lookup].by))
            return [Source(LOOKUP, name, lookup=self.lookups[lookup])]
        return []

    def _add(self, node: yaml.Node | None, where: str, more: int) -> None:
        """Count so many sources more. Raises SchemaError where they are too many: it is no use to read on."""
        self._count += more
        if self._count > MOST_SOURCES:
            self._error(
                node,
                f"{where}: more than {MOST_SOURCES:,} sources in columns and conditions, those that lookups go by "
                "counted wherever they are read; name fewer",
            )
            raise SchemaError(self._report())

    def conditions(self, node: yaml.Node | None, where: str, table: str) -> list[Condition]:
        """What is under `when` of a table, or `required_if` of a column."""
        conditions = []
        for key, value in (self._mapping(node, where) if node is not None else {}).items():
            here = f"{where}: {key}"
            for source in self.read(yaml.ScalarNode("", key, value.start_mark, value.end_mark), here, table):
                if source.namespace == "event" or source.name in ("*", "received_at"):
                    self._error(value, f"{here}: a condition is on a parameter, a header, the path or an enrichment")
                values = self._texts(value, here)
                if schema.FIXED_SOURCES.get(source.namespace, {}).get(source.name) == "BOOL":
                    values = [self._choice_of(text, value, here, ("true", "false")) for text in values]
                conditions.append(Condition(source, frozenset(values)))
        return conditions
