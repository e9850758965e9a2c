"""`run.json` in the data folder: what is running, for the query command, the page and tests; gone once it has ended."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from local.ports import Ports

LOGS, SPOOL = "logs", "spool"  # folders in the data folder
NEEDED_BYTES = 64 * 1024 * 1024  # less than that, and the emulator's write-ahead log alone may fill the disk
_OTHERWISE = "choose another with --data or LOCAL_DATA"
_NAME = "run.json"
_LOCK = "run.lock"


class NotRunning(Exception):
    """No stack runs with this data folder."""


class AlreadyRunning(Exception):
    """Another stack runs with this data folder."""


class DataUnusable(Exception):
    """The data folder cannot be used; the text says why and what to do."""


@dataclass(frozen=True)
class Running:
    """`children` is a list of {name, pid, ports, log, status, why, since}; `ready` once all of them have been.

    `status` as `Child.status` has it, `why` how it ended, if it has, `since` when that was so, in seconds since 1970.
    """

    pid: int
    data: str
    project: str
    dataset: str
    schema: str
    ports: Ports
    started: str  # ISO 8601, UTC
    ready: bool = False
    children: tuple[dict[str, Any], ...] = field(default=())


def write(data: Path, running: Running) -> None:
    """Replace the file; a reader sees the old or the new, never half of it."""
    part = data / f"{_NAME}.part"
    part.write_text(json.dumps(asdict(running), indent=2) + "\n")
    part.replace(data / _NAME)


def read(data: Path) -> Running:
    """Raises NotRunning."""
    try:
        running = msgspec.json.decode((data / _NAME).read_bytes(), type=Running)
    except (FileNotFoundError, NotADirectoryError):
        raise NotRunning(f"nothing runs with the data in {data}; start it with `make run`") from None
    except OSError as error:
        raise NotRunning(f"{data / _NAME} cannot be read: {error.strerror}; is --data right?") from None
    except (ValueError, RecursionError) as error:  # half a file, or of another version
        raise NotRunning(f"{data / _NAME} cannot be read: {error}; remove it") from None
    if not alive(running.pid):
        raise NotRunning(f"what ran with the data in {data} was killed; start it with `make run`")
    return running


def alive(pid: int) -> bool:
    """Whether a process of this id is there and has not ended."""
    with suppress(OSError):
        # A child that has ended keeps its id until the supervisor has asked for its exit code.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


@contextmanager
def held(data: Path) -> Iterator[None]:
    """Hold the data folder for one stack, creating it if needed. Raises AlreadyRunning or DataUnusable."""
    with ExitStack() as stack:
        with _usable(data):
            data.mkdir(parents=True, exist_ok=True)
            lock = stack.enter_context((data / _LOCK).open("w"))
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise AlreadyRunning(
                    f"a stack with the data in {data} is running already; stop it, or choose another folder with --data"
                ) from None
            (data / _NAME).unlink(missing_ok=True)  # of a stack that was killed
        stack.callback((data / _NAME).unlink, missing_ok=True)
        yield


def prepare(data: Path, needed: int = NEEDED_BYTES) -> None:
    """Make the folders that the services write to, and see to it that there is room. Raises DataUnusable."""
    with _usable(data):
        for folder in (LOGS, SPOOL):
            (data / folder).mkdir(exist_ok=True)
        free = shutil.disk_usage(data).free
    if free < needed:
        raise DataUnusable(
            f"the data folder {data} has {free:,} bytes free on its disk, and {needed:,} are needed; {_OTHERWISE}"
        )


@contextmanager
def _usable(data: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataUnusable(
            f"the data folder {data} cannot be used: {error.filename or data}: {error.strerror}; {_OTHERWISE}"
        ) from None
