"""The archive of hits: which objects hold what was received in a span of time, and the messages in them.

An archive is gs://BUCKET[/FOLDER] or a folder of the same layout, as a copied bucket or the emulator has it. Its
objects are Avro files that Pub/Sub writes (provision/archive.py says how); nothing here trusts what they hold.
"""

from __future__ import annotations

import io
import os
import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, BinaryIO

import fastavro
import google.auth
import pyarrow.fs
from fastavro.schema import SchemaParseException, UnknownType

from services.provision.archive import ACK_DEADLINE_SECONDS, SUFFIX
from services.shared import fault

EMULATOR = "STORAGE_EMULATOR_HOST"  # as Google's own clients have it
# What an object holds was published before it was begun, or in the minutes it was open at most; a minute for clocks.
_OPEN = timedelta(seconds=ACK_DEADLINE_SECONDS + 60)
# A hit that was received long before it was published waited in a spool, or in Pub/Sub, which keeps a week.
LATE = timedelta(days=7)
_NAME = re.compile(r"(\d{4}-\d{2}-\d{2})/(\d{2})_(\d{2})_(\d{2})Z_[^/]*" + re.escape(SUFFIX), re.ASCII)
_BROKEN = (
    *(ArithmeticError, AttributeError, EOFError, LookupError, MemoryError, OSError, TypeError, ValueError),
    *(SchemaParseException, UnknownType, RecursionError, StopIteration, struct.error, zlib.error),
)


class BrokenObject(Exception):
    """An object cannot be read to its end; the text says why. What came before may have been read."""


@dataclass(frozen=True)
class ArchivedObject:
    """`name` is without what the archive's own location says; `size` in bytes; `began` is when it was begun."""

    name: str
    size: int
    began: datetime


@dataclass(frozen=True)
class ArchivedMessage:
    """A message of the topic of hits; `published` in microseconds since 1970."""

    id: str
    published: int
    attributes: dict[str, str]
    data: bytes


class Archive:
    """One that is not there has no objects."""

    def __init__(self, location: str) -> None:
        if location.startswith("gs://"):
            self._files, self._root = _cloud_storage(), location.removeprefix("gs://").rstrip("/")
        else:
            self._files, self._root = pyarrow.fs.LocalFileSystem(), os.path.abspath(location)

    def objects(self, since: datetime, until: datetime) -> Iterator[ArchivedObject]:
        """Those that may hold hits received in this span, oldest first; other files are passed over."""
        first, last = since - _OPEN, min(until + LATE, datetime.now(UTC) + timedelta(days=1))
        for day in _days(first.date(), last.date()):
            selector = pyarrow.fs.FileSelector(f"{self._root}/{day}", allow_not_found=True)
            found = sorted(self._files.get_file_info(selector), key=lambda info: str(info.path))
            for info in found:
                name = f"{day}/{info.base_name}"
                began = _began(name)
                if info.type == pyarrow.fs.FileType.File and began is not None and first <= began <= last:
                    yield ArchivedObject(name, info.size, began)

    def messages(self, one: ArchivedObject) -> Iterator[ArchivedMessage]:
        """In the order of the file; a block of it is in memory at a time. Raises BrokenObject."""
        try:
            with self._files.open_input_stream(f"{self._root}/{one.name}", compression=None) as stream:
                bounded: Any = _Bounded(io.BufferedReader(stream), one.size)
                for record in fastavro.reader(bounded):
                    yield _message(record)
        except _BROKEN as error:
            raise BrokenObject(fault.words(error)) from error


class _Bounded:
    """Reads a file of known size; a length in it that no file of its size can hold raises EOFError, unallocated."""

    def __init__(self, file: BinaryIO | io.BufferedReader, size: int) -> None:
        self._file, self._left = file, size

    def read(self, count: int) -> bytes:
        if not 0 <= count <= self._left:
            if self._left == 0 and count >= 0:  # how the reader asks whether there is another block
                return b""
            raise EOFError("it ends in the middle of a block")
        self._left -= count
        return self._file.read(count)


def _cloud_storage() -> Any:
    emulator = os.environ.get(EMULATOR)
    if not emulator:
        google.auth.default()  # refuses in seconds, and in one line, what this file system tries again for a minute
        return pyarrow.fs.GcsFileSystem(retry_time_limit=timedelta(seconds=60))
    scheme, _, address = emulator.rpartition("://")
    return pyarrow.fs.GcsFileSystem(
        anonymous=True,
        scheme=scheme or "http",
        endpoint_override=address.rstrip("/"),
        retry_time_limit=timedelta(seconds=5),
    )


def _days(first: date, last: date) -> Iterator[date]:
    while first <= last:
        yield first
        first += timedelta(days=1)


def _began(name: str) -> datetime | None:
    found = _NAME.fullmatch(name)
    if found is None:
        return None
    try:
        return datetime.fromisoformat(f"{found[1]}T{found[2]}:{found[3]}:{found[4]}+00:00")
    except ValueError:
        return None


def _message(record: Any) -> ArchivedMessage:
    """Raises ValueError for a record of another schema."""
    fields = record if isinstance(record, dict) else {}
    published, attributes, data = fields.get("publish_time"), fields.get("attributes"), fields.get("data")
    if not isinstance(data, bytes) or not isinstance(attributes, dict) or not isinstance(published, datetime):
        raise ValueError("its records are not messages with metadata, as the archive's subscription writes them")
    return ArchivedMessage(
        str(fields.get("message_id", "")),
        int((published - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(microseconds=1)),
        {str(name): str(value) for name, value in attributes.items()},
        data,
    )
