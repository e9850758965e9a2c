"""The rows of one target that wait for their append, and how many appends are in flight."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pyarrow as pa

from services.loader.accumulator import Accumulator, AppendBatch, Limits, Slice
from services.loader.table_breaker import Target

IN_FLIGHT = 4  # appends at a time; while all are busy, the next batch fills


class TableQueue:
    """Once `ending` is set, rows are due at once; call `wake()` then."""

    def __init__(self, target: Target, limits: Limits, ending: asyncio.Event) -> None:
        self.target = target
        self._accumulator = Accumulator(target, limits)
        self._ending = ending
        self._writing = 0
        self._changed = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def add(self, one: Slice, rows: pa.RecordBatch) -> None:
        now = self._loop.time()
        first = not self._accumulator
        self._accumulator.add(one, rows, now)
        if first or not self._accumulator.due_in(now):
            self.wake()

    def wake(self) -> None:
        self._changed.set()

    async def next_batch(self) -> AppendBatch | None:
        """Wait for a free slot and until rows are due, and take them; `written()` frees the slot.

        None once no row waits and none is being written.
        """
        while self._accumulator or self._writing:
            wait = self._wait()
            if wait == 0.0:
                self._writing += 1
                return self._accumulator.take()
            self._changed.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._changed.wait()
        return None

    def written(self) -> None:
        """An append has ended, successfully or not."""
        self._writing -= 1
        self.wake()

    def _wait(self) -> float | None:
        """Seconds until the next append may begin; None until something changes."""
        if not self._accumulator or self._writing >= IN_FLIGHT:
            return None
        return 0.0 if self._ending.is_set() else self._accumulator.due_in(self._loop.time())
