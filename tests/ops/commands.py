"""Runs `python -m services.ops` and the services as processes of their own, without importing everything each time.

One process imports them once and forks for each: a fork takes milliseconds, an import a second. Nothing of gRPC has
begun in it, which a fork would not survive.
"""

from __future__ import annotations

import json
import os
import runpy
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.process import ROOT

TIMEOUT = 60  # seconds a command may take, or a service to end


class Commands:
    """The process that forks; its stdin takes a JSON object a line, its stdout answers with the exit code."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def run(
        self,
        arguments: Sequence[str],
        env: Mapping[str, str],
        out: Path,
        err: Path,
        module: str = "services.ops",
        folder: Path = ROOT,
    ) -> int:
        """The exit code of `python -m MODULE`, run in the folder; `env` is the whole environment, stdout and stderr
        go to these files."""
        asked = {"module": module, "arguments": list(arguments), "folder": str(folder)}
        return self._ask({**asked, "env": dict(env), "out": str(out), "err": str(err)})

    @contextmanager
    def service(self, name: str, env: Mapping[str, str], log: Path) -> Iterator[None]:
        """Runs `python -m services.NAME`, which writes to `log`, and must end of itself once it is told to."""
        asked = {"module": f"services.{name}", "arguments": [], "folder": str(ROOT), "stays": True}
        pid = self._ask({**asked, "env": dict(env), "out": str(log)})
        try:
            yield
        finally:
            code = self._ask({"stop": pid})
            assert code == 0, f"{name} ended with {code}:\n{log.read_text(errors='replace')}"

    def _ask(self, asked: Mapping[str, Any]) -> int:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())


@contextmanager
def commands() -> Iterator[Commands]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.ops.commands"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield Commands(process)
    finally:
        process.communicate()


def _serve() -> None:
    # Before a fork.
    from services.collector import service as _collector  # noqa: F401
    from services.loader import service as _loader  # noqa: F401
    from services.ops import (  # noqa: F401
        access,
        archive_command,
        check,
        compact,
        cost,
        dead,
        doctor,
        export,
        forget,
        init,
        ledger,
        load,
        privacy,
        reconcile,
        replay,
        smoke,
        trace,
    )
    from services.processor import service as _processor  # noqa: F401

    answers = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        asked = json.loads(line)
        if "stop" in asked:
            os.kill(asked["stop"], signal.SIGTERM)
            answer = _end_of(asked["stop"])
        elif child := os.fork():
            answer = child if "stays" in asked else _end_of(child)
        else:
            os._exit(_run(asked))
        print(answer, file=answers, flush=True)


def _end_of(child: int) -> int:
    """The exit code; a child that goes on for longer than TIMEOUT is killed."""
    end = time.monotonic() + TIMEOUT
    while True:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > end:
            os.kill(child, signal.SIGKILL)
        time.sleep(0.002)


def _run(asked: dict[str, Any]) -> int:
    """In the child: as the interpreter would run `python -m …`."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    out = os.open(asked["out"], flags)
    err = os.open(asked["err"], flags) if "err" in asked else out
    for number, file in enumerate((os.open(os.devnull, os.O_RDONLY), out, err)):
        os.dup2(file, number)
    os.environ.clear()
    os.environ.update(asked["env"])
    os.chdir(asked["folder"])
    try:
        sys.argv = [asked["module"], *asked["arguments"]]
        runpy.run_module(f"{asked['module']}.__main__", run_name="__main__")
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except BaseException:  # noqa: BLE001 - as the interpreter does
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    return code


if __name__ == "__main__":
    _serve()
