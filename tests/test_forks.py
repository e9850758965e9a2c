"""Processes that are forks are to a test what real ones are: each case is run as both."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from local.run_file import alive
from tests import forks, process

Start = Callable[..., process.Child]


@pytest.fixture(params=["fork", "real"])
def start(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Start]:
    """Runs a program as `python -m NAME`; its stdout and stderr are one file, or stdout is a pipe."""
    started: list[process.Child] = []

    def begin(program: str, *arguments: str, pipe: bool = False) -> process.Child:
        (tmp_path / "a_program.py").write_text(program)
        env = {**os.environ, "PIPE_X": "é\n"}
        end = subprocess.PIPE if pipe else None
        log = tmp_path / "log"
        with log.open("wb") as file:
            out = subprocess.PIPE if pipe else file.fileno()
            with nullcontext() if request.param == "fork" else forks.off():
                one = process.begin(("a_program", *arguments), env, tmp_path, end, out, file.fileno())
            assert isinstance(one, forks.Forked) == (request.param == "fork")
        started.append(process.Child(one, log))
        return started[-1]

    yield begin
    for child in started:
        child.stop(signal.SIGKILL)
        for stream in (child.process.stdin, child.process.stdout):
            if stream is not None:
                stream.close()


@pytest.mark.parametrize(
    ("program", "code", "said"),
    [
        ("", 0, ""),
        ("import sys; sys.exit(3)", 3, ""),
        ("import sys; sys.exit('no')", 1, "no\n"),
        ("import sys; sys.exit(None)", 0, ""),
        ("import os; os._exit(4)", 4, ""),
        ("1 / 0", 1, "ZeroDivisionError: division by zero\n"),
        ("raise KeyboardInterrupt", -signal.SIGINT, "KeyboardInterrupt\n"),
        ("import os; os.abort()", -signal.SIGABRT, ""),
        ("import atexit; atexit.register(print, 'last', end=''); print('first')", 0, "first\nlast"),
        ("import threading, time; print('now'); threading.Timer(0.05, print, ['later']).start()", 0, "now\nlater\n"),
    ],
)
def test_how_a_program_ends(start: Start, program: str, code: int, said: str) -> None:
    child = start(program)
    assert child.process.wait(60) == code, child.output()
    assert child.process.poll() == child.process.returncode == code
    assert child.output().endswith(said)
    assert said or not child.output()


def test_what_a_program_is_given(start: Start, tmp_path: Path) -> None:
    """Also that it has no file open but its three."""
    with (tmp_path / "open here").open("wb"):
        child = start(
            "import json, os, sys\n"
            "print(json.dumps([os.getpid(), sys.argv, dict(os.environ), os.getcwd(), __name__, os.getpgrp(),"
            "    sys.stdin.read(), os.listdir('/proc/self/fd')[3:-1], sys.path[0]]))",
            "--of",
            "it's",
        )
    assert child.process.wait(60) == 0, child.output()
    pid, argv, env, folder, name, group, stdin, files, path = json.loads(child.output())
    assert pid == child.process.pid
    assert argv == [str(tmp_path / "a_program.py"), "--of", "it's"]
    assert env == {**os.environ, "PIPE_X": "é\n"}
    assert (folder, path, name, group) == (str(tmp_path), str(tmp_path), "__main__", os.getpgrp())
    assert (stdin, files) == ("", [])


def test_pipes_are_those_of_the_test_alone(start: Start) -> None:
    """A program sees the end of its stdin, and its stdout ends with it."""
    child = start("import sys; print('ready', flush=True); print(sys.stdin.read()[::-1])", pipe=True)
    assert child.process.stdin is not None and child.process.stdout is not None
    assert child.process.stdout.readline() == b"ready\n"
    other = start("import time; time.sleep(60)")
    child.process.stdin.write(b"abc")
    child.process.stdin.close()
    assert child.process.stdout.read() == b"cba\n"
    assert child.process.wait(60) == 0
    assert other.process.poll() is None


def test_signals_reach_it_as_by_default(start: Start) -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGKILL):
        child = start("import time; print('up', flush=True); time.sleep(60)", pipe=True)
        assert child.process.stdout is not None and child.process.stdout.readline() == b"up\n"
        assert child.stop(number) == -number


def test_it_can_be_stopped_and_goes_on(start: Start) -> None:
    child = start("import sys\nfor line in sys.stdin: print(line, end='', flush=True)", pipe=True)
    assert child.process.stdin is not None and child.process.stdout is not None
    child.process.send_signal(signal.SIGSTOP)
    state = Path(f"/proc/{child.process.pid}/stat")
    process.wait_for(lambda: state.read_text().rpartition(")")[2].split()[0] == "T", 60, "its stop")
    child.process.stdin.write(b"heard\n")
    child.process.stdin.flush()
    assert child.process.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        child.process.wait(0)
    child.process.send_signal(signal.SIGCONT)
    assert child.process.stdout.readline() == b"heard\n"


def test_a_fork_has_imported_everything(tmp_path: Path) -> None:
    program = "import sys; print({'services.loader.service', 'local.run'} - {*sys.modules})"
    (tmp_path / "a_program.py").write_text(program)
    assert process.run("a_program", folder=tmp_path).stdout.split() == ["set()"]


@pytest.mark.slow
def test_the_process_that_forks_ends_with_the_tests_even_killed_ones() -> None:
    """The fork it has started goes on, as a real one would."""
    program = (
        "import sys, time; from tests import forks, process; forks.on = True\n"
        "one = process.start('tests.local.run_actor', 'calm')\n"
        "server = open(f'/proc/{one.process.pid}/stat').read().rpartition(')')[2].split()[1]\n"
        "print(one.process.pid, server, flush=True)\n"
        "time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program], cwd=process.ROOT, stdout=subprocess.PIPE) as tests:
        assert tests.stdout is not None
        fork, server = map(int, tests.stdout.readline().split())
        tests.kill()
    process.wait_for(lambda: not alive(server), 60, "the end of the process that forks")
    os.kill(fork, signal.SIGTERM)
    process.wait_for(lambda: not alive(fork), 60, "the end of the fork")
