"""An event loop in virtual time: when nothing is ready it jumps to the next timer instead of waiting for it.

No threads and no sockets take part, so a run depends on nothing but its seed.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar
from itertools import count
from typing import Any

MOST_STEPS = 200_000  # of callbacks without a moment passing; more is a busy loop

Started = Callable[["Task"], None]
started: ContextVar[Started | None] = ContextVar("started", default=None)  # told of each task begun in a context


class Stalled(Exception):
    """Virtual time cannot go on: everything waits for ever, or something never waits."""


class _Clock(selectors.SelectSelector):
    """Where another selector sleeps until a socket is ready, this one moves its clock."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self._steps = 0

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise Stalled("everything waits, and no timer is set")
        self._steps = self._steps + 1 if timeout <= 0 else 0
        if self._steps > MOST_STEPS:
            raise Stalled(f"a busy loop at {self.now:.3f} s")
        self.now += max(0.0, timeout)
        return []


class _Numbered:
    """Hashed by a number, not an address: sets of tasks and futures are iterated alike in every run."""

    _number: int

    def __hash__(self) -> int:
        return self._number


class Future(_Numbered, asyncio.Future):  # type: ignore[type-arg]
    def __init__(self, number: int, loop: asyncio.AbstractEventLoop) -> None:
        self._number = number
        super().__init__(loop=loop)


class Task(_Numbered, asyncio.Task):  # type: ignore[type-arg]
    def __init__(self, number: int, work: Coroutine[Any, Any, Any], **options: Any) -> None:
        self._number = number
        super().__init__(work, **options)


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._clock = _Clock()
        super().__init__(self._clock)
        self._numbers = count(1)
        self.set_task_factory(self._begin)

    def time(self) -> float:
        """Seconds since the run began."""
        return self._clock.now

    def create_future(self) -> Future:
        return Future(next(self._numbers), self)

    def run_in_executor(self, *_: Any) -> Any:
        raise Stalled("a thread was asked for, and threads know no virtual time")

    def _begin(
        self, _: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, Any], context: Context | None = None, **more: Any
    ) -> Task:
        task = Task(next(self._numbers), work, loop=self, context=context, **more)
        tell = started.get() if context is None else context.get(started)
        if tell is not None:
            tell(task)
        return task


async def never() -> Any:
    """Return never."""
    await asyncio.get_running_loop().create_future()
