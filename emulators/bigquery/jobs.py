"""Jobs: created once, found by id even after a restart, and run as tasks that the emulator owns."""

from __future__ import annotations

import asyncio
import json
import re
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import duckdb

from emulators.bigquery.errors import ApiError, duplicate, invalid, not_found
from emulators.bigquery.query import Result
from emulators.bigquery.store import Store, first_line
from emulators.bigquery.writer import Connection, WriterBusy

JOB_ID = re.compile(r"[A-Za-z0-9_-]{1,1024}")
KEPT_JOBS = 2_000  # finished jobs in memory; older ones are read from the file
KEPT_RESULTS = 512 * 1024 * 1024  # bytes of results in memory; the oldest go first
RUNNING_JOBS = 256
LISTED = 1_000
INTERRUPT_SECONDS = 0.02  # between attempts to interrupt a query
FIRST_ANSWER = 0.1  # seconds that the answer to jobs.insert waits for a job that may be done so soon


@dataclass
class Job:
    project: str
    id: str
    kind: str  # query or load
    configuration: dict[str, Any]
    created: int  # milliseconds since 1970
    started: int | None = None
    ended: int | None = None
    error: ApiError | None = None
    statistics: dict[str, Any] = field(default_factory=dict)
    result: Result | None = None
    cursor: Connection | None = None  # of the running query, to interrupt it
    cancelled: bool = False
    done: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def state(self) -> str:
        return "DONE" if self.ended is not None else "RUNNING"

    async def settled(self, seconds: float) -> bool:
        """Wait a limited time for the job; returns whether it is done."""
        try:
            await asyncio.wait_for(self.done.wait(), seconds)
        except TimeoutError:
            return False
        return True

    def resource(self) -> dict[str, Any]:
        status: dict[str, Any] = {"state": self.state}
        if self.error is not None and self.ended is not None:
            status["errorResult"] = self.error.proto()
            status["errors"] = [self.error.proto()]
        statistics = {"creationTime": str(self.created), **self.statistics}
        if self.started is not None:
            statistics["startTime"] = str(self.started)
        if self.ended is not None:
            statistics["endTime"] = str(self.ended)
        return {
            "kind": "bigquery#job",
            "id": f"{self.project}:US.{self.id}",
            "jobReference": {"projectId": self.project, "jobId": self.id, "location": "US"},
            "configuration": {**self.configuration, "jobType": self.kind.upper()},
            "status": status,
            "statistics": statistics,
            "user_email": "local@localhost",
        }

    def known(self, ended: int | None = None) -> str:
        """The job as stored in the file; `ended` is when it will have ended, if it has not yet."""
        return json.dumps(
            {
                "configuration": self.configuration,
                "started": self.started,
                "ended": self.ended if ended is None else ended,
                "error": None if self.error is None else [self.error.status, self.error.reason, self.error.message],
                "statistics": self.statistics,
            }
        )


def now_ms() -> int:
    return time.time_ns() // 1_000_000


class Jobs:
    """Every job of every project. Its tasks end with `close()`."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._jobs: OrderedDict[tuple[str, str], Job] = OrderedDict()
        self._results: OrderedDict[tuple[str, str], int] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()
        self._interrupting: set[asyncio.Task[None]] = set()

    async def recover(self) -> None:
        """Mark jobs that a crash interrupted as failed; nothing they wrote was committed."""
        stopped = ApiError(500, "backendError", "The job was cut short by a stop of the emulator; it wrote nothing")

        def apply(connection: Connection) -> None:
            found = connection.execute("SELECT project, id, kind, created, known FROM meta.jobs").fetchall()
            for row in found:
                job = restored(*row)
                if job.ended is None:
                    job.ended, job.error = now_ms(), stopped
                    keep(connection, job)

        await self._store.write(apply)

    async def create(
        self, project: str, id_: str | None, kind: str, configuration: dict[str, Any], *, durable: bool
    ) -> Job:
        """A new job; ApiError 409 when its id was used before. A durable one is in the file when this returns."""
        if id_ is not None and not JOB_ID.fullmatch(id_):
            raise invalid(f'Invalid job ID "{id_}". Use letters, numbers, underscores and dashes, at most 1024.')
        if len(self._tasks) >= RUNNING_JOBS:
            raise WriterBusy("too many jobs are running")
        job = Job(project, id_ or f"job_{uuid.uuid4().hex}", kind, configuration, now_ms())
        key = (project, job.id)
        if key in self._jobs:
            raise duplicate(f"Job {project}:US.{job.id}")
        self._jobs[key] = job
        if id_ is not None:
            try:
                await self._claim(job, durable)
            except BaseException:
                del self._jobs[key]
                job.done.set()
                raise
        self._forget_old()
        return job

    async def _claim(self, job: Job, durable: bool) -> None:
        """Refuse an id that the file knows; write a durable job down."""

        def check(connection: Connection) -> None:
            if _find(connection, job.project, job.id) is not None:
                raise duplicate(f"Job {job.project}:US.{job.id}")
            if durable:
                keep(connection, job)

        if durable:
            await self._store.write(check)
        else:
            await self._store.read(check)

    def start(self, job: Job, work: Coroutine[Any, Any, None]) -> None:
        """Run a job's work as a task; its failure becomes the job's."""
        task = asyncio.create_task(self._run(job, work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, job: Job, work: Coroutine[Any, Any, None]) -> None:
        job.started = now_ms()
        try:
            await work
        except ApiError as error:
            job.error = error
        except WriterBusy as busy:
            job.error = ApiError(503, "backendError", str(busy))
        except Exception as error:  # noqa: BLE001 - a job that fails in any way must say so
            job.error = ApiError(500, "internalError", first_line(error))
        finally:
            job.cursor = None
            if job.ended is None:
                job.ended = now_ms()
            job.done.set()
        if job.result is not None:
            self._keep_result(job, job.result)

    def _keep_result(self, job: Job, result: Result) -> None:
        self._results[(job.project, job.id)] = result.size
        while sum(self._results.values()) > KEPT_RESULTS and len(self._results) > 1:
            key, _ = self._results.popitem(last=False)
            if key in self._jobs:
                self._jobs[key].result = None

    def _forget_old(self) -> None:
        while len(self._jobs) > KEPT_JOBS:
            key = next((key for key, job in self._jobs.items() if job.ended is not None), None)
            if key is None:
                return
            del self._jobs[key]
            self._results.pop(key, None)

    async def get(self, project: str, id_: str) -> Job:
        """The job; ApiError 404 when there is none."""
        job = self._jobs.get((project, id_))
        if job is None:
            job = await self._store.read(lambda connection: _find(connection, project, id_))
        if job is None:
            raise not_found(f"Job {project}:US.{id_}")
        return job

    async def listed(self, project: str, keep_: Callable[[Job], bool]) -> list[Job]:
        """The newest jobs first, those of the file included."""

        def stored(connection: Connection) -> list[Job]:
            rows = connection.execute(
                "SELECT project, id, kind, created, known FROM meta.jobs WHERE project = ? "  # noqa: S608
                f"ORDER BY created DESC LIMIT {LISTED}",
                [project],
            ).fetchall()
            return [restored(*row) for row in rows]

        found = {job.id: job for job in await self._store.read(stored)}
        found.update({job.id: job for job in self._jobs.values() if job.project == project})
        return sorted(filter(keep_, found.values()), key=lambda job: (-job.created, job.id))[:LISTED]

    async def remember(self, job: Job) -> None:
        """Store a finished job in the same commit as its effects; only then it shows that it is done."""
        ended = now_ms()
        await self._store.append("jobs", (job, job.known(ended)), 0, _keep_all)
        job.ended = ended

    def cancel(self, job: Job) -> None:
        """Have a query end soon; what writes is done nevertheless."""
        if job.ended is None and not job.cancelled:
            job.cancelled = True
            task = asyncio.create_task(_interrupt(job))
            self._interrupting.add(task)
            task.add_done_callback(self._interrupting.discard)

    async def close(self) -> None:
        tasks = self._tasks | self._interrupting
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _interrupt(job: Job) -> None:
    """A query that has not begun when it is interrupted begins nevertheless: hence again, until the job has ended."""
    while not await job.settled(INTERRUPT_SECONDS):
        with suppress(duckdb.Error):  # it has just been closed
            if job.cursor is not None:
                job.cursor.interrupt()


def _keep_all(connection: Connection, finished: list[tuple[Job, str]]) -> None:
    for job, known in finished:
        keep(connection, job, known)


def keep(connection: Connection, job: Job, known: str | None = None) -> None:
    connection.execute("DELETE FROM meta.jobs WHERE project = ? AND id = ?", [job.project, job.id])
    connection.execute(
        "INSERT INTO meta.jobs VALUES (?, ?, ?, ?, ?)",
        [job.project, job.id, job.created, job.kind, known or job.known()],
    )


def _find(connection: Connection, project: str, id_: str) -> Job | None:
    row = connection.execute(
        "SELECT project, id, kind, created, known FROM meta.jobs WHERE project = ? AND id = ?", [project, id_]
    ).fetchone()
    return None if row is None else restored(*row)


def restored(project: str, id_: str, kind: str, created: int, known: str) -> Job:
    fields = json.loads(known)
    error = ApiError(*fields["error"]) if fields["error"] else None
    job = Job(project, id_, kind, fields["configuration"], created, fields["started"], fields["ended"], error)
    job.statistics = fields["statistics"]
    job.done.set()
    return job
