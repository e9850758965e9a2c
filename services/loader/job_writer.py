"""Writing many batches of a table with one load job, or by appends where a job will not do."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import TypeVar

from services.loader import load_file, slots
from services.loader.batch import Gathered
from services.loader.load_file import LoadFile
from services.loader.load_job import Conflict, Failed, Job, LoadJobs
from services.loader.metrics import Metrics
from services.loader.slots import Slot
from services.loader.way import Ways
from services.loader.writer import FIRST_WAIT, LONGEST_WAIT, Outcome, Writer
from services.shared import log
from services.shared.schema import Table

TRIES = 3  # jobs that fail for what may pass, each in a slot of its own, before the rows are appended
FIRST_LOOK, LONGEST_LOOK = 0.2, 5.0  # seconds between looks at a job that is not done
SPREAD = 0.25  # of a slot: loaders that wait for the next do not all ask for it at once

T = TypeVar("T")
_log = log.get("loader.job_writer")


class JobWriter:
    def __init__(
        self,
        jobs: LoadJobs,
        writer: Writer,
        metrics: Metrics,
        ways: Ways,
        *,
        dataset: str,
        per_day: int,
        ending: asyncio.Event,
    ) -> None:
        self._jobs, self._writer, self._metrics, self._ways = jobs, writer, metrics, ways
        self._dataset, self._per_day, self._ending = dataset, per_day, ending
        self._failing: dict[str, str] = {}  # reason by table, for logging changes only
        self._used: dict[str, Slot] = {}  # the last slot of a table known to be taken

    async def slot(self, table: Table, patience: Callable[[], float]) -> Slot | None:
        """Wait until a slot of the table seems free and return it; None once that is too late, or the loader ends.

        `patience` says how many seconds are left. Which loader has the slot is decided when it inserts its job.
        """
        while not self._ending.is_set() and patience() > 0:
            now = time.time()
            slot = slots.at(now, self._per_day)
            if self._used.get(table.name) != slot:
                try:
                    if await self._jobs.get(self._id(table, slot), table.log_name) is None:
                        return slot
                    self._taken(table, slot)
                except Failed as error:
                    self._note(table, error)
                    if not error.transient:
                        return None
                    await self._pause(min(LONGEST_WAIT, patience()))
                    continue
            await self._pause(min(max(slot.ends - now, 0.01) + self._spread(), patience()))
        return None

    async def write(self, gathered: Sequence[Gathered], slot: Slot, patience: Callable[[], float]) -> Outcome:
        """Load the rows, or append them, until each is in BigQuery but for those in the outcome.

        `slot` and `patience` are those of `slot()`, which is asked again if another loader was faster.
        """
        table = gathered[0].table
        try:
            file = await asyncio.to_thread(load_file.build, table, [one.rows for one in gathered])
            await self._load(table, file, slot, patience)
        except load_file.Unfit as error:
            self._note(table, Failed("unfit", str(error)))
        except Failed as error:
            self._note(table, error)
        except _Late:
            pass
        else:
            if self._failing.pop(table.name, None) is not None:
                _log.info("load jobs work again", table=table.name)
            self._metrics.job_bytes.inc(len(file.data))
            for one in gathered:
                self._metrics.took(table, one.rows, time.time_ns() // 1_000)
            return Outcome()
        self._metrics.jobs["appended"].inc()
        return await self._append(gathered)

    async def _append(self, gathered: Sequence[Gathered]) -> Outcome:
        """What a job cannot write an append can, or it says by index which rows are wrong."""
        outcome = Outcome()
        for one in gathered:
            found = await self._writer.write(one)
            outcome.bad.extend(found.bad)
            outcome.refused.extend(found.refused)
        return outcome

    async def _load(self, table: Table, file: LoadFile, first: Slot, patience: Callable[[], float]) -> None:
        """Return when a job has loaded the file.

        Raises Failed for what will not pass, or after TRIES jobs; _Late when there is no slot in time.
        """
        slot: Slot | None = first
        tries = TRIES
        while slot is not None:
            began = time.monotonic()
            job = await self._insert(table, file, slot)
            if job is not None:
                self._used[table.name] = slot
                failed = (await self._until_done(table, job)).failed
                self._ways.took(table.name, time.monotonic() - began, time.monotonic())
                if failed is None:
                    self._metrics.jobs["done"].inc()
                    return
                self._metrics.jobs["failed"].inc()
                tries -= 1
                if not failed.transient or not tries:
                    raise failed
                self._note(table, failed)
            slot = await self.slot(table, patience)
        raise _Late

    async def _insert(self, table: Table, file: LoadFile, slot: Slot) -> Job | None:
        """The job of this slot if it is ours; None if another loader has it.

        An answer that is lost leaves open whether there is a job: the same id is sent until that is known.
        """
        id = self._id(table, slot)

        async def insert() -> Job | None:
            try:
                return await self._jobs.insert(id, table.log_name, file)
            except Conflict:
                return await self._jobs.get(id, table.log_name)

        job = await self._answered(table, insert)
        if job is not None and job.digest == file.digest:
            return job
        self._taken(table, slot)
        return None

    async def _until_done(self, table: Table, job: Job) -> Job:
        """The job when it is done. Raises Failed if BigQuery knows it no more."""
        started, wait = time.perf_counter(), FIRST_LOOK
        id = job.id
        while not job.done:
            await asyncio.sleep(wait)
            wait = min(wait * 1.5, LONGEST_LOOK)
            known = await self._answered(table, lambda: self._jobs.get(id, table.log_name))
            if known is None:
                raise Failed("notFound", f"there is no job {id} any more")
            job = known
        self._metrics.job_seconds.observe(time.perf_counter() - started)
        return job

    async def _answered(self, table: Table, call: Callable[[], Awaitable[T]]) -> T:
        """The answer, after whatever transient errors. Raises Failed for any other."""
        wait = FIRST_WAIT
        while True:
            try:
                return await call()
            except Failed as error:
                if not error.transient:
                    raise
                self._note(table, error)
            await asyncio.sleep(wait * random.uniform(0.5, 1.0))  # noqa: S311 - spreads load, guards nothing
            wait = min(wait * 2, LONGEST_WAIT)

    async def _pause(self, seconds: float) -> None:
        """Sleep, but no longer than the loader goes on."""
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, seconds)):
                await self._ending.wait()

    def _spread(self) -> float:
        return random.uniform(0, SPREAD) * slots.seconds(self._per_day)  # noqa: S311 - as above

    def _id(self, table: Table, slot: Slot) -> str:
        return slots.job_id(self._dataset, table.log_name, slot)

    def _taken(self, table: Table, slot: Slot) -> None:
        if self._used.get(table.name) != slot:
            self._used[table.name] = slot
            self._metrics.jobs["taken"].inc()

    def _note(self, table: Table, error: Failed) -> None:
        if self._failing.get(table.name) != error.reason:
            self._failing[table.name] = error.reason
            _log.warning("load jobs fail", table=table.name, error=str(error)[:1_000], tried_again=error.transient)


class _Late(Exception):
    """No slot came in time; no job has the rows."""
