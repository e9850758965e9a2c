"""Waiting for a condition, in a coroutine; `process.wait_for` is the same for plain functions."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any


async def until(condition: Callable[[], Any], what: str, timeout: float = 60) -> Any:
    """Await until the answer of `condition`, which may be a coroutine, is true, and return it."""
    end = time.monotonic() + timeout
    while True:
        answer = condition()
        if asyncio.iscoroutine(answer):
            answer = await answer
        if answer:
            return answer
        assert time.monotonic() < end, f"waited {timeout} s for {what}"
        await asyncio.sleep(0.02)
