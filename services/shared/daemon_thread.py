"""Blocking calls of other people's libraries, awaited with a time limit."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from functools import partial
from typing import TypeVar

T = TypeVar("T")


async def call(name: str, work: Callable[[], T], limit_seconds: float) -> T:
    """What `work()` returns or raises, from a thread of its own; TimeoutError once the limit has passed.

    A call that never returns blocks nobody: neither its caller, nor the process at its end, as a thread of
    asyncio.to_thread would.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[T] = loop.create_future()

    def settle(value: T | None, error: BaseException | None) -> None:
        if answer.done():
            return
        if error is not None:
            answer.set_exception(error)
        else:
            answer.set_result(value)  # type: ignore[arg-type]

    def run() -> None:
        value, error = None, None
        try:
            value = work()
        except Exception as failure:  # noqa: BLE001 - raised where it is awaited
            error = failure
        try:
            loop.call_soon_threadsafe(partial(settle, value, error))
        except RuntimeError:  # the loop is closed: nobody waits any more
            return

    threading.Thread(target=run, name=name, daemon=True).start()
    async with asyncio.timeout(limit_seconds):
        return await answer
