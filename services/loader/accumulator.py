"""Batches the rows of many packs into few appends, and keeps track of which row belongs to which pack. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate

import pyarrow as pa

from services.loader.pack_tracker import Pack
from services.loader.table_breaker import Target


@dataclass(frozen=True)
class Limits:
    """What closes a batch: its rows, its bytes of Arrow, or the seconds since its first row."""

    rows: int
    bytes: int
    linger_seconds: float


@dataclass(frozen=True, eq=False)
class Slice:
    """Some rows of one pack, for one table; `bytes` is the size of their Arrow buffers."""

    pack: Pack
    rows: int
    bytes: int


@dataclass(frozen=True)
class AppendBatch:
    """One append: the rows of one table, and how many of them belong to each slice, in order."""

    target: Target
    rows: pa.RecordBatch
    shares: tuple[tuple[Slice, int], ...]

    @property
    def slices(self) -> tuple[Slice, ...]:
        return tuple(one for one, _ in self.shares)

    def without(self, bad: Iterable[int]) -> tuple[AppendBatch, list[tuple[Slice, list[int]]]]:
        """The batch without the rows at these indices, and the indices grouped by slice.

        A slice with no row left keeps its place, so that it is settled with the others.
        """
        bad = sorted(set(bad))
        ends = list(accumulate(count for _, count in self.shares))
        owned: list[list[int]] = [[] for _ in self.shares]
        for index in bad:
            owned[bisect_right(ends, index)].append(index)
        dropped = set(bad)
        keep = [index for index in range(self.rows.num_rows) if index not in dropped]
        kept = self.rows.take(pa.array(keep, pa.int64()))
        shares = tuple((one, count - len(mine)) for (one, count), mine in zip(self.shares, owned, strict=True))
        return (
            AppendBatch(self.target, kept, shares),
            [(one, mine) for (one, _), mine in zip(self.shares, owned, strict=True) if mine],
        )

    def halves(self) -> tuple[AppendBatch, AppendBatch]:
        """The first and the second half of the slices, to find the one for which BigQuery refuses all of them."""
        middle = len(self.shares) // 2
        first = sum(count for _, count in self.shares[:middle])
        return (
            AppendBatch(self.target, self.rows.slice(0, first), self.shares[:middle]),
            AppendBatch(self.target, self.rows.slice(first), self.shares[middle:]),
        )


class Accumulator:
    """The slices of one target that wait to be appended, oldest first. `now` is a monotonic time in seconds."""

    def __init__(self, target: Target, limits: Limits) -> None:
        self._target, self._limits = target, limits
        self._waiting: deque[tuple[float, Slice, pa.RecordBatch]] = deque()
        self._rows = 0
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, one: Slice, rows: pa.RecordBatch, now: float) -> None:
        self._waiting.append((now, one, rows))
        self._rows += one.rows
        self._bytes += one.bytes

    def due_in(self, now: float) -> float:
        """Seconds until the next append is due: 0 once a limit is reached."""
        if self._rows >= self._limits.rows or self._bytes >= self._limits.bytes:
            return 0.0
        return max(0.0, self._limits.linger_seconds - (now - self._waiting[0][0]))

    def take(self) -> AppendBatch:
        """The oldest slices, as many as fit the limits of rows and bytes, at least one."""
        slices: list[Slice] = []
        batches: list[pa.RecordBatch] = []
        rows = size = 0
        while self._waiting:
            _, one, batch = self._waiting[0]
            rows, size = rows + one.rows, size + one.bytes
            if slices and (rows > self._limits.rows or size > self._limits.bytes):
                break
            self._waiting.popleft()
            self._rows -= one.rows
            self._bytes -= one.bytes
            slices.append(one)
            batches.append(batch)
        merged = batches[0] if len(batches) == 1 else pa.concat_batches(batches)
        return AppendBatch(self._target, merged, tuple((one, one.rows) for one in slices))
