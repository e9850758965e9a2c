"""The files of the schema file's `lookups`: read at start, looked at again and again, taken anew when replaced."""

from __future__ import annotations

import asyncio
from pathlib import Path

from services.processor.enrich.lookup_table import LookupFile
from services.processor.enrich.watched_file import Unusable
from services.processor.metrics import Metrics
from services.shared import log
from services.shared.config import ConfigError
from services.shared.privacy import FULL, Privacy
from services.shared.schema import LOOKUP, Lookup, Schema

EVERY_SECONDS = 30.0

_log = log.get("processor.lookup_files")


class LookupFiles:
    """`tables` by name of the lookup: those that a column or a condition reads, whose files can be read."""

    def __init__(self, tables: dict[str, LookupFile]) -> None:
        self.tables = tables
        self._troubles: dict[str, str] = {}  # of files that cannot be used, as they were logged

    @classmethod
    def of_schema(cls, schema: Schema, privacy: Privacy) -> LookupFiles | None:
        """None if nothing is looked up. Raises ConfigError, with a line for each file that cannot be used."""
        tables, troubles = read(schema, privacy)
        if troubles:
            raise ConfigError("\n".join(troubles))
        return cls(tables) if tables else None

    async def keep_fresh(self, metrics: Metrics, every_seconds: float = EVERY_SECONDS) -> None:
        """Take each new file, until cancelled."""
        for name, table in self.tables.items():
            metrics.lookup_modified.labels(name).set(table.modified)
            for outcome in ("taken", "refused"):  # both are there from the start, at 0
                metrics.lookup_files.labels(name, outcome)
        while True:
            await asyncio.sleep(every_seconds)
            for name, table in self.tables.items():
                try:
                    if await asyncio.to_thread(table.refresh):
                        metrics.lookup_files.labels(name, "taken").inc()
                        metrics.lookup_modified.labels(name).set(table.modified)
                        self._troubles.pop(name, None)
                        _log.info("a new lookup file is in use", lookup=name, rows=table.rows)
                except Unusable as error:
                    metrics.lookup_files.labels(name, "refused").inc()
                    if self._troubles.get(name) != str(error):
                        self._troubles[name] = str(error)
                        _log.warning(
                            "the new lookup file cannot be used; the one before stays", lookup=name, error=str(error)
                        )


def read(schema: Schema, privacy: Privacy) -> tuple[dict[str, LookupFile], list[str]]:
    """The tables by name of their lookup, and a line for each whose file cannot be used."""
    wanted: dict[Lookup, dict[str, None]] = {}
    for source in schema.sources():
        if source.lookup is not None:
            wanted.setdefault(source.lookup, {})[source.name.partition(".")[2]] = None
    tables, troubles = {}, []
    for lookup, columns in wanted.items():
        try:
            tables[lookup.name] = LookupFile(lookup, columns, cut=privacy.ip != FULL)
        except Unusable as error:
            troubles.append(_trouble(lookup.name, lookup.file, str(error)))
    return tables, troubles


def _trouble(name: str, file: Path, why: str) -> str:
    return (
        f"{LOOKUP} {name}: {file}: {why}; mount a whole file there, or take the lookup out of the schema file's columns"
    )
