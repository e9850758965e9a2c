"""Disks that fail as a test says, around a real folder."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from errno import EIO, EROFS
from pathlib import Path

from services.collector.disk import FileState, Folder

READ_ONLY = OSError(EROFS, "Read-only file system")
BROKEN = OSError(EIO, "Input/output error")


class FailingDisk(Folder):
    """`fails[method]` is raised by it (`remove` returns it for each file); a method in `hangs` waits for `go_on()`,
    `late` ones do their work first. `looked` is called before the folder is listed.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.fails: dict[str, Exception] = {}
        self.hangs: set[str] = set()
        self.late: set[str] = set()
        self.calls: list[str] = []
        self.looked: Callable[[], None] = lambda: None
        self._going = asyncio.Event()

    def go_on(self) -> None:
        self.hangs.clear()
        self.late.clear()
        self._going.set()

    async def _begin(self, method: str) -> None:
        self.calls.append(method)
        if method in self.hangs:
            await self._going.wait()
        if error := self.fails.get(method):
            raise error

    async def names(self) -> set[str]:
        await self._begin("names")
        self.looked()
        return await super().names()

    async def states(self, names: Iterable[str]) -> dict[str, FileState]:
        await self._begin("states")
        return await super().states(names)

    async def write(self, files: Sequence[tuple[str, bytes]]) -> list[OSError | None]:
        await self._begin("write")
        outcomes = await super().write(files)
        if "write" in self.late:
            await self._going.wait()
        return outcomes

    async def read(self, name: str, limit: int) -> bytes:
        await self._begin("read")
        return await super().read(name, limit)

    async def remove(self, names: Iterable[str]) -> dict[str, OSError]:
        if isinstance(error := self.fails.get("remove"), OSError):
            return dict.fromkeys(names, error)
        await self._begin("remove")
        return await super().remove(names)

    async def rename(self, name: str, to: str) -> None:
        await self._begin("rename")
        await super().rename(name, to)
        if "rename" in self.late:
            await self._going.wait()
