"""The folder of a spool: whole files, written so that they survive a crash."""

from __future__ import annotations

import asyncio
import fcntl
import os
import stat
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

from services.collector import pack_file

LOCK = "lock"
PARTIAL = ".partial"  # suffix of a file that is being written
_WRITERS = 8  # files fsynced at a time: the file system's journal commits them together

T = TypeVar("T")


class FileState(NamedTuple):
    size: int  # in bytes
    modified: float  # Unix time


class Disk(Protocol):
    """What a Spool needs of a disk. Every method raises OSError if the disk as a whole fails."""

    async def open(self) -> None:
        """Create the folder if there is none, and lock it. Raises BlockingIOError if another process has the lock."""

    async def close(self) -> None:
        """Release the lock, without waiting for work that is stuck on a failing disk."""

    async def names(self) -> set[str]:
        """All names in the folder. Packs that were not completely written are removed and left out."""

    async def states(self, names: Iterable[str]) -> dict[str, FileState]:
        """The states of those names that are regular files; one that cannot be examined counts as empty."""

    async def write(self, files: Sequence[tuple[str, bytes]]) -> list[OSError | None]:
        """Write new files; returns for each None once it survives a crash, or why it may be missing.

        If the caller is cancelled, any of them may exist or not, but none in part.
        """

    async def read(self, name: str, limit: int) -> bytes:
        """The first `limit` bytes of the file."""

    async def remove(self, names: Iterable[str]) -> dict[str, OSError]:
        """Remove files, not necessarily durably; returns the failures. A missing file counts as removed."""

    async def rename(self, name: str, to: str) -> None:
        """Rename a file within the folder, not necessarily durably."""


class Folder:
    """A Disk in a real folder. Its work is done in a thread of its own, in the order of the calls."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._thread = ThreadPoolExecutor(1, "spool")
        self._writers = ThreadPoolExecutor(_WRITERS, "spool writer")
        self._turn = asyncio.Lock()
        self._call: asyncio.Future[Any] | None = None  # the last
        self._lock: int | None = None

    def __str__(self) -> str:
        return str(self._path)

    async def open(self) -> None:
        await self._run(self._open)

    async def close(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
        for pool in (self._thread, self._writers):
            pool.shutdown(wait=False, cancel_futures=True)

    async def names(self) -> set[str]:
        return await self._run(self._names)

    async def states(self, names: Iterable[str]) -> dict[str, FileState]:
        return await self._run(partial(self._states, list(names)))

    async def write(self, files: Sequence[tuple[str, bytes]]) -> list[OSError | None]:
        return await self._run(partial(self._write, files))

    async def read(self, name: str, limit: int) -> bytes:
        return await self._run(partial(self._read, name, limit))

    async def remove(self, names: Iterable[str]) -> dict[str, OSError]:
        return await self._run(partial(self._remove, list(names)))

    async def rename(self, name: str, to: str) -> None:
        await self._run(partial(os.rename, self._path / name, self._path / to))

    async def _run(self, work: Callable[[], T]) -> T:
        """Queue one call at a time on the thread: if it hangs, calls that were given up must not hold their packs."""
        async with self._turn:
            if self._call is not None:
                await asyncio.wait({self._call})
            call = self._call = asyncio.get_running_loop().run_in_executor(self._thread, work)
            call.add_done_callback(lambda done: done.cancelled() or done.exception())  # its caller may be gone
        return await asyncio.shield(call)

    # What follows runs in the thread.

    def _open(self) -> None:
        self._path.mkdir(parents=True, exist_ok=True)
        lock = os.open(self._path / LOCK, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            # Two collectors draining one spool would publish everything twice.
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(lock)
            raise OSError(error.errno, f"another collector uses it ({error.strerror})") from error
        self._lock = lock

    def _names(self) -> set[str]:
        whole = set()
        for name in os.listdir(self._path):
            if name.endswith(PARTIAL) and pack_file.parse(name.removesuffix(PARTIAL)) is not None:
                # No write is under way in this thread: the file is left from a failed write or a killed process.
                with suppress(OSError):
                    os.unlink(self._path / name)
            else:
                whole.add(name)
        return whole

    def _states(self, names: list[str]) -> dict[str, FileState]:
        found = {}
        for name in names:
            try:
                status = os.lstat(self._path / name)
            except FileNotFoundError:
                continue
            except OSError:
                found[name] = FileState(0, 0)
                continue
            if stat.S_ISREG(status.st_mode):
                found[name] = FileState(status.st_size, status.st_mtime)
        return found

    def _write(self, files: Sequence[tuple[str, bytes]]) -> list[OSError | None]:
        outcomes = list(self._writers.map(self._write_one, files)) if len(files) > 1 else [self._write_one(files[0])]
        if (failed := self._sync_folder()) is not None:
            outcomes = [failed] * len(files)
        for (name, _), outcome in zip(files, outcomes, strict=True):
            if outcome is not None:
                # Its hits are refused. If it cannot be removed, it is found later and published after all.
                for left in (name, name + PARTIAL):
                    with suppress(OSError):
                        os.unlink(self._path / left)
        return outcomes

    def _sync_folder(self) -> OSError | None:
        try:
            folder = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            return error
        return None

    def _write_one(self, file: tuple[str, bytes]) -> OSError | None:
        """Write one file under a temporary name, fsync it and rename it."""
        name, data = file
        path = self._path / name
        partly = self._path / (name + PARTIAL)
        try:
            number = os.open(partly, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                rest = memoryview(data)
                while rest:
                    rest = rest[os.write(number, rest) :]
                os.fsync(number)
            finally:
                os.close(number)
            os.rename(partly, path)
        except OSError as error:
            return error
        return None

    def _read(self, name: str, limit: int) -> bytes:
        with open(self._path / name, "rb", buffering=0) as file:
            parts = []
            while limit > 0 and (part := file.read(limit)):
                parts.append(part)
                limit -= len(part)
        return b"".join(parts)

    def _remove(self, names: list[str]) -> dict[str, OSError]:
        failed = {}
        for name in names:
            try:
                os.unlink(self._path / name)
            except FileNotFoundError:
                pass
            except OSError as error:
                failed[name] = error
        return failed
