"""Writing a batch until every row of it has an answer, whatever happens on the way."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import pyarrow as pa

from services.loader.accumulator import AppendBatch, Slice
from services.loader.metrics import Metrics
from services.loader.table_breaker import TableBreaker
from services.loader.write_api import AppendError, RowErrors, WriteApi
from services.shared import log
from services.shared.background import Progress
from services.shared.schema import Table

FIRST_WAIT, LONGEST_WAIT = 0.1, 10.0  # seconds before an append is sent again
# What trying again hardly mends is tried a few times all the same: BigQuery refuses new columns for a while after
# they were added.
PERMANENT_TRIES = 6

_log = log.get("loader.writer")


@dataclass(frozen=True)
class BadRows:
    """Rows of one slice that BigQuery refuses every time, with what is wrong with each."""

    slice: Slice
    rows: pa.RecordBatch
    details: list[str]


class _GivenUp(Exception):
    """The rows are not to be held any longer."""


@dataclass
class WriteResult:
    """What did not get into the table: the bad rows, and the slices refused as a whole or given up.

    All else is in BigQuery.
    """

    bad: list[BadRows] = field(default_factory=list)
    refused: list[Slice] = field(default_factory=list)


def _now_us() -> int:
    return time.time_ns() // 1_000


class Writer:
    """`full` says whether the packs held now keep others out of the loader.

    `progress` moves with each attempt. `now_us` is the wall clock, in microseconds since 1970; `uniform(a, b)` spreads
    what is sent again.
    """

    def __init__(
        self,
        api: WriteApi,
        metrics: Metrics,
        full: Callable[[], bool],
        progress: Progress,
        *,
        now_us: Callable[[], int] = _now_us,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._api, self._metrics, self._full, self._progress = api, metrics, full, progress
        self._writing = 0  # batches at a time
        self._now_us, self._uniform = now_us, uniform
        self._loop = asyncio.get_running_loop()
        self._breaker = TableBreaker()
        self._failing: dict[str, str] = {}  # gRPC code by table, for logging changes only
        self._had_bad_rows: set[str] = set()

    async def write(self, batch: AppendBatch) -> WriteResult:
        """Append until BigQuery has every row but those in the result.

        Transient errors are tried again for ever; where an operator is needed, as long as `table_breaker.py` says.
        """
        result = WriteResult()
        self._writing += 1
        try:
            await self._write(batch, result, PERMANENT_TRIES)
        finally:
            self._writing -= 1
            if self._writing:
                self._progress.moved()
            else:
                self._progress.idle()
        return result

    def takes(self, table: Table) -> bool:
        """Whether a pack of the table is to be held now, or better given back."""
        return self._breaker.takes(table.name, self._loop.time())

    async def _write(self, batch: AppendBatch, result: WriteResult, tries: int) -> None:
        while batch.rows.num_rows:
            try:
                await self._until_answered(batch, tries)
            except RowErrors as errors:
                batch = self._without_bad(batch, errors.rows, result)
            except _GivenUp:
                result.refused.extend(batch.slices)
                return
            except Exception as error:  # noqa: BLE001 - whatever one pack makes it raise, the others are written
                if not isinstance(error, AppendError):
                    _log.exception("append failed", table=batch.table.name)
                if len(batch.shares) == 1:
                    result.refused.extend(batch.slices)
                    return
                # One pack may spoil the request for all: halving finds it, and the others are written.
                for half in batch.halves():
                    await self._write(half, result, tries=1)
                return
            else:
                return

    async def _until_answered(self, batch: AppendBatch, tries: int) -> None:
        """Return when the rows are there. Raises RowErrors, _GivenUp, or AppendError after `tries` permanent ones."""
        wait = FIRST_WAIT
        while True:
            self._progress.moved()
            started = time.perf_counter()
            try:
                size = await self._api.append(batch.table.log_name, batch.rows)
            except RowErrors as errors:
                self._works(batch.table)
                if not any(index in range(batch.rows.num_rows) for index in errors.rows):
                    raise AppendError(
                        "INTERNAL", f"errors of rows that were not sent: {sorted(errors.rows)[:10]}"
                    ) from None
                raise
            except AppendError as error:
                self._fails(batch.table, error)
                if error.needs_operator and self._give_up(batch.table):
                    raise _GivenUp from None
                if not error.transient:
                    tries -= 1
                    if not tries:
                        raise
            else:
                self._works(batch.table)
                self._count(batch, size, time.perf_counter() - started)
                return
            await asyncio.sleep(wait * self._uniform(0.5, 1.0))
            wait = min(wait * 2, LONGEST_WAIT)

    def _without_bad(self, batch: AppendBatch, errors: dict[int, str], result: WriteResult) -> AppendBatch:
        mine = {index: text for index, text in errors.items() if index in range(batch.rows.num_rows)}
        rest, owned = batch.without(mine)
        for one, indices in owned:
            result.bad.append(BadRows(one, batch.rows.take(indices), [mine[index] for index in indices]))
        if batch.table.name not in self._had_bad_rows:
            self._had_bad_rows.add(batch.table.name)
            index, text = min(mine.items())
            _log.warning(
                "BigQuery refuses rows, the first of this table", table=batch.table.name, row=index, detail=text
            )
        return rest

    def _count(self, batch: AppendBatch, size: int, seconds: float) -> None:
        self._metrics.append_seconds.observe(seconds)
        self._metrics.append_rows.observe(batch.rows.num_rows)
        self._metrics.bytes.inc(size)
        self._metrics.took(batch.table, batch.rows, self._now_us())

    def _fails(self, table: Table, error: AppendError) -> None:
        self._metrics.retried(error.code)
        if self._failing.get(table.name) != error.code:
            self._failing[table.name] = error.code
            _log.warning("appends fail", table=table.name, error=str(error), tried_again=error.transient)

    def _give_up(self, table: Table) -> bool:
        was = self._breaker.is_suspended(table.name)
        back = self._breaker.fails(table.name, self._loop.time(), full=self._full())
        if self._breaker.is_suspended(table.name) and not was:
            self._metrics.suspended[table.name].set(1)
            _log.error("the table keeps failing while others load; its packs go back to Pub/Sub", table=table.name)
        return back

    def _works(self, table: Table) -> None:
        if self._breaker.works(table.name, self._loop.time()):
            self._metrics.suspended[table.name].set(0)
        if self._failing.pop(table.name, None) is not None:
            _log.info("appends work again", table=table.name)
