"""A process of the simulation: the tasks of one incarnation of a service, which can be killed at any await."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import ContextVar, copy_context
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry

from services.shared.background import Background
from services.shared.config import ConfigError
from tests.simulation import loop
from tests.simulation.loop import Task

if TYPE_CHECKING:
    from tests.simulation.world import World

GRACE_SECONDS = 60.0  # between SIGTERM and SIGKILL

current: ContextVar[Process | None] = ContextVar("process", default=None)


class Dead(OSError):
    """A process that was killed asked something of the world; nobody hears it."""


def is_dead(error: BaseException | None) -> bool:
    """Whether an error says nothing but that its process was killed."""
    if isinstance(error, BaseExceptionGroup):
        return all(map(is_dead, error.exceptions))
    return isinstance(error, Dead)


class Process:
    """One incarnation of a service. `stop` is SIGTERM; `ended` is done when it no longer runs, whatever the reason."""

    def __init__(self, world: World, name: str, main: Callable[[Process], Awaitable[None]]) -> None:
        self.world, self.name = world, name
        self.alive = True
        self.skew = world.random.choice((0.0, 0.0, 0.0, -3600.0, 3600.0))  # seconds its clock is ahead
        self.registry = CollectorRegistry()  # of its metrics
        self.bounded: dict[str, Callable[[], float]] = {}  # how much there is of what must stay within bounds
        self.background: Background | None = None
        self.stop = asyncio.Event()
        self.ended: asyncio.Future[None] = world.loop.create_future()
        self._tasks: set[Task] = set()
        self._context = copy_context()
        self._context.run(current.set, self)
        self._context.run(loop.started.set, self._own)
        self._main = self.run(self._live(main))

    def run(self, work: Any) -> asyncio.Task[Any]:
        """A task of this process."""
        return self.world.loop.create_task(work, context=self._context)

    def kill(self) -> None:
        """As SIGKILL: from this moment nothing it does reaches the world."""
        if not self.alive:
            return
        self.world.note(self.name, "killed")
        self._leave()
        for task in list(self._tasks):  # a turn later: one that was created just now has begun by then
            self.world.loop.call_soon(task.cancel)

    def now(self) -> float:
        """Its wall clock: seconds since 1970."""
        return self.world.now() + self.skew

    def now_us(self) -> int:
        return int(self.now() * 1_000_000)

    def terminate(self) -> None:
        """As Kubernetes: SIGTERM, and SIGKILL for one that has not ended in time."""
        if self.stop.is_set():
            return
        self.world.note(self.name, "SIGTERM")
        self.stop.set()
        self.world.loop.call_later(GRACE_SECONDS, self._overdue)

    def _overdue(self) -> None:
        if self.alive:
            self.world.problem(f"{self.name} has not ended {GRACE_SECONDS:.0f} s after SIGTERM")
            self.kill()

    def reach(self) -> None:
        """Raises Dead for a process that was killed: it does not reach the world any more."""
        if not self.alive:
            raise Dead("the process was killed")

    @property
    def left_running(self) -> list[str]:
        return [task.get_coro().__qualname__ for task in self._tasks]

    async def _live(self, main: Callable[[Process], Awaitable[None]]) -> None:
        try:
            await main(self)
        except Exception as error:  # noqa: BLE001 - whatever ends a process is judged by the checks
            self._failed(error)
        finally:
            if self.alive:
                self.world.note(self.name, "ended")
                self._leave()

    def _failed(self, error: Exception) -> None:
        if not self.alive:
            return
        # A collector whose disk fails as it starts says so and ends; Kubernetes starts it again.
        if isinstance(error, ConfigError) and self.world.struck("disk", 120):
            self.world.note(self.name, "cannot start:", error)
        else:
            self.world.problem(f"{self.name} ended by itself: {error!r}")

    def _leave(self) -> None:
        self.alive = False
        if not self.ended.done():
            self.ended.set_result(None)

    def _own(self, task: Task) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
