"""Packs that Pub/Sub has not confirmed, safe on this pod's disk: one file per pack, fsynced before the reply is sent.

A file's name holds the time of writing, the pack's id and the number of its hits; the content is the message's data, a
zstd frame with a checksum. A file copied into another collector's folder is published by that collector.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from errno import EAGAIN, EMFILE, ENFILE, ENOMEM
from itertools import islice

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
MAX_FILES = 80_000  # an ext4 disk of 1280 MiB, which the default of `spool_max_bytes` needs, has 81,920 inodes
SCAN_SECONDS = 10.0
_LONGEST_SCAN_WAIT = 60.0
LOCK_SECONDS = 30.0  # how long a process that is shutting down may keep the folder
_LOCK_WAIT_SECONDS = 0.2  # between two attempts to lock it
_OPEN_SECONDS = 60.0
_STUCK_SECONDS = 120.0
_RETRIED = 1_000  # failed removals that one scan retries
_SQLITE = "hits.sqlite"  # the format of earlier versions
_PASSING = frozenset({EAGAIN, EMFILE, ENFILE, ENOMEM})  # errors that are not about the file itself

_log = log.get("collector.spool")


class SpoolError(Exception):
    """The spool is full, or its disk is full, read-only, broken, or does not answer."""


@dataclass(frozen=True)
class Spooled:
    """A pack on disk: `data` is the data of a message for the topic of hits."""

    name: str
    pack: str
    hits: int
    data: bytes


class Spool:
    """At most `limit` bytes and `max_files` files; packs left by an earlier process are drained as well.

    Entering waits up to `lock_seconds` for another process to release the folder. A disk operation that takes longer
    than `disk_seconds` counts as failed. Every `scan_seconds`, failures are retried, and the folder is searched for
    files that were copied there. `now` returns the Unix time in seconds.
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
        self._ailing = False  # an operation other than writing fails, and that was logged
        self._ailed = False  # one failed since the last scan began
        self._reported: set[str] = set()  # unreadable files that were logged

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

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()
        self._scanning.cancel()
        await asyncio.wait({self._writing, self._scanning})
        await self._remove(self._held.confirmed)
        await self._disk.close()
        if self.packs:
            _log.warning("packs stay in the spool for the next start", packs=self.packs, hits=self.hits)

    async def _lock(self) -> None:
        """Open the disk; wait for the process that still has it, such as a pod that was deleted by force."""
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
        """Of all its files, in whole blocks, including those set aside and those not removed yet."""
        return self._held.bytes

    @property
    def refuses(self) -> str | None:
        """Why the last pack was refused; None if it was accepted."""
        return self._full or self._writer.broken

    @property
    def drainable(self) -> bool:
        """Whether there are packs, and they can be read."""
        return bool(self.packs) and not self._reads_fail

    async def put(self, pack: str, hits: int, data: bytes) -> None:
        """Return once the pack is on disk, fsynced.

        Raises SpoolError if it may not be, at the latest after twice `disk_seconds`. It may be on disk nevertheless.
        """
        pending = self._writer.pending
        self._check_room(len(data), pending)
        if self._writer.hangs and pending:  # one write at a time tests the disk
            raise SpoolError(self._writer.broken)
        done = asyncio.get_running_loop().create_future()
        self._writer.add(NewPack(self._held.new_name(pack, hits), pack, hits, data, done))
        if (reason := await done) is not None:
            raise SpoolError(reason)

    async def wait(self) -> None:
        """Return once there is something in the spool."""
        await self._held.stored.wait()

    async def oldest_packs(self, count: int) -> list[Spooled]:
        """The oldest packs, oldest first. Those that cannot be read are set aside and left out.

        Raises SpoolError if the disk cannot be read now.
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

        They are forgotten at once, so that the packs behind them get their turn even if files cannot be removed, which
        is retried later. If the process is killed before that, the next one publishes them again.
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
        """The pack in a file; None if it is missing or was set aside."""
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
        return Spooled(name, entry.pack, entry.hits, data)

    def _put_off(self, name: str, reason: str) -> bool:
        """Skip this file until the next scan. Returns whether it was still there to drain.

        It keeps its name: its content may be intact, and readable once the disk works again.
        """
        if (entry := self._held.unreadable(name)) is None:
            return False
        if name not in self._reported:
            self._reported.add(name)
            self._metrics.spool_corrupt.inc()
            _log.critical("a spooled pack cannot be read and is set aside", file=name, hits=entry.hits, error=reason)
        return True

    async def _set_aside(self, name: str, reason: str) -> None:
        """Skip this file for good: it is damaged, and kept for inspection."""
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
        """Remove files of confirmed packs. Failures are retried by a later scan."""
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
            # Scans take at most a twentieth of the time.
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
        """Retry what failed, and find files that were put here or taken away."""
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
        """Note that a disk operation other than a write failed."""
        self._metrics.spool_errors.inc()
        if not self._ailing:
            _log.error("the spool's disk fails", path=str(self._disk), error=why(error))
        self._ailing = self._ailed = True
        return f"the spool's disk fails: {why(error)}"


async def _select(names: Iterable[str], wanted: Callable[[str], bool]) -> list[str]:
    """Filter the names, in parts, so that replies do not wait for many thousands."""
    found: list[str] = []
    rest = iter(names)
    while part := list(islice(rest, 1_000)):
        found += filter(wanted, part)
        await asyncio.sleep(0)
    return found
