"""Real child processes for tests: production entry points, stopped by pid, output kept for the report."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import random
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from local.ports import Ports
from tests import forks

ROOT = Path(__file__).resolve().parent.parent
SCHEMA_FILE = ROOT / "tests" / "schema.yaml"


@dataclass
class Child:
    """One running process; `ready` is the JSON object it printed as its first stdout line."""

    process: subprocess.Popen[bytes] | forks.Forked
    log: Path
    ready: dict[str, Any] = field(default_factory=dict)

    def stop(self, how: int = signal.SIGTERM, timeout: float = 60) -> int:
        """Send a signal, wait, and return the exit code; a process that does not end in time is killed and reported."""
        if self.process.poll() is None:
            self.process.send_signal(how)
            try:
                self.process.wait(timeout)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(10)
                raise AssertionError(f"{self.process.args} did not stop in {timeout} s:\n{self.output()}") from None
        return self.process.returncode

    def output(self) -> str:
        return self.log.read_text(errors="replace")


def start(
    *args: str,
    env: Mapping[str, str] | None = None,
    timeout: float = 60,
    wait_ready: bool = True,
    pipe: bool = False,
) -> Child:
    """Run `python -m ARGS` and wait for its first line on stdout, a JSON object that says what it listens on.

    `pipe`: its stdin is a pipe that the test writes to.
    """
    handle, name = tempfile.mkstemp(prefix="pixelpipe-child-", suffix=".log")
    with os.fdopen(handle, "wb") as log:
        process = begin(
            args,
            {**os.environ, **(env or {})},
            ROOT,
            stdin=subprocess.PIPE if pipe else None,
            stdout=subprocess.PIPE if wait_ready else log.fileno(),
            stderr=log.fileno(),
        )
    child = Child(process, Path(name))
    if wait_ready:
        assert process.stdout is not None
        said = select.poll()  # not select.select, which takes no descriptor above 1,023
        said.register(process.stdout, select.POLLIN)
        line = process.stdout.readline() if said.poll(timeout * 1000) else b""
        if not line:
            process.kill()
            process.wait(10)
            raise AssertionError(f"{args} was not ready in {timeout} s:\n{child.output()}")
        child.ready = json.loads(line)
    return child


def run(
    *args: str, env: Mapping[str, str] | None = None, folder: Path = ROOT, timeout: float = 60
) -> subprocess.CompletedProcess[str]:
    """Run `python -m ARGS` to its end; what it printed, and its exit code."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = begin(args, {**os.environ, **(env or {})}, folder, None, out.fileno(), err.fileno())
        try:
            code = process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)
            raise
        said = [(file.seek(0), file.read().decode())[1] for file in (out, err)]
    return subprocess.CompletedProcess(args, code, *said)


def begin(
    args: Sequence[str], env: Mapping[str, str], folder: Path, stdin: int | None, stdout: int, stderr: int
) -> subprocess.Popen[bytes] | forks.Forked:
    """`python -m ARGS` in the folder with exactly this environment."""
    if forks.can(env):
        return forks.Forked(args, env, folder, stdin, stdout, stderr)
    command = [sys.executable, "-m", *args]
    return subprocess.Popen(command, cwd=folder, env=dict(env), stdin=stdin, stdout=stdout, stderr=stderr)


def start_collector(project: str, **settings: str) -> Child:
    """A collector on ports of its own, which publishes to the topic `hits`, with these PIPE_* besides."""
    env = {
        "PIPE_PROJECT": project,
        "PIPE_HITS_TOPIC": "hits",
        "PIPE_HOST": "127.0.0.1",
        "PIPE_PORT": "0",
        "PIPE_ADMIN_PORT": "0",
        "PIPE_DRAIN_DELAY_SECONDS": "0",
    }
    return start_listening("services.collector", env | settings)


def start_listening(name: str, env: Mapping[str, str], timeout: float = 60) -> Child:
    """A module that logs as a service does; `ready` is its log line that says its ports."""
    child = start(name, env=env, wait_ready=False)

    def ready() -> dict[str, Any] | None:
        assert child.process.poll() is None, f"{name} ended with {child.process.returncode}:\n{child.output()}"
        return listening(child.output())

    try:
        child.ready = wait_for(ready, timeout, f"{name} to listen")
    except AssertionError:
        child.process.kill()
        child.process.wait(10)
        raise
    return child


def listening(logged: str) -> dict[str, Any] | None:
    """The line of a service's log that says its ports."""
    whole = logged[: logged.rfind("\n") + 1]  # the last line may still be written
    lines = (json.loads(line) for line in whole.splitlines() if line.startswith("{") and line.endswith("}"))
    return next((line for line in lines if line.get("message") == "listening"), None)


@contextmanager
def running(
    *args: str, env: Mapping[str, str] | None = None, timeout: float = 60, wait_ready: bool = True, pipe: bool = False
) -> Iterator[Child]:
    child = start(*args, env=env, timeout=timeout, wait_ready=wait_ready, pipe=pipe)
    try:
        yield child
    finally:
        child.stop()
        for end in (child.process.stdout, child.process.stdin):
            if end is not None:
                end.close()
        child.log.unlink(missing_ok=True)


_PORTS = range(10_000, 20_000)


def _ports() -> Iterator[int]:
    """Ports for the processes of this worker of xdist, each once before any comes again.

    They are below those that the kernel gives to clients and that `--port-base 0` takes, and no other worker of this
    run has them: whoever is to listen on one need not hurry.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    size = len(_PORTS) // max(worker + 1, int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")))
    mine = _PORTS[worker * size : (worker + 1) * size]
    begin = random.SystemRandom().randrange(size)  # other tests may run on this machine
    return itertools.cycle([*mine[begin:], *mine[:begin]])


_next_ports = _ports()


def free_port() -> int:
    """A port of the loopback interface that nothing listened on a moment ago."""
    return next(port for port in _next_ports if _free(port))


def port_base() -> str:
    """For `--port-base` of a local stack: the first of as many free ports in a row as it takes."""
    found: list[int] = []
    while len(found) < len(dataclasses.fields(Ports)):
        port = free_port()
        found = [*found, port] if found and port == found[-1] + 1 else [port]
    return str(found[0])


def _free(port: int) -> bool:
    with socket.socket() as probe, suppress(OSError):
        probe.bind(("127.0.0.1", port))
        return True
    return False


def wait_for(condition: Any, timeout: float = 60, what: str = "the condition") -> Any:
    """Call until the answer is true, and return it; `AssertionError` naming what was waited for at the limit."""
    end = time.monotonic() + timeout
    while True:
        if answer := condition():
            return answer
        if time.monotonic() > end:
            raise AssertionError(f"waited {timeout} s for {what}; last answer: {answer!r}")
        time.sleep(0.02)
