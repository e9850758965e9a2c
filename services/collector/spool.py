"""Packs that Pub/Sub has not confirmed, safe on this pod's disk: SQLite, fsynced before a reply goes.

All of SQLite's work happens in one thread. Packs that arrive while a commit runs share the next one.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import sqlite3
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from services.collector.metrics import Metrics
from services.shared import log
from services.shared.config import ConfigError

FILE = "hits.sqlite"
_NOT_GONE = "number NOT IN (SELECT value FROM json_each(?))"
_COMMIT_BYTES = 16_000_000  # of packs in one transaction, so that none waits long for many others

T = TypeVar("T")

_log = log.get("collector.spool")


class SpoolError(Exception):
    """The pack is not on disk: the spool is full, or its disk is full, read-only or broken."""


@dataclass(frozen=True)
class Spooled:
    """A pack on disk: `data` is one message for the topic of hits, `at` the Unix time it was written.

    Numbers begin again in the file that takes a corrupt one's place: `file` counts those.
    """

    file: int
    number: int
    pack: str
    hits: int
    at: float
    data: bytes


@dataclass
class _Waiting:
    pack: str
    hits: int
    data: bytes
    done: asyncio.Future[Exception | None]


class Spool:
    """At most `limit` bytes of packs in a folder; what an earlier process left there is there again.

    A file that SQLite cannot read is set aside beside the new one, never deleted.
    """

    def __init__(self, folder: Path, limit: int, metrics: Metrics) -> None:
        self._path, self._limit, self._metrics = folder / FILE, limit, metrics
        metrics.spool_limit.set(limit)
        self._thread = ThreadPoolExecutor(1, "spool")
        self._waiting: list[_Waiting] = []
        self._changed = asyncio.Event()
        self._stored = asyncio.Event()  # there is something to drain
        self._db: sqlite3.Connection  # set when the thread has opened the file
        self._closing = False
        self._file = 0
        self._gone: set[int] = set()  # numbers of packs that are confirmed and could not be deleted yet
        self.packs = 0
        self.hits = 0
        self.bytes = 0
        self.oldest: float | None = None
        self.broken: str | None = None
        self._full: str | None = None

    async def __aenter__(self) -> Spool:
        self._loop = asyncio.get_running_loop()
        try:
            await self._run(self._open)
        except (OSError, sqlite3.Error) as error:
            self._thread.shutdown()
            folder = self._path.parent
            raise ConfigError(
                f"PIPE_SPOOL={str(folder)!r}: {error}; give a folder this process alone can write, or none"
            ) from error
        if self.packs:
            _log.warning("found spooled packs of an earlier run", packs=self.packs, hits=self.hits)
        self._metrics.spool_found.set(self.hits)
        self._show()
        self._writer = asyncio.create_task(self._write(), name="spool")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing = True
        self._changed.set()
        await self._writer
        await self._run(self._close)
        self._lock.close()
        self._thread.shutdown()
        if self.packs:
            _log.warning("packs stay in the spool for the next start", packs=self.packs, hits=self.hits)

    @property
    def refuses(self) -> str | None:
        """Why the last pack was not taken; None while they are."""
        return self._full or self.broken

    async def put(self, pack: str, hits: int, data: bytes) -> None:
        """Return when the pack is on disk, fsynced. Raises SpoolError when it is not."""
        if self.bytes + sum(len(one.data) for one in self._waiting) + len(data) > self._limit:
            self._full = f"the spool is full: {self.bytes} of {self._limit} bytes"
            raise SpoolError(self._full)
        waiting = _Waiting(pack, hits, data, self._loop.create_future())
        self._waiting.append(waiting)
        self._changed.set()
        if (error := await waiting.done) is not None:
            raise SpoolError(str(error)) from error

    async def wait(self) -> None:
        """Return when there is something in the spool."""
        await self._stored.wait()

    async def oldest_packs(self, count: int) -> list[Spooled]:
        """The first packs written, oldest first; an empty list if they cannot be read now."""
        try:
            return await self._run(lambda: self._read(count))
        except sqlite3.Error as error:
            await self._failed(error)
            return []

    async def delete(self, packs: Iterable[Spooled]) -> bool:
        """Forget packs that Pub/Sub has confirmed. False: the file is corrupt, and they were set aside with it.

        A deletion takes room, which a full disk has not: then they are remembered as gone, so that what lies behind
        them gets its turn, and when all are gone the file goes. A process killed before that publishes them once more.
        """
        gone = list(packs)
        try:
            await self._run(lambda: self._delete(gone))
        except sqlite3.Error as error:
            await self._failed(error)
        else:
            self._full = None
        gone = [one for one in gone if one.file == self._file]
        if not gone:
            return False
        self._count(-len(gone), -sum(one.hits for one in gone), -sum(len(one.data) for one in gone))
        if not self.packs and self._gone and await self._run(self._begin_anew):
            self._full = self.broken = None
        self.oldest = await self._run(self._oldest)
        self._show()
        return True

    async def _write(self) -> None:
        while self._waiting or not self._closing:
            if not self._waiting:
                self._changed.clear()
                await self._changed.wait()
                continue
            batch: list[_Waiting] = []
            size = 0
            while self._waiting and (not batch or size + len(self._waiting[0].data) <= _COMMIT_BYTES):
                batch.append(self._waiting.pop(0))
                size += len(batch[-1].data)
            error = await self._store(batch)
            if error is None:
                self._count(len(batch), sum(one.hits for one in batch), size)
                self.oldest = self.oldest or time.time()
                self._show()
            for one in batch:
                if not one.done.done():
                    one.done.set_result(error)

    async def _store(self, batch: list[_Waiting]) -> Exception | None:
        try:
            await self._run(lambda: self._insert(batch))
        except sqlite3.Error as error:
            await self._failed(error)
            if self.broken is None:  # a new file took the place of a broken one: these packs fit into it
                try:
                    await self._run(lambda: self._insert(batch))
                except sqlite3.Error as again:
                    return again
                return None
            return error
        if self.broken is not None:
            _log.info("the spool can be written again")
            self.broken = None
        return None

    async def _failed(self, error: sqlite3.Error) -> None:
        """Remember why the disk fails; a file that is corrupt is replaced by a new one."""
        self._metrics.spool_errors.inc()
        if _is_corrupt(error):
            await self._run(lambda: self._replace(error))
            self._show()
            return
        if self.broken is None:
            _log.error("the spool cannot be used", path=str(self._path), error=str(error))
        self.broken = f"the spool cannot be used: {error}"

    def _count(self, packs: int, hits: int, size: int) -> None:
        self.packs += packs
        self.hits += hits
        self.bytes += size

    def _show(self) -> None:
        self._metrics.spool_packs.set(self.packs)
        self._metrics.spool_hits.set(self.hits)
        self._metrics.spool_bytes.set(self.bytes)
        self._metrics.spool_oldest.set(self.oldest or 0)
        (self._stored.set if self.packs else self._stored.clear)()

    async def _run(self, work: Callable[[], T]) -> T:
        return await self._loop.run_in_executor(self._thread, work)

    # What follows runs in the spool's thread.

    def _open(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = self._path.with_name("lock").open("w")
        try:
            # Two that drain one spool would publish everything twice.
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._lock.close()
            raise OSError(f"another collector uses it ({error.strerror})") from error
        try:
            self._connect()
        except sqlite3.DatabaseError as error:
            if not _is_corrupt(error):
                raise
            self._replace(error)

    def _connect(self) -> None:
        self._db = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False, timeout=5)
        try:
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            (state,) = self._db.execute("PRAGMA quick_check(1)").fetchone()
            if state != "ok":
                raise sqlite3.DatabaseError(f"malformed: {state}")
            self._db.execute(
                "CREATE TABLE IF NOT EXISTS packs (number INTEGER PRIMARY KEY AUTOINCREMENT, pack TEXT NOT NULL,"
                " hits INTEGER NOT NULL, at REAL NOT NULL, data BLOB NOT NULL)"
            )
            packs, hits, size = self._db.execute(
                "SELECT COUNT(*), COALESCE(SUM(hits), 0), COALESCE(SUM(LENGTH(data)), 0) FROM packs"
            ).fetchone()
        except sqlite3.Error:
            self._db.close()
            raise
        self.packs, self.hits, self.bytes, self.oldest = packs, hits, size, self._oldest()

    def _replace(self, error: sqlite3.Error) -> None:
        aside = self._path.with_name(f"{FILE}.corrupt-{time.time_ns() // 1000}")
        _log.critical("the spool is corrupt; it is set aside and a new one begun", aside=str(aside), error=str(error))
        self._metrics.spool_corrupt.inc()
        self._file += 1
        self._gone.clear()
        self._close()
        for suffix in ("", "-wal", "-shm"):
            part = self._path.with_name(FILE + suffix)
            if part.exists():
                part.rename(aside.with_name(aside.name + suffix))
        self._connect()

    def _close(self) -> None:
        self._db.close()

    def _insert(self, batch: list[_Waiting]) -> None:
        now = time.time()
        self._db.execute("BEGIN IMMEDIATE")
        try:
            self._db.executemany(
                "INSERT INTO packs (pack, hits, at, data) VALUES (?, ?, ?, ?)",
                [(one.pack, one.hits, now, one.data) for one in batch],
            )
            self._db.execute("COMMIT")
        except sqlite3.Error:
            self._roll_back()
            raise

    def _delete(self, gone: list[Spooled]) -> None:
        self._gone.update(one.number for one in gone if one.file == self._file)
        self._db.execute("BEGIN IMMEDIATE")
        try:
            self._db.executemany("DELETE FROM packs WHERE number = ?", [(number,) for number in self._gone])
            self._db.execute("COMMIT")
        except sqlite3.Error:
            self._roll_back()
            raise
        self._gone.clear()

    def _begin_anew(self) -> bool:
        """Remove the file, whose packs are all gone; False where one was written meanwhile."""
        (packs,) = self._db.execute("SELECT COUNT(*) FROM packs").fetchone()
        if packs > len(self._gone):
            return False
        self._close()
        for suffix in ("", "-wal", "-shm"):
            self._path.with_name(FILE + suffix).unlink(missing_ok=True)
        self._gone.clear()
        self._connect()
        return True

    def _roll_back(self) -> None:
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")

    def _read(self, count: int) -> list[Spooled]:
        rows = self._db.execute(
            f"SELECT number, pack, hits, at, data FROM packs WHERE {_NOT_GONE} ORDER BY number LIMIT ?",  # noqa: S608
            (json.dumps(list(self._gone)), count),
        )
        return [Spooled(self._file, *row) for row in rows]

    def _oldest(self) -> float | None:
        row = self._db.execute(
            f"SELECT at FROM packs WHERE {_NOT_GONE} ORDER BY number LIMIT 1",  # noqa: S608
            (json.dumps(list(self._gone)),),
        ).fetchone()
        return row[0] if row else None


def _is_corrupt(error: sqlite3.Error) -> bool:
    """Whether the file, not the disk, is at fault."""
    code = getattr(error, "sqlite_errorcode", None)
    if code is not None:
        return code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
    return "malformed" in str(error)
