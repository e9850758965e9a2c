"""Writing a batch until every row of it has an answer, whatever happens on the way."""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import pyarrow as pa

from services.loader.accumulator import AppendBatch, Slice
from services.loader.metrics import Metrics
from services.loader.table_breaker import TableBreaker, Target
from services.loader.write_api import AppendError, RowErrors, WriteApi
from services.shared import log
from services.shared.background import Progress
from services.shared.schema import LOG_SUFFIX

FIRST_WAIT, LONGEST_WAIT = 0.1, 10.0  # seconds before an append is sent again
PERMANENT_TRIES = 6  # of what another try hardly helps
UNKNOWN_COLUMN = "unknown"  # the label of a column that BigQuery's answer does not name
MAX_COLUMNS = 20  # named of one set
_REMEMBERED = 1_000  # targets that fail
_QUOTED = re.compile(r"'([^']{1,10000})'")
_REQUIRED = re.compile(r"required field '?([A-Za-z_]\w{0,299})", re.IGNORECASE)

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


def refused_columns(text: str, names: list[str]) -> tuple[str, ...]:
    """The columns that BigQuery's answer to an append of columns `names` complains of, as far as it names them.

    Only names that are in the rows, or that BigQuery itself calls a required field.
    """
    quoted = {word.lower() for part in _QUOTED.findall(text) for word in re.split(r"[,\s]+", part)}
    found = [name for name in names if name.lower() in quoted] + _REQUIRED.findall(text)
    return tuple(dict.fromkeys(found))[:MAX_COLUMNS] or (UNKNOWN_COLUMN,)


class Writer:
    """`held` is the share, of the bytes or packs the loader may hold, that it holds now.

    `progress` moves with each attempt. `now_us` is the wall clock, in microseconds since 1970; `uniform(a, b)` spreads
    what is sent again.
    """

    def __init__(
        self,
        api: WriteApi,
        metrics: Metrics,
        held: Callable[[], float],
        progress: Progress,
        *,
        now_us: Callable[[], int] = _now_us,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._api, self._metrics, self._held, self._progress = api, metrics, held, progress
        self._writing = 0  # batches at a time
        self._now_us, self._uniform = now_us, uniform
        self._loop = asyncio.get_running_loop()
        self._breaker = TableBreaker()
        self._failing: dict[Target, str] = {}  # the last error, for logging changes only
        self._had_bad_rows: set[str] = set()
        metrics.troubles.watch(self._breaker, self._loop.time)

    async def write(self, batch: AppendBatch) -> WriteResult:
        """Append until BigQuery has every row but those in the result.

        Transient errors are tried again for ever; where an operator is needed, as long as `table_breaker.py` says.
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
        """Whether a pack for the target is to be held now, or better given back."""
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
                if not isinstance(error, AppendError):
                    _log.exception("append failed", table=batch.target.table)
                if len(batch.shares) > 1:
                    # One pack may spoil the request for all: halving finds it, and the others are written.
                    return [one for half in batch.halves() for one in await self._write(half, result, tries=1)]
                if isinstance(error, AppendError):
                    return [batch]
                result.refused.extend(batch.slices)
                return []
            else:
                return []
        return []

    async def _hold(self, target: Target, unfit: list[AppendBatch], result: WriteResult) -> None:
        """Give back what is spoilt itself. Where the table takes no such rows at all, hold them until it does.

        Such a table has other types than the packs, or a REQUIRED column that they lack: to give them back would only
        use up their delivery attempts.
        """
        while unfit and not self._breaker.is_fit(target, self._loop.time()):
            await asyncio.sleep(LONGEST_WAIT * self._uniform(0.5, 1.0))
            probe, *others = unfit
            try:
                again = await self._probe(probe, result)
            except _GivenUp:
                break
            if not again:  # the table takes such rows now, or somebody else's probe showed that
                for one in others:
                    again += await self._write(one, result, tries=1)
                unfit = again
            else:
                unfit = [*others, *again]  # another in turn: this one may be spoilt itself
        result.refused.extend(one for batch in unfit for one in batch.slices)

    async def _probe(self, probe: AppendBatch, result: WriteResult) -> list[AppendBatch]:
        """The probe if it is refused again. Raises _GivenUp when what is held is to go back."""
        refused = len(result.refused)
        again = await self._write(probe, result, tries=1)
        if len(result.refused) > refused:
            raise _GivenUp
        return again

    async def _until_answered(self, batch: AppendBatch, tries: int) -> None:
        """Return when the rows are there. Raises RowErrors, _GivenUp, or AppendError after `tries` permanent ones."""
        wait = FIRST_WAIT
        while True:
            self._progress.moved()
            started = time.perf_counter()
            try:
                size = await self._api.append(batch.target.table + LOG_SUFFIX, batch.rows)
            except RowErrors as errors:
                self._works(batch.target)
                if not any(index in range(batch.rows.num_rows) for index in errors.rows):
                    text = f"errors of rows that were not sent: {sorted(errors.rows)[:10]}"
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
            await asyncio.sleep(wait * self._uniform(0.5, 1.0))
            wait = min(wait * 2, LONGEST_WAIT)

    def _needs_operator(self, batch: AppendBatch, error: AppendError, tries: int) -> bool:
        """Also where the table does not take such rows, which shows once a single pack is refused every time."""
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
            index, text = min(mine.items())
            _log.warning("BigQuery refuses rows, the first of this table", table=table, row=index, detail=text)
        return rest

    def _count(self, batch: AppendBatch, size: int, seconds: float) -> None:
        self._metrics.append_seconds.observe(seconds)
        self._metrics.append_rows.observe(batch.rows.num_rows)
        self._metrics.bytes.inc(size)
        self._metrics.took(batch.target.table, batch.rows, self._now_us())

    def _note(self, target: Target, error: AppendError) -> None:
        self._metrics.retried(error.code)
        if self._failing.get(target) != error.code and len(self._failing) < _REMEMBERED:
            self._failing[target] = error.code
            _log.warning("appends fail", table=target.table, error=str(error), tried_again=error.transient)

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
