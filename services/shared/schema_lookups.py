"""Reads the `lookups` of a schema file: which files events are joined with, and by what."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from services.shared import schema
from services.shared.schema import Lookup, Source
from services.shared.schema_nodes import NodeReader, quoted
from services.shared.schema_sources import SourcesReader

LOOKUP_KEYS = ("file", "key", "by")
MOST_LOOKUPS = 8
FILES = (".csv", ".parquet")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_ADDRESS = Source("hit", "ip")


class LookupsReader(NodeReader):
    """`sources` reads them, which know no lookups yet: none is looked up by another."""

    def __init__(self, file: str, errors: list[tuple[int, int, str]], sources: SourcesReader) -> None:
        super().__init__(file, errors)
        self._sources = sources

    def read(self, node: yaml.Node | None) -> dict[str, Lookup]:
        """The lookups by name."""
        if node is None:
            return {}
        specs = self._mapping(node, "lookups")
        if len(specs) > MOST_LOOKUPS:
            self._error(node, f"lookups: {len(specs)} files; at most {MOST_LOOKUPS} are held in memory")
        return {name: self._lookup(name, spec) for name, spec in specs.items()}

    def _lookup(self, name: str, node: yaml.Node) -> Lookup:
        where = f"lookup {name}"
        if not _NAME.fullmatch(name):
            self._error(node, f"{where}: a name is letters, digits and underscores, at most 64 of them")
        keys = self._mapping(node, where, LOOKUP_KEYS, required=LOOKUP_KEYS)
        file = self._text(keys.get("file"), f"{where}: file")
        if file and not file.endswith(FILES):
            self._error(keys["file"], f"{where}: file: {quoted(file)} ends with none of {', '.join(FILES)}")
        if "\0" in file:
            self._error(keys["file"], f"{where}: file: {quoted(file)} is no path; remove the character U+0000")
        by = self._sources.read(keys.get("by"), f"{where}: by", schema.EVENTS)
        for source in by:
            if source.namespace == "event" or source.name in ("*", "received_at"):
                self._error(keys["by"], f"{where}: by: {source} is no key; use a parameter, a header or an enrichment")
        if _ADDRESS in by and len(by) > 1:
            self._error(keys["by"], f"{where}: by: {_ADDRESS} is looked up in networks, so it stands alone")
        return Lookup(name, Path(file), self._text(keys.get("key"), f"{where}: key"), tuple(by))
