"""The database of places in force: read at start, looked at again and again, taken anew when its file is replaced.

And a warning where nothing says where clients are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path

from services.processor.enrich import geo
from services.processor.enrich.geo import Geo
from services.processor.enrich.geo_database import GeoDatabase, Unusable
from services.processor.metrics import Metrics
from services.shared import log
from services.shared.config import ConfigError, shown
from services.shared.hit import Hit
from services.shared.privacy import FULL, Privacy
from services.shared.schema import Schema

_EVERY_SECONDS = 30.0
_ENOUGH_HITS = 1_000  # without the header, to say that nothing adds it

_log = log.get("processor.places")


class Places:
    """Answers from the database; cities only where the policy keeps whole addresses."""

    def __init__(self, database: GeoDatabase) -> None:
        self._database = database

    @classmethod
    def of_setting(cls, path: str, schema: Schema, privacy: Privacy) -> Places | None:
        """The database that PIPE_GEO_DATABASE names; None if there is none, or no `geo.*`. Raises ConfigError."""
        if not path or not schema.asks_for("geo"):
            return None
        try:
            return cls(GeoDatabase(Path(path), city=privacy.ip == FULL))
        except Unusable as error:
            raise ConfigError(
                f"PIPE_GEO_DATABASE={shown(path)}: {error}; mount a readable .mmdb, or unset it"
            ) from error

    def find(self, ip: str) -> Geo:
        return self._database.find(ip)

    def refresh(self) -> bool:
        """As GeoDatabase.refresh."""
        return self._database.refresh()

    async def keep_fresh(self, metrics: Metrics, every_seconds: float = _EVERY_SECONDS) -> None:
        """Take each new file, until cancelled."""
        while True:
            await asyncio.sleep(every_seconds)
            try:
                if await asyncio.to_thread(self.refresh):
                    metrics.geo_taken.inc()
                    _log.info("a new geo database is in use")
            except Unusable as error:
                metrics.geo_refused.inc()
                _log.warning("the new geo database cannot be used; the one before stays", error=str(error))


class HeaderWatch:
    """Says once that nothing gives `geo.*`: without a database, the load balancer's header has to be there.

    A balancer adds it to each request, so the first hits tell.
    """

    def __init__(self, hits: int = _ENOUGH_HITS) -> None:
        self._left = hits

    @classmethod
    def of(cls, schema: Schema, places: Places | None) -> HeaderWatch | None:
        """None if no column asks, or a database answers."""
        return cls() if places is None and schema.asks_for("geo") else None

    def see(self, hits: Iterable[Hit]) -> None:
        for one in hits:
            if self._left <= 0:
                return
            self._left -= 1
            if geo.HEADER in one.headers:
                self._left = 0
                return
            if not self._left:
                _log.warning(
                    "columns of geo.* stay NULL: no hit has the load balancer's header, and there is no database",
                    header=geo.HEADER,
                )
