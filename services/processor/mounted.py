"""The files that an operator mounts for enrichments: read at start, and those that may be replaced kept fresh."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from services.processor import lookups
from services.processor.config import Config
from services.processor.lookup_files import LookupFiles
from services.processor.lookups import Lookups
from services.processor.metrics import Metrics
from services.processor.places import HeaderWatch, Places
from services.shared.background import Background
from services.shared.privacy import Privacy
from services.shared.schema import Schema


class Mounted:
    """`lookups` are for the parser, `watch` sees whether something else says places. Raises ConfigError."""

    def __init__(self, cfg: Config, schema: Schema, privacy: Privacy) -> None:
        self._places = places = Places.of_setting(cfg.geo_database, schema, privacy)
        self._files = files = LookupFiles.of_schema(schema, privacy)
        sender = lookups.senders(cfg.agent_addresses, schema, privacy)
        self.lookups = Lookups(places.find if places else None, sender, files.tables if files else {})
        self.watch = HeaderWatch.of(schema, places)

    def keep_fresh(self, background: Background, metrics: Metrics) -> Iterator[asyncio.Task[None]]:
        """Start what takes new files; the tasks run until they are cancelled."""
        if self._places:
            yield background.start("geo database", self._places.keep_fresh(metrics))
        if self._files:
            yield background.start("lookup files", self._files.keep_fresh(metrics))
