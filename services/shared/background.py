"""Work that runs beside the requests or messages of a service: owned, so that none of it ends or stalls unnoticed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from types import TracebackType


class BackgroundTaskEnded(Exception):
    """A task that should last as long as its service ended before it. The text names it and says why."""


class Progress:
    """When one step of a service last moved, for liveness. Times are monotonic seconds of the event loop.

    A step without work is never stuck; one that waits for Pub/Sub or BigQuery moves with each attempt.
    """

    def __init__(self, name: str, limit_seconds: float, clock: Callable[[], float]) -> None:
        self._name, self._limit, self._clock = name, limit_seconds, clock
        self._since: float | None = None

    def moved(self) -> None:
        """There is work, and it has just begun or advanced."""
        self._since = self._clock()

    def idle(self) -> None:
        """There is no work."""
        self._since = None

    @property
    def stuck(self) -> str | None:
        """Says that a step has not moved for longer than its limit; None while it has."""
        if self._since is None or (waited := self._clock() - self._since) <= self._limit:
            return None
        return f"{self._name} has not moved for {waited:.0f} s"


class Background:
    """Owns the background tasks of a service, as its outermost context.

    A task that fails, or returns before it should, cancels the body of the context, so that everything entered within
    is left in order; then BackgroundTaskEnded is raised. The process exits with code 1.
    """

    def __init__(self) -> None:
        self._steps: list[Progress] = []

    async def __aenter__(self) -> Background:
        self._loop = asyncio.get_running_loop()
        self._tasks = await asyncio.TaskGroup().__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self._tasks.__aexit__(kind, error, trace)
        except BaseExceptionGroup as group:
            ended, others = group.split(BackgroundTaskEnded)
            if ended is None:
                if group.exceptions == (error,):
                    return  # what the body raised goes on as itself, a ConfigError as a ConfigError
                raise
            first = ended.exceptions[0]
            raise first from (others or first.__cause__)

    def start(
        self, name: str, work: Coroutine[None, None, None], *, ending: Callable[[], bool] = lambda: False
    ) -> asyncio.Task[None]:
        """Run `work` until its owner cancels it; it may return by itself only while `ending()` is true."""
        task = self._tasks.create_task(_owned(name, work, ending), name=name)
        task.add_done_callback(lambda _: work.close())  # one that was cancelled before it began was never awaited
        return task

    def step(self, name: str, limit_seconds: float) -> Progress:
        """A step that must move at least every `limit_seconds` while it has work."""
        progress = Progress(name, limit_seconds, self._loop.time)
        self._steps.append(progress)
        return progress

    @property
    def stuck(self) -> str | None:
        """Which step is stuck; None if none is."""
        return next((text for step in self._steps if (text := step.stuck)), None)


async def _owned(name: str, work: Coroutine[None, None, None], ending: Callable[[], bool]) -> None:
    try:
        await work
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        # Nobody cancelled this task: it waited for something that was, which a task group would take for a normal end.
        raise BackgroundTaskEnded(f"{name}: what it waited for was cancelled") from error
    except Exception as error:
        raise BackgroundTaskEnded(f"{name}: {error!r}") from error
    if not ending():
        raise BackgroundTaskEnded(f"{name}: it returned")
