"""Group commit on disk: packs that arrive during a write share the next batch and its fsync of the folder."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from services.collector.disk import Disk
from services.collector.metrics import Metrics
from services.shared import log
from services.shared.background import Progress

_BATCH_BYTES = 16_000_000  # so that no pack waits long for others

_log = log.get("collector.spool")


@dataclass(frozen=True)
class NewPack:
    """A pack to be written, its file name, and a future: None once it is safe, or why it may not be."""

    name: str
    pack: str
    hits: int
    data: bytes
    done: asyncio.Future[str | None]


class SpoolWriter:
    """Writes packs while `run()` runs; a batch that takes longer than `seconds` has failed.

    `written` is called for each safe pack before its future resolves.
    """

    def __init__(self, disk: Disk, metrics: Metrics, seconds: float, written: Callable[[NewPack], None]) -> None:
        self._disk, self._metrics, self._seconds, self._written = disk, metrics, seconds, written
        self._waiting: list[NewPack] = []
        self._batch: list[NewPack] = []  # being written
        self._changed = asyncio.Event()
        self._closing = False
        self.ended = False
        self.broken: str | None = None  # why the last write failed
        self.hangs = False  # it failed because the disk did not answer

    @property
    def pending(self) -> list[NewPack]:
        """Not written yet."""
        return [*self._batch, *self._waiting]

    @property
    def closing(self) -> bool:
        return self._closing

    def add(self, pack: NewPack) -> None:
        self._waiting.append(pack)
        self._changed.set()

    def close(self) -> None:
        """Let `run()` return once everything is written."""
        self._closing = True
        self._changed.set()

    async def run(self, progress: Progress) -> None:
        try:
            while self._waiting or not self._closing:
                if self._waiting:
                    progress.moved()
                    await self._write_batch()
                else:
                    progress.idle()
                    self._changed.clear()
                    await self._changed.wait()
        finally:
            self.ended = True
            progress.idle()
            for one in self.pending:
                if not one.done.done():
                    one.done.set_result("the spool is closed")

    async def _write_batch(self) -> None:
        size = 0
        while self._waiting and (not self._batch or size + len(self._waiting[0].data) <= _BATCH_BYTES):
            self._batch.append(self._waiting.pop(0))
            size += len(self._batch[-1].data)
        outcomes = await self._store()
        batch, self._batch = self._batch, []
        for one, why in zip(batch, outcomes, strict=True):
            if why is None:
                self._written(one)
            if not one.done.done():
                one.done.set_result(why)

    async def _store(self) -> list[str | None]:
        errors: list[OSError | None]
        try:
            async with asyncio.timeout(self._seconds):
                errors = await self._disk.write([(one.name, one.data) for one in self._batch])
        except OSError as error:
            errors = [error] * len(self._batch)
        first = next((error for error in errors if error is not None), None)
        self.hangs = isinstance(first, TimeoutError)
        if first is not None:
            self._metrics.spool_errors.inc()
            if self.broken is None:
                _log.error("the spool cannot be written", path=str(self._disk), error=why(first))
            self.broken = _cannot(first)
        elif self.broken is not None:
            _log.info("the spool can be written again")
            self.broken = None
        return [None if error is None else _cannot(error) for error in errors]


def why(error: OSError) -> str:
    """The error's text; asyncio's timeouts have none."""
    return str(error) or "no answer in time"


def _cannot(error: OSError) -> str:
    return f"the spool cannot be written: {why(error)}"
