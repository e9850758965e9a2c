"""Where an address is, according to a MaxMind database, such as GeoLite2-City: a file that somebody else keeps new.

The file is copied into memory and mapped from there: what is written into it in place, or cut off, reaches no lookup.
A new one is taken once it has come to rest, and only if it can be read; until then the old one answers.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import maxminddb

from services.processor.enrich.geo import NOTHING, Geo, without_city
from services.processor.enrich.watched_file import Unusable as Unusable
from services.processor.enrich.watched_file import WatchedFile

KINDS = ("City", "Country", "Enterprise")  # in the names of the databases that say in which country an address is
MAX_BYTES = 536_870_912  # GeoLite2-City has 60 MB, GeoIP2-Enterprise 300 MB
REMEMBERED = 16_384  # addresses
_SAMPLES = tuple(f"{first}.0.0.1" for first in range(1, 224))  # what is damaged is likely to be met by one of them
# The reader's C code raises SystemError where a text of a damaged record is none.
_DAMAGED = (maxminddb.InvalidDatabaseError, ValueError, SystemError)


class GeoDatabase:
    """The database in a file; without `city`, no finer than regions. Raises Unusable if the file is."""

    def __init__(self, path: Path, *, city: bool) -> None:
        self._file, self._city = WatchedFile(path), city
        self.find = self._load()

    def refresh(self) -> bool:
        """Take the file if it was replaced; True if it was. Raises Unusable once if the new one is: the old one stays.

        A file that has changed since the last call is left for the next: it may still be written.
        """
        if not self._file.replaced():
            return False
        self.find = self._load()
        return True

    def _load(self) -> Callable[[str], Geo]:
        """A function that looks up an address as `address.normalize` gives it."""
        before = self._file.state()
        try:
            if before is not None and before[1] > MAX_BYTES:
                raise Unusable(f"it has {before[1]:,} bytes; at most {MAX_BYTES:,} are held in memory")
            with _copied(self._file.path) as copy:
                reader = maxminddb.open_database(copy)
            kind = reader.metadata().database_type
            for address in _SAMPLES:
                reader.get(address)
        except OSError as error:
            raise Unusable(error.strerror or str(error)) from error
        except _DAMAGED as error:
            raise Unusable("it is damaged, or not a MaxMind database") from error
        if not any(name in kind for name in KINDS):
            raise Unusable(f"it is a {kind[:80]} database; take one with City or Country in its name")
        if self._file.state() != before:
            raise Unusable("it changed while it was read")
        return lru_cache(REMEMBERED)(_lookup(reader, self._city))


def _lookup(reader: maxminddb.Reader, city: bool) -> Callable[[str], Geo]:
    def find(ip: str) -> Geo:
        try:
            record = reader.get(ip) if ip else None
        except _DAMAGED:  # damaged where no sample was, or no address
            return NOTHING
        country = _text(record, "country", "iso_code")
        if country is None:
            return NOTHING
        region = _text(record, "subdivisions", 0, "iso_code")
        found = Geo(
            country,
            None if region is None else f"{country}-{region}",
            _text(record, "city", "names", "en"),
            _text(record, "location", "time_zone"),
        )
        return found if city else without_city(found)

    return find


def _text(record: Any, *path: str | int) -> str | None:
    for step in path:
        if isinstance(step, int):
            record = record[step] if isinstance(record, list) and len(record) > step else None
        else:
            record = record.get(step) if isinstance(record, dict) else None
    return record if isinstance(record, str) and record else None


@contextmanager
def _copied(path: Path) -> Iterator[str]:
    """The path of a copy that nobody else writes; once it is mapped, it needs no path any more."""
    with path.open("rb") as file:
        if sys.platform == "linux":
            copy = os.memfd_create("geo")
            try:
                with os.fdopen(copy, "wb", closefd=False) as memory:
                    shutil.copyfileobj(file, memory, 2**20)
                yield f"/proc/self/fd/{copy}"
            finally:
                os.close(copy)
        else:
            with tempfile.NamedTemporaryFile() as disk:
                shutil.copyfileobj(file, disk, 2**20)
                disk.flush()
                yield disk.name
