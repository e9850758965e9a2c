"""A service whose background work ends as its setting says: `python -m tests.shared.ending_service`."""

from __future__ import annotations

import asyncio
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from prometheus_client import CollectorRegistry

from services.shared import lifecycle, log
from services.shared.admin import Admin
from services.shared.background import Background
from services.shared.config import setting

FAILS, RETURNS, GIVEN_UP, THREAD, CHATTERS = "fails", "returns", "given up", "thread", "chatters"
HANGS = "hangs"


@dataclass(frozen=True)
class Config:
    how: str = setting(help="how the work ends")
    project: str = setting("p", "as every service has")
    log_level: str = setting("info", "as every service has")


async def _work(how: str) -> None:
    await asyncio.sleep(0)
    if how == FAILS:
        raise OSError("the disk is gone")
    if how == GIVEN_UP:  # such as a call of a channel that somebody has closed
        call = asyncio.get_running_loop().create_future()
        call.cancel()
        await call
    if how == THREAD:
        threading.Thread(target=_thread, name="leaser").start()
    if how == HANGS:  # such as a write to a disk that does not answer
        ThreadPoolExecutor(1).submit(threading.Event().wait)
    if how == CHATTERS:
        for attempt in range(100):
            logging.getLogger("library").warning("attempt %s failed", attempt)
        logging.getLogger("library").warning("something else")
    if how != RETURNS:
        await asyncio.Event().wait()


def _thread() -> None:
    raise ValueError("a library's bug")


async def run(cfg: Config, stop: asyncio.Event) -> None:
    try:
        async with Background() as background, Admin("127.0.0.1", 0, CollectorRegistry(), background):
            work = background.start("the work", _work(cfg.how))
            log.get("test").info("running")
            await stop.wait()
            work.cancel()
    finally:
        log.get("test").info("left in order")


if __name__ == "__main__":
    lifecycle.main("test", Config, run)
