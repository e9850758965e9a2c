"""The DuckDB file: one thread writes, a few threads read, and a commit is on disk before anyone hears of it.

DuckDB's own snapshots keep readers and the writer apart: a query never blocks an append. Writes that wait
together share one commit, so many small appends cost one fsync, and each is still all or nothing.
"""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import duckdb

from emulators.bigquery import catalog
from emulators.bigquery.errors import ApiError
from emulators.bigquery.sql import json_values, macros, net, percentile
from emulators.bigquery.writer import Connection, Write, Writer, WriterBusy

T = TypeVar("T")

READERS = 4  # queries that run side by side
WAITING_READS = 256
WAL_LIMIT = "64MB"  # bounds what a start after kill -9 must replay, and what a stop must still write

OPTIONS = {
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "python_enable_replacements": "false",  # a table name in SQL never means a variable of this process
    "ieee_floating_point_ops": "false",
    "error_on_division_by_zero": "false",  # the macros check, and only where a division is really made
}
SETTINGS = (
    "SET TimeZone = 'UTC'",
    f"SET wal_autocheckpoint = '{WAL_LIMIT}'",
    "SET enable_external_access = false",
    "SET lock_configuration = true",
)


class FileLocked(Exception):
    """Another process has the data file open."""


class FileUnusable(Exception):
    """The data file cannot be opened, or is not one of ours; the text says why and what to do."""


class Store:
    """Opens the file; raises `FileLocked` or `FileUnusable`. `close()` finishes what was accepted."""

    def __init__(self, path: Path) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._database = duckdb.connect(str(path), config={**OPTIONS, "temp_directory": f"{path}.tmp"})
            for setting in SETTINGS:
                self._database.execute(setting)
            self._database.execute(catalog.SCHEMA)
            for macro in (*macros.MACROS, *json_values.MACROS, *net.MACROS, *percentile.MACROS):
                self._database.execute(macro)
            self.catalog = catalog.load(self._database)
        except (duckdb.Error, RuntimeError, OSError, ValueError) as error:
            if isinstance(error, duckdb.IOException) and "lock on file" in str(error).lower():
                raise FileLocked(f"{path} is in use by another process") from error
            raise FileUnusable(
                f"{path} cannot be opened: {first_line(error)}; move it away to start with an empty one"
            ) from error
        self._writer = Writer(self._database.cursor())
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="bigquery-reader")
        self._reading: set[Connection] = set()
        self._reading_changed = threading.Condition()
        self._waiting_reads = 0
        self._closed = False

    async def write(self, apply: Callable[[Connection], T], publish: Callable[[T], object] | None = None) -> T:
        """Run `apply` in a transaction of its own on the writer thread; return its answer once that is on disk.

        What `apply` raises rolls back and is raised here. `publish` gets the answer first, after the commit.
        """
        work = Write(lambda connection, _: apply(connection), publish)
        result: T = await asyncio.shield(asyncio.wrap_future(self._writer.put(work)))
        return result

    async def append(self, key: Hashable, item: Any, size: int, apply: Callable[[Connection, list[Any]], None]) -> None:
        """Write one of many small things, of `size` bytes; those of one key that wait together are applied together.

        They share a commit too, with others. When that fails each is tried on its own, so only what is wrong fails.
        """
        work = Write(apply, None, key, item, size)
        await asyncio.shield(asyncio.wrap_future(self._writer.put(work)))

    async def read(self, work: Callable[[Connection], T], started: Callable[[Connection], None] | None = None) -> T:
        """Run `work` with a cursor of its own on a reader thread; `started` gets that cursor, to interrupt it."""
        if self._closed or self._waiting_reads >= WAITING_READS:
            raise WriterBusy("too many queries are waiting")
        self._waiting_reads += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._readers, self._read, work, started)
        finally:
            self._waiting_reads -= 1

    def _read(self, work: Callable[[Connection], T], started: Callable[[Connection], None] | None) -> T:
        cursor = self._database.cursor()
        with self._reading_changed:
            self._reading.add(cursor)
        try:
            if self._closed:
                raise WriterBusy("the emulator is stopping")
            if started is not None:
                started(cursor)
            return work(cursor)
        finally:
            with self._reading_changed:
                self._reading.discard(cursor)
                self._reading_changed.notify()
            cursor.close()

    def close(self) -> None:
        """Interrupt queries, finish the writes that wait, write everything into the file, and close it."""
        self._closed = True
        self._readers.shutdown(wait=False, cancel_futures=True)
        with self._reading_changed:
            while self._reading:
                for cursor in self._reading:
                    cursor.interrupt()
                # One that had not begun when it was interrupted begins nevertheless: hence again.
                self._reading_changed.wait(0.05)
        self._readers.shutdown(wait=True)
        self._writer.close()
        self._database.execute("CHECKPOINT")
        self._database.close()


def first_line(error: BaseException) -> str:
    """DuckDB's message without its excerpt of generated SQL, which means nothing to the one who asked."""
    return str(error).split("\n", 1)[0].split("Error: ", 1)[-1]


# What DuckDB raises of a statement: a message that it cut within a character cannot be decoded.
FAILURES = (duckdb.Error, UnicodeDecodeError)


def query_error(error: duckdb.Error | UnicodeDecodeError | OSError) -> ApiError:
    said = error.object.decode(errors="replace") if isinstance(error, UnicodeDecodeError) else str(error)
    ours = re.search("⟦(.*)⟧", said, re.DOTALL)
    return ApiError(400, "invalidQuery", ours[1] if ours is not None else first_line(ValueError(said)))
