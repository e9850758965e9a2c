"""Packs that Pub/Sub has not confirmed, safe on this pod's disk: one file for each, fsynced before a reply goes.

A file's name says when it was written, its pack's id and how many hits it holds; its content is the message's data, a
zstd frame with a checksum. A copy of it in another collector's folder is published by that one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from errno import EAGAIN, EMFILE, ENFILE, ENOMEM
from itertools import islice
from types import TracebackType

from services.collector import pack_file
from services.collector.disk import Disk
from services.collector.inventory import Inventory
from services.collector.metrics import Metrics
from services.collector.spool_writer import NewPack, SpoolWriter, why
from services.shared import log
from services.shared.background import Background
from services.shared.config import ConfigError
from services.shared.errors import Poison

DISK_SECONDS = 5.0
MAX_FILES = 100_000  # an ext4 disk of 2 GiB has 131,072 inodes
SCAN_SECONDS = 10.0
_LONGEST_SCAN_WAIT = 60.0
LOCK_SECONDS = 30.0  # how long a process that is ending may keep the folder
_LOCK_WAIT_SECONDS = 0.2  # between two looks at that
_OPEN_SECONDS = 60.0
_STUCK_SECONDS = 120.0
_RETRIED = 1_000  # files whose removal failed, in one look
_SQLITE = "hits.sqlite"  # what held the packs before each had a file
_PASSING = frozenset({EAGAIN, EMFILE, ENFILE, ENOMEM})  # errors that say nothing about the file

_log = log.get("collector.spool")


class SpoolError(Exception):
    """The disk did not do what was asked: it is full, read-only or broken, does not answer, or the spool is full."""


@dataclass(frozen=True)
class Spooled:
    """A pack on disk: `data` is one message for the topic of hits, `at` the Unix time it was written."""

    name: str
    pack: str
    hits: int
    at: float
    data: bytes


class Spool:
    """At most `limit` bytes and `max_files` files; what an earlier process left there is drained as well.

    Entering waits up to `lock_seconds` for another process to leave the folder. A step of the disk that takes longer
    than `disk_seconds` is one that failed. Every `scan_seconds` what failed is tried again, and the folder is searched
    for what someone else put there. `now` gives the Unix time in seconds.
    """

    def __init__(
        self,
        disk: Disk,
        limit: int,
        metrics: Metrics,
        background: Background,
        *,
        max_files: int = MAX_FILES,
        disk_seconds: float = DISK_SECONDS,
        scan_seconds: float = SCAN_SECONDS,
        lock_seconds: float = LOCK_SECONDS,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._disk, self._limit, self._metrics, self._background = disk, limit, metrics, background
        self._max_files, self._disk_seconds, self._scan_seconds = max_files, disk_seconds, scan_seconds
        self._lock_seconds = lock_seconds
        metrics.spool_limit.set(limit)
        self._held = Inventory(metrics, max_files, now)
        self._writer = SpoolWriter(disk, metrics, disk_seconds, self._written)
        self._full: str | None = None
        self._reads_fail = False
        self._ailing = False  # something but a write fails: it is in the log
        self._ailed = False  # something did since the last scan began
        self._reported: set[str] = set()  # unreadable files that are in the log

    async def __aenter__(self) -> Spool:
        try:
            async with asyncio.timeout(_OPEN_SECONDS):
                await self._lock()
                await self._find()
        except OSError as error:
            await self._disk.close()
            why = error.strerror or str(error) or f"no answer in {_OPEN_SECONDS:.0f} s"
            raise ConfigError(
                f"PIPE_SPOOL={str(self._disk)!r}: {why}; give a folder this process alone can write, or none"
            ) from error
        except BaseException:
            await self._disk.close()
            raise
        if self.packs:
            _log.warning("found spooled packs of an earlier run", packs=self.packs, hits=self.hits)
        writing = self._writer.run(self._background.step("spool", _STUCK_SECONDS))
        self._writing = self._background.start("spool", writing, ending=lambda: self._writer.closing)
        self._scanning = self._background.start("spool scan", self._scan_always())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.close()
        self._scanning.cancel()
        await asyncio.wait({self._writing, self._scanning})
        await self._remove(self._held.confirmed)
        await self._disk.close()
        if self.packs:
            _log.warning("packs stay in the spool for the next start", packs=self.packs, hits=self.hits)

    async def _lock(self) -> None:
        """Open the disk; a process that still has it gets a while to end, as one does that was deleted by force."""
        loop = asyncio.get_running_loop()
        until = loop.time() + self._lock_seconds
        waited = False
        while True:
            try:
                return await self._disk.open()
            except BlockingIOError:
                if loop.time() >= until:
                    raise
            if not waited:
                waited = True
                _log.info("waiting for the spool: another process has it", path=str(self._disk))
            await asyncio.sleep(_LOCK_WAIT_SECONDS)

    @property
    def packs(self) -> int:
        return len(self._held.packs)

    @property
    def hits(self) -> int:
        return self._held.hits

    @property
    def bytes_on_disk(self) -> int:
        """Of all its files, in whole blocks: those set aside or not removed yet as well."""
        return self._held.bytes

    @property
    def oldest(self) -> float | None:
        """The Unix time at which the oldest pack was written."""
        return self._held.oldest

    @property
    def refuses(self) -> str | None:
        """Why the last pack was not taken; None while they are."""
        return self._full or self._writer.broken

    @property
    def drainable(self) -> bool:
        """Whether there are packs, and the disk lets them be read."""
        return bool(self.packs) and not self._reads_fail

    async def put(self, pack: str, hits: int, data: bytes) -> None:
        """Return when the pack is on disk, fsynced.

        Raises SpoolError when it may not be, at the latest after twice `disk_seconds`. It can be there all the same.
        """
        pending = self._writer.pending
        self._check_room(len(data), pending)
        if self._writer.hangs and pending:  # one at a time finds out whether the disk answers again
            raise SpoolError(self._writer.broken)
        done = asyncio.get_running_loop().create_future()
        self._writer.add(NewPack(self._held.new_name(pack, hits), pack, hits, data, done))
        if (reason := await done) is not None:
            raise SpoolError(reason)

    async def wait(self) -> None:
        """Return when there is something in the spool."""
        await self._held.stored.wait()

    async def oldest_packs(self, count: int) -> list[Spooled]:
        """The first packs written, oldest first, without those that cannot be read, which are set aside.

        Raises SpoolError where the disk cannot be read now.
        """
        packs: list[Spooled] = []
        try:
            async with asyncio.timeout(self._disk_seconds):
                for name in list(islice(self._held.packs, count)):
                    if (pack := await self._read(name)) is not None:
                        packs.append(pack)
        except OSError as error:
            reason = self._ails(error)
            if not packs:
                self._reads_fail = True
                raise SpoolError(reason) from error
        self._reads_fail = False
        return packs

    async def delete(self, packs: Iterable[Spooled]) -> None:
        """Forget packs that Pub/Sub has confirmed, and remove their files.

        They are forgotten at once, so that those behind them get their turn even where files cannot be removed; that
        is tried again later. A process killed before then publishes them once more.
        """
        await self._remove(self._held.confirm(pack.name for pack in packs))

    def _check_room(self, size: int, pending: list[NewPack]) -> None:
        if self._writer.ended:
            raise SpoolError("the spool is closed")
        self._full = None
        wanted = self.bytes_on_disk + sum(
            pack_file.bytes_on_disk(one) for one in (size, *(len(one.data) for one in pending))
        )
        if self._held.files + len(pending) >= self._max_files:
            self._full = f"the spool is full: {self._held.files} of {self._max_files} files"
        elif wanted > self._limit:
            self._full = f"the spool is full: {self.bytes_on_disk} of {self._limit} bytes"
        if self._full is not None:
            raise SpoolError(self._full)

    def _written(self, one: NewPack) -> None:
        self._held.written(one.name, one.pack, one.hits, len(one.data))

    async def _read(self, name: str) -> Spooled | None:
        """The pack of a file; None where it is set aside or no longer there."""
        if (entry := self._held.packs.get(name)) is None:
            return None
        try:
            data = await self._disk.read(name, pack_file.MAX_BYTES + 1)
            pack_file.check(data)
        except FileNotFoundError:
            self._vanished([name])
            return None
        except Poison as error:
            await self._set_aside(name, str(error))
            return None
        except OSError as error:
            if isinstance(error, TimeoutError) or error.errno in _PASSING:
                raise
            self._put_off(name, why(error))
            return None
        self._reported.discard(name)
        return Spooled(name, entry.pack, entry.hits, entry.at, data)

    def _put_off(self, name: str, reason: str) -> bool:
        """Let the others go on without this file until the next scan. Returns whether it was still there to drain.

        It keeps its name: its content may be whole, and readable once the disk works again.
        """
        if (entry := self._held.unreadable(name)) is None:
            return False
        if name not in self._reported:
            self._reported.add(name)
            self._metrics.spool_corrupt.inc()
            _log.critical("a spooled pack cannot be read and is set aside", file=name, hits=entry.hits, error=reason)
        return True

    async def _set_aside(self, name: str, reason: str) -> None:
        """Let the others go on without this file for good: it is damaged, and kept for someone to look at."""
        if not self._put_off(name, reason):
            return
        try:
            await self._disk.rename(name, name + pack_file.DAMAGED)
        except OSError as error:
            self._ails(error)
        else:
            self._reported.discard(name)
            self._held.set_aside(name, name + pack_file.DAMAGED)

    async def _remove(self, names: Iterable[str]) -> None:
        """Remove files of confirmed packs. What fails is left for later."""
        if not (names := list(names)):
            return
        try:
            async with asyncio.timeout(self._disk_seconds):
                failed = await self._disk.remove(names)
        except OSError as error:
            failed = dict.fromkeys(names, error)
        self._held.removed(name for name in names if name not in failed)
        self._full = None
        if failed:
            self._ails(next(iter(failed.values())))

    async def _find(self) -> None:
        names = await self._disk.names()
        if _SQLITE in names:
            raise ConfigError(
                f"PIPE_SPOOL={str(self._disk)!r}: {_SQLITE} holds packs of an earlier version, which this one cannot"
                " read; let that version publish them, then remove the file"
            )
        ours = [name for name in names if pack_file.parse(name) is not None or pack_file.is_set_aside(name)]
        self._held.begin(await self._disk.states(ours))

    async def _scan_always(self) -> None:
        clock = asyncio.get_running_loop().time
        took = 0.0
        while True:
            # A scan of many files takes a twentieth of the disk's time.
            await asyncio.sleep(min(max(self._scan_seconds, 20 * took), _LONGEST_SCAN_WAIT))
            started, self._ailed = clock(), False
            try:
                async with asyncio.timeout(self._disk_seconds):
                    await self._scan()
            except OSError as error:
                self._ails(error)
            if self._ailing and not self._ailed:
                self._ailing = False
                _log.info("the spool's disk works again")
            took = clock() - started

    async def _scan(self) -> None:
        """Try again what failed, and see what someone else put here or took away."""
        await self._remove(islice(list(self._held.confirmed), _RETRIED))
        known = list(self._held.packs)
        names = await self._disk.names()
        self._vanished(await _select(known, lambda name: name not in names))
        self._held.forget_set_aside(names)
        self._held.try_unreadable_again()
        new = await _select(names, self._held.is_new)
        room = max(0, self._max_files - self._held.files)
        self._held.look(await self._disk.states(sorted(new)[:room]) if new else {})

    def _vanished(self, names: list[str]) -> None:
        packs, hits = self._held.vanished(names)
        if packs:
            _log.warning("spooled packs were taken away", packs=packs, hits=hits)

    def _ails(self, error: OSError) -> str:
        """Note that the disk failed at something but a write."""
        self._metrics.spool_errors.inc()
        if not self._ailing:
            _log.error("the spool's disk fails", path=str(self._disk), error=why(error))
        self._ailing = self._ailed = True
        return f"the spool's disk fails: {why(error)}"


async def _select(names: Iterable[str], wanted: Callable[[str], bool]) -> list[str]:
    """The names that are wanted. They are looked at in parts: replies do not wait for a hundred thousand."""
    found: list[str] = []
    rest = iter(names)
    while part := list(islice(rest, 1_000)):
        found += filter(wanted, part)
        await asyncio.sleep(0)
    return found
