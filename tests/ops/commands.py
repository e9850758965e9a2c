"""Runs `python -m services.ops` as a process of its own, without importing everything each time.

One process imports the commands once and forks for each: a fork takes milliseconds, an import a second. Nothing of gRPC
has begun in it, which a fork would not survive.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.process import ROOT

TIMEOUT = 60  # seconds a command may take, before SIGALRM ends it


class Commands:
    """The process that forks; its stdin takes a JSON object a line, its stdout answers with the exit code."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def run(self, arguments: Sequence[str], env: Mapping[str, str], out: Path, err: Path) -> int:
        """The exit code; `env` is the whole environment, stdout and stderr go to these files."""
        assert self._process.stdin is not None and self._process.stdout is not None
        asked = {"arguments": list(arguments), "env": dict(env), "out": str(out), "err": str(err)}
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
    from services.ops import (  # noqa: F401
        access,
        archive_command,
        check,
        compact,
        cost,
        dead,
        export,
        forget,
        init,
        ledger,
        load,
        privacy,
        replay,
        smoke,
        trace,
    )

    answers = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        child = os.fork()
        if not child:
            os._exit(_command(json.loads(line)))
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), file=answers, flush=True)


def _command(asked: dict[str, Any]) -> int:
    """In the child: as the interpreter would run `python -m services.ops`."""
    from services.ops.__main__ import main

    signal.alarm(TIMEOUT)
    null = os.open(os.devnull, os.O_RDONLY)
    files = [os.open(asked[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC) for name in ("out", "err")]
    for number, file in enumerate((null, *files)):
        os.dup2(file, number)
    os.environ.clear()
    os.environ.update(asked["env"])
    try:
        code = main(asked["arguments"])
    except SystemExit as end:  # of argparse
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:  # noqa: BLE001 - as the interpreter does
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    return code


if __name__ == "__main__":
    _serve()
