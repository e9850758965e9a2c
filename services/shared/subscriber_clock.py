"""The one patch of other people's code: the official subscriber client times its waits by the wall clock.

After a machine's clock is set back by an hour, the client sends no ack for an hour. It has no setting for its clock, so
the two of its modules that time waits read another one.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from importlib import import_module
from importlib.metadata import version
from typing import Any

MODULES = tuple(f"google.cloud.pubsub_v1.subscriber._protocol.{name}" for name in ("helper_threads", "leaser"))


class Steady:
    """The module `time`, except that nobody sets what `time()` reads."""

    @staticmethod
    def time() -> float:
        return time.monotonic()

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)


steady = Steady()


def install(modules: Iterable[str] = MODULES) -> None:
    """Give each module `steady` as its `time`. Raises ImportError if one of them is not there or has no `time`."""
    for name in modules:
        module: Any
        try:
            module = import_module(name)
        except ImportError:
            module = None
        if getattr(module, "time", None) not in (time, steady):
            raise ImportError(
                f"google-cloud-pubsub {version('google-cloud-pubsub')} has no {name} that imports time; look up how it"
                " times its waits and correct services/shared/subscriber_clock.py, or install the locked version"
            )
        module.time = steady
