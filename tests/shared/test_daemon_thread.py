"""Blocking calls that are waited for with a limit."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading

import pytest

from services.shared import daemon_thread


async def test_it_gives_what_the_call_gives_or_raises() -> None:
    assert await daemon_thread.call("sum", lambda: 1 + 1, 60) == 2
    with pytest.raises(ZeroDivisionError):
        await daemon_thread.call("division", lambda: 1 // 0, 60)


async def test_a_call_that_does_not_end_is_left_alone() -> None:
    ended = threading.Event()
    with pytest.raises(TimeoutError):
        await daemon_thread.call("silent", ended.wait, 0.05)
    ended.set()
    await asyncio.sleep(0)


def test_it_keeps_no_process_from_ending() -> None:
    program = """
import asyncio, threading
from services.shared import daemon_thread

async def main():
    try:
        await daemon_thread.call("silent", threading.Event().wait, 0.05)
    except TimeoutError:
        print("timed out")

asyncio.run(main())
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert (ended.stdout, ended.stderr) == ("timed out\n", "")
