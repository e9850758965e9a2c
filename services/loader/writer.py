"""Writes a batch until every row of it is stored, refused or given up."""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice

import pyarrow as pa

from services.loader.accumulator import AppendBatch, Slice
from services.loader.metrics import Metrics
from services.loader.table_breaker import TableBreaker, Target
from services.loader.write_api import AppendError, RowErrors, WriteApi
from services.shared import log
from services.shared.background import Progress
from services.shared.backoff import Backoff
from services.shared.fault import FAULT_LOG_SECONDS, fault
from services.shared.schema import LOG_SUFFIX
from services.shared.throttle import Throttle

FIRST_WAIT, LONGEST_WAIT = 0.1, 10.0  # seconds before an append is retried
PERMANENT_TRIES = 6  # of an append whose error is not transient
UNKNOWN_COLUMN = "unknown"  # the label where BigQuery's answer names no column
MAX_ERROR = 500  # characters of an error in a log line
MAX_COLUMNS = 20  # reported per target
_REMEMBERED = 1_000  # failing targets
_QUOTED = re.compile(r"'([^']{1,10000})'")
_REQUIRED = re.compile(r"required field '?([A-Za-z_]\w{0,299})", re.IGNORECASE)

_log = log.get("loader.writer")


@dataclass(frozen=True)
class BadRows:
    """Rows of one slice that BigQuery refuses, with what is wrong with each."""

    slice: Slice
    rows: pa.RecordBatch
    details: list[str]


class _GivenUp(Exception):
    """The rows must not be held any longer."""


@dataclass
class WriteResult:
    """What is not in the table: bad rows, and slices refused as a whole or given up. Everything else is in BigQuery."""

    bad: list[BadRows] = field(default_factory=list)
    refused: list[Slice] = field(default_factory=list)


def _now_us() -> int:
    return time.time_ns() // 1_000


def refused_columns(text: str, names: list[str]) -> tuple[str, ...]:
    """The columns that BigQuery's answer to an append of columns `names` complains about, as far as it names them.

    Only names of columns in the rows, or ones that BigQuery calls a required field.
    """
    quoted = {word.lower() for part in _QUOTED.findall(text) for word in re.split(r"[,\s]+", part)}
    found = [name for name in names if name.lower() in quoted] + _REQUIRED.findall(text)
    return tuple(dict.fromkeys(found))[:MAX_COLUMNS] or (UNKNOWN_COLUMN,)


class Writer:
    """`held()` is how full the loader is, from 0 to 1. `progress` moves with each attempt.

    `now_us` is the wall clock, in microseconds since 1970; `random`, from 0 to 1, adds jitter to retries.
    """

    def __init__(
        self,
        api: WriteApi,
        metrics: Metrics,
        held: Callable[[], float],
        progress: Progress,
        *,
        now_us: Callable[[], int] = _now_us,
        random: Callable[[], float] = random.random,
    ) -> None:
        self._api, self._metrics, self._held, self._progress = api, metrics, held, progress
        self._writing = 0  # batches at a time
        self._now_us, self._random = now_us, random
        self._loop = asyncio.get_running_loop()
        self._breaker = TableBreaker()
        self._faults = Throttle(FAULT_LOG_SECONDS)
        self._failing: dict[Target, str] = {}  # the last error, for logging changes only
        self._had_bad_rows: set[str] = set()
        metrics.troubles.watch(self._breaker, self._loop.time)

    async def write(self, batch: AppendBatch) -> WriteResult:
        """Append until BigQuery has every row but those in the result.

        Transient errors are retried for ever; where an operator is needed, for as long as the table breaker says.
        """
        result = WriteResult()
        self._writing += 1
        try:
            unfit = await self._write(batch, result, PERMANENT_TRIES)
            if unfit:
                await self._hold(batch.target, unfit, result)
        finally:
            self._writing -= 1
            if self._writing:
                self._progress.moved()
            else:
                self._progress.idle()
        return result

    def takes(self, target: Target) -> bool:
        """Whether to hold a pack for the target; if not, nack it."""
        return self._breaker.takes(target, self._loop.time(), held=self._held())

    async def _write(self, batch: AppendBatch, result: WriteResult, tries: int) -> list[AppendBatch]:
        """Returns what BigQuery refused as a whole, each of one slice."""
        while batch.rows.num_rows:
            try:
                await self._until_answered(batch, tries)
            except RowErrors as errors:
                batch = self._without_bad(batch, errors.rows, result)
            except _GivenUp:
                result.refused.extend(batch.slices)
                return []
            except Exception as error:  # noqa: BLE001 - whatever one pack makes it raise, the others are written
                if not isinstance(error, AppendError) and (appends := self._faults.add(1)):
                    _log.error("append failed", appends=appends, table=batch.target.table, fault=fault(error))
                if len(batch.shares) > 1:
                    # One pack may be the reason for all: halving finds it, and the others are written.
                    return [one for half in batch.halves() for one in await self._write(half, result, tries=1)]
                if isinstance(error, AppendError):
                    return [batch]
                result.refused.extend(batch.slices)
                return []
            else:
                return []
        return []

    async def _hold(self, target: Target, unfit: list[AppendBatch], result: WriteResult) -> None:
        """Give up batches that are bad themselves. Where the table takes no such rows at all, hold them until it does.

        Such a table has other types than the packs, or a REQUIRED column that they lack: a nack would only use up a
        delivery attempt.
        """
        backoff = Backoff(LONGEST_WAIT, LONGEST_WAIT, self._random)
        while unfit and not self._breaker.is_fit(target, self._loop.time()):
            await asyncio.sleep(backoff.wait())
            probe, *others = unfit
            try:
                again = await self._probe(probe, result)
            except _GivenUp:
                break
            if not again:  # the table takes such rows now
                for one in others:
                    again += await self._write(one, result, tries=1)
                unfit = again
            else:
                unfit = [*others, *again]  # another next time: this one may be bad itself
        result.refused.extend(one for batch in unfit for one in batch.slices)

    async def _probe(self, probe: AppendBatch, result: WriteResult) -> list[AppendBatch]:
        """The probe, if it is refused again. Raises _GivenUp when held rows must go back."""
        refused = len(result.refused)
        again = await self._write(probe, result, tries=1)
        if len(result.refused) > refused:
            raise _GivenUp
        return again

    async def _until_answered(self, batch: AppendBatch, tries: int) -> None:
        """Return once the rows are stored. Raises RowErrors, _GivenUp, or AppendError after `tries` permanent ones."""
        backoff = Backoff(FIRST_WAIT, LONGEST_WAIT, self._random)
        while True:
            self._progress.moved()
            started = time.perf_counter()
            try:
                size = await self._api.append(batch.target.table + LOG_SUFFIX, batch.rows)
            except RowErrors as errors:
                self._works(batch.target)
                if not any(index in range(batch.rows.num_rows) for index in errors.rows):
                    text = f"errors for rows that were not sent: {sorted(errors.rows)[:10]}"
                    raise AppendError("INTERNAL", text) from None
                raise
            except AppendError as error:
                self._note(batch.target, error)
                if self._needs_operator(batch, error, tries) and self._give_up(batch, error):
                    raise _GivenUp from None
                if not error.transient:
                    tries -= 1
                    if not tries:
                        raise
            else:
                self._works(batch.target)
                self._count(batch, size, time.perf_counter() - started)
                return
            await asyncio.sleep(backoff.wait())

    def _needs_operator(self, batch: AppendBatch, error: AppendError, tries: int) -> bool:
        """Also where the table takes no such rows, which shows once a single pack is refused every time."""
        if error.needs_operator:
            return True
        unfit = not error.transient and tries == 1 and len(batch.shares) == 1
        return unfit and not self._breaker.is_fit(batch.target, self._loop.time())

    def _without_bad(self, batch: AppendBatch, errors: dict[int, str], result: WriteResult) -> AppendBatch:
        mine = {index: text for index, text in errors.items() if index in range(batch.rows.num_rows)}
        rest, owned = batch.without(mine)
        for one, indices in owned:
            result.bad.append(BadRows(one, batch.rows.take(indices), [mine[index] for index in indices]))
        table = batch.target.table
        if table not in self._had_bad_rows and len(self._had_bad_rows) < _REMEMBERED:
            self._had_bad_rows.add(table)
            columns = refused_columns(" ".join(islice(mine.values(), MAX_COLUMNS)), batch.rows.schema.names)
            # BigQuery may quote a value, which is a stranger's: the whole text is in `rejects`.
            _log.warning("BigQuery refuses rows, the first of this table", table=table, rows=len(mine), columns=columns)
        return rest

    def _count(self, batch: AppendBatch, size: int, seconds: float) -> None:
        self._metrics.append_seconds.observe(seconds)
        self._metrics.append_rows.observe(batch.rows.num_rows)
        self._metrics.bytes.inc(size)
        self._metrics.loaded(batch.target.table, batch.rows, self._now_us())

    def _note(self, target: Target, error: AppendError) -> None:
        self._metrics.retried(error.code)
        if self._failing.get(target) != error.code and len(self._failing) < _REMEMBERED:
            self._failing[target] = error.code
            # Of rows that it refuses, BigQuery may quote a value.
            text = str(error)[:MAX_ERROR] if error.transient else error.code
            _log.warning("appends fail", table=target.table, error=text, transient=error.transient)

    def _give_up(self, batch: AppendBatch, error: AppendError) -> bool:
        target, now = batch.target, self._loop.time()
        columns = refused_columns(str(error), batch.rows.schema.names) if error.about_columns else ()
        if not set(columns) <= {column for table, column in self._breaker.refused(now) if table == target.table}:
            _log.error("the table does not take these columns; their packs wait", table=target.table, columns=columns)
        was = self._breaker.is_suspended(target)
        back = self._breaker.fails(target, now, held=self._held(), columns=columns)
        if self._breaker.is_suspended(target) and not was:
            _log.error("the table keeps failing while others load; its packs wait or go back", table=target.table)
        return back

    def _works(self, target: Target) -> None:
        self._breaker.works(target, self._loop.time())
        if self._failing.pop(target, None) is not None:
            _log.info("appends work again", table=target.table)
