"""One child process of the stack: its start, its readiness, its log, its end."""

from __future__ import annotations

import ctypes
import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from emulators.arguments import HOST

_TAIL_LINES = 20
_TAIL_BYTES = 64 * 1024
_FULL_BYTES = 4096  # a block: less holds no line
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None

popen: Callable[..., subprocess.Popen[bytes]] = subprocess.Popen  # starts a child; tests have a quicker one


@dataclass(frozen=True)
class Spec:
    """A child to be: `python -m MODULE ARGUMENTS` with exactly this environment."""

    name: str
    module: str
    environment: Mapping[str, str]
    ready: Callable[[Child], bool]
    arguments: tuple[str, ...] = ()
    ports: Mapping[str, int] = field(default_factory=dict)
    grace: float = 30.0  # seconds from SIGTERM until it is killed
    again: str | None = None  # how to have it back where it ends by itself; None: the stack ends with it
    inherits: tuple[int, ...] = ()  # file descriptors it keeps


class Child:
    """A started process; its stdout and stderr are one log file, the one of the run before is kept as `.1`."""

    def __init__(self, spec: Spec, logs: Path) -> None:
        self.spec = spec
        self.log = logs / f"{spec.name}.log"
        self.ready = False
        self.asked: str | None = None  # "stop" or "kill", once someone asked for its end
        self.ended: str | None = None  # how, once the supervisor has seen it
        self.since = time.time()  # of its status
        if self.log.exists():
            self.log.replace(self.log.with_suffix(".log.1"))
        parent = os.getpid()
        with self.log.open("wb") as log:
            self._process = popen(
                [sys.executable, "-m", spec.module, *spec.arguments],
                env=dict(spec.environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Ctrl-C signals the whole process group; the supervisor stops the children itself, in order.
                start_new_session=True,
                pass_fds=spec.inherits,
                preexec_fn=lambda: _die_with(parent),
            )
        self.pid = self._process.pid

    def exit_code(self) -> int | None:
        """None while it runs; the negative number of the signal that ended it."""
        return self._process.poll()

    @property
    def status(self) -> str:
        """starting, running, stopping; stopped if someone asked for that, else ended."""
        if self.ended is not None:
            return "stopped" if self.asked == "stop" else "ended"
        if self.asked is not None:
            return "stopping"
        return "running" if self.ready else "starting"

    def check_ready(self) -> bool:
        self.ready = self.ready or self.spec.ready(self)
        return self.ready

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def ends_within(self, seconds: float) -> bool:
        """Wait for its end, for no longer than that."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def tail(self) -> str:
        """The last lines of its log."""
        with self.log.open("rb") as log:
            log.seek(max(0, self.log.stat().st_size - _TAIL_BYTES))
            lines = log.read().decode(errors="replace").splitlines()
        if not lines:
            full = shutil.disk_usage(self.log).free < _FULL_BYTES
            return "  (its log is empty: the disk is full)" if full else "  (its log is empty)"
        return "\n".join(f"  {line}" for line in lines[-_TAIL_LINES:])


def _die_with(parent: int) -> None:
    """In the child, before it becomes the program: be killed when the supervisor is, even by SIGKILL.

    A pipe that children watch would need code in the services; the kernel's own way needs none. SIGKILL, not SIGTERM:
    nobody is left to see to it that the child ends. What must survive this survives a power cut too.
    """
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
        if os.getppid() != parent:
            os._exit(1)


def announces(*keys: str) -> Callable[[Child], bool]:
    """Ready once its output has a line that is a JSON object with these keys, as the emulators print it."""

    def check(child: Child) -> bool:
        for line in child.log.read_bytes().splitlines():
            try:
                said = json.loads(line)
            except ValueError:
                continue
            if isinstance(said, dict) and all(key in said for key in keys):
                return True
        return False

    return check


def answers(port: int) -> Callable[[Child], bool]:
    """Ready once GET /readyz on the port is answered with 200."""

    def check(_child: Child) -> bool:
        connection = http.client.HTTPConnection(HOST, port, timeout=1.0)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    return check


def finished(child: Child) -> bool:
    """Ready once it has ended well, for a child that does one thing."""
    return child.exit_code() == 0
