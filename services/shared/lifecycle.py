"""How a service starts and ends: the entry point of all three."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
import threading
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

import uvloop

from services.shared import config, event_engine, log, tracing
from services.shared.background import BackgroundTaskEnded


class Common(Protocol):
    """What every service's lifecycle needs from its Config."""

    @property
    def log_level(self) -> str: ...

    @property
    def project(self) -> str: ...


C = TypeVar("C", bound=Common)


def main(service: str, config_type: type[C], run: Callable[[C, asyncio.Event], Awaitable[None]]) -> None:
    """Read the settings, run until SIGTERM or SIGINT, exit.

    `run(config, stop)` serves until `stop` is set, then leaves in order. Exit codes: 0 after a signal, 1 after a
    failure, 2 for settings that are wrong. A second signal ends the process at once. A thread that an exception ends,
    such as one of a client library, is a failure: nobody else would notice that its work is no longer done.
    """
    code = _live(service, config_type, run)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # Python would wait for every thread, even one blocked on a disk or in a library


def _live(service: str, config_type: type[C], run: Callable[[C, asyncio.Event], Awaitable[None]]) -> int:
    try:
        cfg = config.read(config_type, os.environ)
        tracing.start(service, cfg.project)
    except config.ConfigError as error:
        return _refuse(service, str(error))
    log.start(service, cfg.log_level)
    event_engine.keep()
    # Millions of short-lived objects a minute: a full collection every few hundred allocations is pure cost.
    gc.set_threshold(50_000, 20, 20)
    try:
        uvloop.run(_until_signal(cfg, run))
    except config.ConfigError as error:  # found while wiring, such as a schema file that does not parse
        return _refuse(service, str(error))
    except BackgroundTaskEnded as error:
        log.get("lifecycle").error("background task ended", task=str(error), exc_info=error.__cause__)
        return 1
    except Exception:  # noqa: BLE001 - the last place that can say why the process ends
        log.get("lifecycle").exception("crashed")
        return 1
    finally:
        tracing.stop()
    return 0


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
    running = asyncio.ensure_future(run(cfg, stop))
    failed: list[threading.ExceptHookArgs] = []

    def on_thread_failure(failure: threading.ExceptHookArgs) -> None:
        if stop.is_set():  # its work is over; the orderly shutdown must go on
            threading.__excepthook__(failure)
        elif failure.exc_type is not SystemExit:
            failed.append(failure)
            loop.call_soon_threadsafe(running.cancel)

    threading.excepthook = on_thread_failure
    try:
        await running
    except (asyncio.CancelledError, BackgroundTaskEnded):
        if not failed:  # otherwise what ends now ends because of the thread
            raise
    if failed:
        first = failed[0]
        name = first.thread.name if first.thread is not None else "unknown"
        raise BackgroundTaskEnded(f"thread {name}: {first.exc_value!r}") from first.exc_value
