"""Runs `python -m MODULE` as a process of its own without importing everything each time.

One process imports all modules of the project, and forks for each: a fork takes milliseconds, the imports a second of
CPU. Nothing of gRPC has begun in it, which a fork would not survive. What a module imports by itself is for
tests/test_arrows.py, the stack of tests/e2e and the images to prove.
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import importlib
import json
import os
import pkgutil
import runpy
import select
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import cache, partial
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).resolve().parent.parent
_AT_ITS_START = ("PYTHON", "LD_", "GRPC_", "MALLOC_")  # variables that a process reads only then

_DIGITS = 16  # of a number in a pipe
_code = 0  # of this process
on = False  # of pytest alone, by tests/conftest.py: what is measured must be as it is in production


def can(env: Mapping[str, str]) -> bool:
    """Whether a process with this environment may be a fork."""
    changed = (name for name in {*env, *os.environ} if env.get(name) != os.environ.get(name))
    return on and hasattr(os, "pidfd_open") and not any(name.startswith(_AT_ITS_START) for name in changed)


@contextmanager
def off() -> Iterator[None]:
    """What starts meanwhile imports what it needs by itself."""
    global on
    before, on = on, False
    try:
        yield
    finally:
        on = before


class Process:
    """What the tests and the local stack use of subprocess.Popen."""

    stdin: IO[bytes] | None = None
    stdout: IO[bytes] | None = None
    returncode: int | None = None

    def __init__(self, args: Sequence[str], pid: int, end: int, code: Callable[[], int]) -> None:
        """`end` is a file descriptor that can be read once the process has ended; then `code` is asked once."""
        self.args, self.pid, self.end, self._code = args, pid, end, code
        self._ending = threading.Lock()  # several threads may wait
        weakref.finalize(self, os.close, end).atexit = False

    def wait(self, timeout: float | None = None) -> int:
        ended = select.poll()
        ended.register(self.end, select.POLLIN)
        if self.returncode is None and not ended.poll(None if timeout is None else timeout * 1000):
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        with self._ending:
            if self.returncode is None:
                self.returncode = self._code()
        return self.returncode

    def poll(self) -> int | None:
        with suppress(subprocess.TimeoutExpired):
            return self.wait(0)
        return None

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class Forked(Process):
    """`python -m ARGS` in the folder with exactly this environment, a fork of the one that has imported everything.

    stdin and stdout may be subprocess.PIPE; a stdin of None is empty.
    """

    def __init__(
        self, args: Sequence[str], env: Mapping[str, str], folder: Path, stdin: int | None, stdout: int, stderr: int
    ) -> None:
        with open(os.devnull, "rb") as nothing, ExitStack() as theirs:
            fds = [nothing.fileno() if stdin is None else stdin, stdout, stderr]
            if stdin == subprocess.PIPE:
                fds[0], ours = os.pipe()
                theirs.callback(os.close, fds[0])
                self.stdin = open(ours, "wb")  # noqa: SIM115 - as Popen has it
            if stdout == subprocess.PIPE:
                ours, fds[1] = os.pipe()
                theirs.callback(os.close, fds[1])
                self.stdout = open(ours, "rb")  # noqa: SIM115
            said, saying = os.pipe()  # the process id, later the exit code
            theirs.callback(os.close, saying)
            socket.send_fds(_server(), [json.dumps([list(args), dict(env), str(folder)]).encode()], [*fds, saying])
        super().__init__(args, _number(said), said, lambda: _number(said))


def _number(said: int) -> int:
    digits = os.read(said, _DIGITS)
    if not digits:
        raise ChildProcessError("tests/forks.py: the process that forks has ended; stderr may say why")
    return int(digits)


@cache
def _server() -> socket.socket:
    """Started at the first use, and ended when nothing has the other end of its socket."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    program = f"from tests import forks; forks.on = True; forks.serve({theirs.fileno()})"
    with theirs:
        server = subprocess.Popen(
            [sys.executable, "-c", program],
            cwd=ROOT,
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,  # no terminal, where what is printed would not be buffered
        )
    atexit.register(lambda: (ours.close(), server.wait()))
    return ours


def serve(fd: int) -> None:
    """Fork for what is asked through this socket, and say what becomes of it; until nobody can ask."""
    atexit.register(_last)  # before everything else does
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of Ctrl-C, which ends the tests, and these end this
    for package in map(importlib.import_module, ("emulators", "local", "services")):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith(".__main__"):
                importlib.import_module(module.name)
    sys.modules["local.child"].popen = _popen  # type: ignore[attr-defined]
    gc.collect()
    gc.freeze()
    asked = socket.socket(fileno=fd)
    with selectors.DefaultSelector() as selector:
        selector.register(asked, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.data is None:
                    data, fds, _, _ = socket.recv_fds(asked, 1 << 20, 4)
                    if not data:
                        return
                    args, env, folder = json.loads(data)
                    there = partial(os.chdir, folder)
                    process = Fork(args, env=env, stdin=fds[0], stdout=fds[1], stderr=fds[2], preexec_fn=there)
                    for one in fds[:3]:
                        os.close(one)
                    _say(fds[3], process.pid)
                    selector.register(process.end, selectors.EVENT_READ, (process, fds[3]))
                else:
                    process, saying = key.data
                    selector.unregister(process.end)
                    _say(saying, process.wait())
                    os.close(saying)


def _say(saying: int, number: int) -> None:
    with suppress(BrokenPipeError):  # nobody waits for it
        os.write(saying, f"{number:{_DIGITS}}".encode())


class Fork(Process):
    """`python -m ARGS` as a fork of this process; the rest is as subprocess.Popen has it."""

    def __init__(
        self,
        args: Sequence[str],
        *,
        env: Mapping[str, str],
        stdin: Any,
        stdout: Any,
        stderr: Any,
        pass_fds: Sequence[int] = (),
        start_new_session: bool = False,
        preexec_fn: Callable[[], None] | None = None,
    ) -> None:
        # A signal to the child waits until it treats signals as a new program does.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                _detach((stdin, stdout, stderr), pass_fds)
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
                if start_new_session:
                    os.setsid()
                if preexec_fn is not None:
                    preexec_fn()
                code = _be(args, env)
            except BaseException as error:  # noqa: BLE001 - as the interpreter does
                sys.excepthook(*sys.exc_info())
                code = -signal.SIGINT if isinstance(error, KeyboardInterrupt) else 1
            _end(code)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        super().__init__(args, pid, os.pidfd_open(pid), lambda: os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


def _detach(streams: Sequence[Any], kept: Sequence[int]) -> None:
    """What exec does to signals and files."""
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals():
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for to, stream in enumerate(streams):
        if stream == subprocess.DEVNULL:
            stream = os.open(os.devnull, os.O_RDWR)
        os.dup2(stream if isinstance(stream, int) else stream.fileno(), to)
    for fd in map(int, os.listdir("/proc/self/fd")):
        if fd > 2 and fd not in kept:
            with suppress(OSError):  # that of the list
                os.close(fd)


def _be(args: Sequence[str], env: Mapping[str, str]) -> int:
    """Be `python -m ARGS`; its exit code."""
    os.environ.clear()
    os.environ.update(env)
    time.tzset()
    sys.path[0] = os.getcwd()
    sys.argv[1:] = args[1:]
    if not hasattr(sys.modules.get(args[0]), "__path__"):  # no package: it is its own program
        sys.modules.pop(args[0], None)
    try:
        runpy.run_module(args[0], run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


def _end(code: int) -> None:
    """As every program ends: after its threads and what it has registered with atexit."""
    global _code
    _code = code
    ctypes.pythonapi.Py_Exit(code)


def _last() -> None:
    """In place of taking apart all that was imported, which would copy it first, and duckdb would complain."""
    sys.stdout.flush()
    sys.stderr.flush()
    if _code == -signal.SIGINT:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    os._exit(_code)


def _popen(command: Sequence[str], *, env: Mapping[str, str], **options: Any) -> Any:
    """In place of local/child.py's: what a fork starts is a fork too, or a local stack would be no quicker."""
    return Fork(command[2:], env=env, **options) if can(env) else subprocess.Popen(command, env=env, **options)
