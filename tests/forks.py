"""Runs `python -m MODULE` as a process of its own without importing everything each time.

One process imports what the modules need, and forks for each: a fork takes milliseconds, the imports up to a second of
CPU. Nothing of gRPC has begun in it, which a fork would not survive. What a module imports by itself is for
tests/test_arrows.py, the images and the local stack to prove.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import inspect
import json
import os
import runpy
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).resolve().parent.parent
# The package of each, without what its __main__ alone has.
IMPORTED = (
    "emulators.bigquery.emulator",
    "emulators.faults.control",
    "emulators.pubsub.server",
    "local.api",  # of local.page, which must be no module before it is the program
    "local.query",
    "local.run",
    "local.watched",
    "services.collector.service",
    "services.loader.service",
    "services.processor.service",
    "services.provision.inventory",
    "services.ops.access",
    "services.ops.check",
    "services.ops.compact",
    "services.ops.cost",
    "services.ops.dead",
    "services.ops.doctor",
    "services.ops.export",
    "services.ops.forget",
    "services.ops.init",
    "services.ops.ledger",
    "services.ops.load",
    "services.ops.privacy",
    "services.ops.replay",
    "services.ops.smoke",
    "services.ops.trace",
)
_AT_ITS_START = ("PYTHON", "LD_", "GRPC_", "MALLOC_")  # variables that a process reads only then


on = False  # of pytest alone, by tests/conftest.py: what is measured must be as it is in production


def can(env: Mapping[str, str]) -> bool:
    """Whether a process with this environment may be a fork."""
    if not on:
        return False
    changed = {name for name in {*env, *os.environ} if env.get(name) != os.environ.get(name)}
    return hasattr(os, "pidfd_open") and not any(name.startswith(_AT_ITS_START) for name in changed)


class Forked(subprocess.Popen[bytes]):
    """`python -m ARGUMENTS` in the folder with exactly this environment; stdin and stdout may be subprocess.PIPE."""

    def __init__(
        self, arguments: Sequence[str], env: Mapping[str, str], folder: Path, stdin: Any, stdout: Any, stderr: int
    ) -> None:
        self.args = arguments
        self.returncode = None
        self.stdin = self.stdout = self.stderr = None
        self._child_created = False  # by this process, which cannot wait for it
        self._communication_started = False
        with open(os.devnull, "rb") as nothing:
            theirs = [nothing.fileno(), stdout, stderr]
            if stdin == subprocess.PIPE:
                theirs[0], ours = os.pipe()
                self.stdin = open(ours, "wb", buffering=0)  # noqa: SIM115 - as Popen has it
            if stdout == subprocess.PIPE:
                ours, theirs[1] = os.pipe()
                self.stdout = open(ours, "rb")  # noqa: SIM115
            status, theirs_status = os.pipe()
            asked = json.dumps([list(arguments), dict(env), str(folder)])
            socket.send_fds(_server(), [asked.encode()], [*theirs, theirs_status])
            for end in (theirs_status, *(theirs[:1] * (stdin == subprocess.PIPE)), *(theirs[1:2] * (stdout == -1))):
                os.close(end)
        self._status: IO[bytes] = open(status, "rb", buffering=0)  # noqa: SIM115
        self._ending = threading.Lock()  # several threads may wait
        self.pid = int(self._status.readline())

    def wait(self, timeout: float | None = None) -> int:
        with selectors.DefaultSelector() as selector:
            selector.register(self._status, selectors.EVENT_READ)
            if self.returncode is None and not selector.select(timeout):
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
        with self._ending:
            if self.returncode is None:
                self.returncode = int(self._status.readline())
        return self.returncode

    def poll(self) -> int | None:
        with suppress(subprocess.TimeoutExpired):
            return self.wait(0)
        return None

    def send_signal(self, sig: int) -> None:
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, sig)


@cache
def _server() -> socket.socket:
    """Started at the first use, and ended when nothing has the other end of its socket."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        server = subprocess.Popen(
            [sys.executable, "-m", "tests.forks", str(theirs.fileno())], cwd=ROOT, pass_fds=[theirs.fileno()]
        )
    atexit.register(lambda: (ours.close(), server.wait()))
    return ours


def _serve(asked: socket.socket) -> tuple[list[str], dict[str, str], list[int]] | None:
    """Fork for what is asked; in the child what it is to be, in the server None at its end."""
    for name in IMPORTED:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()
    with selectors.DefaultSelector() as selector:
        selector.register(asked, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.data is not None:
                    pid, status = key.data
                    selector.unregister(key.fd)
                    os.close(key.fd)
                    _tell(status, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
                    os.close(status)
                    continue
                data, fds, _, _ = socket.recv_fds(asked, 1 << 20, 4)
                if not data:
                    return None
                pid = os.fork()
                if pid == 0:
                    arguments, env, folder = json.loads(data)
                    os.chdir(folder)
                    return arguments, env, fds
                for fd in fds[:3]:
                    os.close(fd)
                os.set_inheritable(fds[3], False)
                _tell(fds[3], pid)
                selector.register(os.pidfd_open(pid), selectors.EVENT_READ, (pid, fds[3]))


def _tell(status: int, number: int) -> None:
    with suppress(BrokenPipeError):  # nobody waits for it
        os.write(status, f"{number}\n".encode())


class _Forking(subprocess.Popen[bytes]):
    """What a fork starts by `python -m` is a fork too: those of the local stack, of which each would take a second."""

    def _execute_child(self, *given: Any) -> None:
        options = dict(zip(inspect.getfullargspec(_Forking.__base__._execute_child).args[1:], given, strict=True))
        command, env = list(options["args"]), dict(os.environ if options["env"] is None else options["env"])
        if command[:2] != [sys.executable, "-m"] or not can(env):
            super()._execute_child(*given)  # type: ignore[misc]
            return
        self.pid = os.fork()
        if self.pid == 0:
            try:
                _apart(options)
                _become(command[2:], env)
            except BaseException:  # noqa: BLE001 - as the interpreter does
                traceback.print_exc()
            os._exit(1)
        self._child_created = True
        ends = [options[name] for name in ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")]
        self._close_pipe_fds(*ends)  # type: ignore[attr-defined]


def _apart(options: Mapping[str, Any]) -> None:
    """What Popen and exec do in a child before it is the program."""
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.set_wakeup_fd(-1)
    for number, name in enumerate(("p2cread", "c2pwrite", "errwrite")):
        if options[name] >= 0:
            os.dup2(options[name], number)
    for fd in map(int, os.listdir("/proc/self/fd")):
        if fd > 2 and fd not in options["pass_fds"]:
            with suppress(OSError):
                os.close(fd)
    if options["start_new_session"]:
        os.setsid()
    if options["cwd"] is not None:
        os.chdir(options["cwd"])
    if options["preexec_fn"] is not None:
        options["preexec_fn"]()


def _become(arguments: Sequence[str], env: Mapping[str, str]) -> None:
    """Be `python -m ARGUMENTS`, to the end of this process."""
    gc.unfreeze()
    os.environ.clear()
    os.environ.update(env)
    time.tzset()
    sys.argv[1:] = arguments[1:]
    global on
    on = True
    subprocess.Popen = _Forking  # type: ignore[misc]
    try:
        runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
        if code and not isinstance(end.code, int):
            print(end.code, file=sys.stderr)
    threading._shutdown()  # type: ignore[attr-defined]  # as at the end of every program
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # to take apart all that was imported would copy it first


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of Ctrl-C, which ends the tests, and these end this
    with socket.socket(fileno=int(sys.argv[1])) as socket_of_tests:
        found = _serve(socket_of_tests)
    if found is None:
        os._exit(0)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    asked_arguments, asked_env, fds = found
    for to, fd in enumerate(fds[:3]):
        os.dup2(fd, to)
    for fd in fds:
        os.close(fd)
    _become(asked_arguments, asked_env)
