"""How a service starts and ends: the entry point of all three."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

import uvloop

from services.shared import config, log, tracing


class Common(Protocol):
    """What the life of every service needs of its Config."""

    @property
    def log_level(self) -> str: ...

    @property
    def project(self) -> str: ...


C = TypeVar("C", bound=Common)


def main(service: str, config_type: type[C], run: Callable[[C, asyncio.Event], Awaitable[None]]) -> None:
    """Read the settings, run until SIGTERM or SIGINT, exit.

    `run(config, stop)` serves until `stop` is set, then leaves in order. Exit codes: 0 after a signal, 1 after a
    failure, 2 for settings that are wrong. A second signal ends the process at once.
    """
    try:
        cfg = config.read(config_type, os.environ)
        tracing.start(service, cfg.project, os.environ)
    except config.ConfigError as error:
        sys.exit(_refuse(service, str(error)))
    log.start(service, cfg.log_level)
    # Millions of short-lived objects a minute: a full collection every few hundred allocations is pure cost.
    gc.set_threshold(50_000, 20, 20)
    try:
        uvloop.run(_until_signal(cfg, run))
    except config.ConfigError as error:  # found while wiring, such as a schema file that does not parse
        sys.exit(_refuse(service, str(error)))
    except Exception:  # noqa: BLE001 - the last place that can say why the process ends
        log.get("lifecycle").exception("crashed")
        sys.exit(1)
    finally:
        tracing.stop()


def _refuse(service: str, text: str) -> int:
    print(f"{service}: cannot start:\n{text}", file=sys.stderr)  # noqa: T201 - no logger exists yet
    return 2


async def _until_signal(cfg: C, run: Callable[[C, asyncio.Event], Awaitable[None]]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_signal() -> None:
        if stop.is_set():
            os._exit(1)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    await run(cfg, stop)


async def until(stop: asyncio.Event, work: asyncio.Task[None]) -> None:
    """Wait for `stop`, or for the work to end by itself, which raises what ended it."""
    waiting = asyncio.create_task(stop.wait())
    await asyncio.wait({waiting, work}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if work.done():
        await work
