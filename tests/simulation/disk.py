"""A simulated disk: one folder that outlives the processes using it, and what a Spool needs of it.

`Disk` promises what `Disk` in `services/collector/disk.py` does, and no more: what is not said there to survive a
crash may be undone by one, and a write that a crash interrupts may leave a file that is cut off.
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Iterable, Sequence

from services.collector import pack_file
from services.collector.disk import FileState
from tests.simulation.process import Dead, Process
from tests.simulation.world import World

_WRITES = ("ENOSPC", "EROFS", "EIO")
_CHANGES = ("EROFS", "EIO", "EPERM")
_READS = ("EIO",)


class Folder:
    def __init__(self, world: World) -> None:
        self.world = world
        self.files: dict[str, bytes] = {}
        self.written: dict[str, float] = {}  # the Unix time of each
        self.removed: dict[str, bytes] = {}  # by the process that runs; a crash may bring them back
        self.unasked = 0  # bytes of files there ever were that no spool had room for, or knows of yet
        self.owner: Process | None = None

    def put(self, name: str, data: bytes) -> None:
        self.files[name] = data
        self.written[name] = self.world.now()

    def slip_in(self, name: str, data: bytes) -> None:
        """A file is there that the spool was not asked to keep."""
        self.put(name, data)
        self.unasked += pack_file.bytes_on_disk(len(data))

    def crash(self) -> None:
        """The machine went down: what was removed and not synced is there again, perhaps."""
        for name, data in self.removed.items():
            if self.world.chance(0.3):
                self.slip_in(name, data)
        self.removed.clear()


class Disk:
    """Works through what is asked in order, as the one thread of the real one does."""

    def __init__(self, folder: Folder, process: Process) -> None:
        self._folder, self._process, self._world = folder, process, folder.world
        self._thread = asyncio.Lock()

    def __str__(self) -> str:
        return "/spool"

    async def open(self) -> None:
        async with self._thread:
            await self._operation("open", _CHANGES)
            if (owner := self._folder.owner) is not None and owner.alive:
                raise OSError(errno.EWOULDBLOCK, "another collector uses it")
            self._folder.crash()
            self._folder.owner = self._process

    async def close(self) -> None:
        if self._process.alive and self._folder.owner is self._process:
            self._folder.owner = None
            self._folder.removed.clear()

    async def names(self) -> list[str]:
        async with self._thread:
            await self._operation("names", _READS)
            return list(self._folder.files)

    async def states(self, names: Iterable[str]) -> dict[str, FileState]:
        async with self._thread:
            await self._operation("states", _READS)
            files, written = self._folder.files, self._folder.written
            return {name: FileState(len(files[name]), written[name]) for name in names if name in files}

    async def write(self, files: Sequence[tuple[str, bytes]]) -> list[OSError | None]:
        await self._thread.acquire()
        writing = self._process.run(self._write(files))
        writing.add_done_callback(lambda _: self._thread.release())
        try:
            return await asyncio.shield(writing)
        except asyncio.CancelledError:  # it goes on, and nobody waits for it any more
            self._folder.unasked += sum(pack_file.bytes_on_disk(len(data)) for _, data in files)
            raise

    async def read(self, name: str, limit: int) -> bytes:
        async with self._thread:
            await self._operation(f"read {name}", _READS)
            return self._content(name)[:limit]

    async def remove(self, names: Iterable[str]) -> dict[str, OSError]:
        failed: dict[str, OSError] = {}
        async with self._thread:
            for name in names:
                try:
                    await self._operation(f"remove {name}", _CHANGES)
                except Dead:
                    raise
                except OSError as error:
                    failed[name] = error
                else:
                    if (data := self._folder.files.pop(name, None)) is not None:
                        self._folder.removed[name] = data
        return failed

    async def rename(self, name: str, to: str) -> None:
        async with self._thread:
            await self._operation(f"rename {name} {to}", _CHANGES)
            self._folder.put(to, self._content(name))
            del self._folder.files[name]

    async def _write(self, files: Sequence[tuple[str, bytes]]) -> list[OSError | None]:
        errors: list[OSError | None] = []
        for name, data in files:
            try:
                await self._operation(f"write {name}", _WRITES)
            except (Dead, asyncio.CancelledError):
                if self._world.chance(0.5):  # the crash came in the middle of it
                    self._folder.slip_in(name, data[: self._world.random.randint(0, len(data))])
                raise
            except OSError as error:
                if error.errno == errno.EIO and self._world.chance(0.3):  # its fsync failed, and so did its removal
                    self._folder.slip_in(name, data)
                errors.append(error)
            else:
                self._folder.put(name, data)
                self._world.keeps(data)
                errors.append(None)
        await self._world.latency(self._process)
        return errors

    def _content(self, name: str) -> bytes:
        if name not in self._folder.files:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
        return self._folder.files[name]

    async def _operation(self, what: str, faults: tuple[str, ...]) -> None:
        fault = await self._world.operation(self._process, "disk", what)
        if fault in faults:
            number = getattr(errno, fault)
            raise OSError(number, os.strerror(number))
