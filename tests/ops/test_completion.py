"""The completion of `pixelpipe`, in the shells themselves."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from services.ops.__main__ import COMMANDS, main
from tests.tools import require

SECONDS = 40  # for a shell to say something; it takes one
READY = "ready> "
# What is typed before TAB, and what the shell then shows, in columns.
ASKED = {
    "pixelpipe doc": ["doctor"],
    "pixelpipe dead ": ["count", "drop", "list", "replay", "show"],
    "pixelpipe load --ra": ["--ramp", "--rate"],
    "pixelpipe privacy --privacy ": ["balanced", "off", "strict"],
    "pixelpipe ": sorted(COMMANDS),
}


@pytest.fixture
def script(request: pytest.FixtureRequest, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """The file that `pixelpipe completion SHELL` writes, under the name that zsh wants."""
    require(request.param, f"apt-get install {request.param}")
    assert main(["completion", request.param]) == 0
    file = tmp_path / "_pixelpipe"
    file.write_text(capsys.readouterr().out)
    return file


class Terminal:
    """A shell that somebody types into."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def type(self, text: str) -> None:
        os.write(self._descriptor, text.encode())

    def until(self, pattern: str) -> None:
        said, end = "", time.monotonic() + SECONDS
        while not re.match(pattern, said, re.DOTALL):
            readable, _, _ = select.select([self._descriptor], [], [], max(0, end - time.monotonic()))
            assert readable, f"no {pattern!r} in {said!r}"
            said += os.read(self._descriptor, 65_536).decode(errors="replace")


@contextmanager
def shell(command: Sequence[str], home: Path) -> Iterator[Terminal]:
    mine, its = pty.openpty()
    environ = {"PATH": os.environ["PATH"], "HOME": str(home), "TERM": "dumb", "COLUMNS": "200", "LINES": "60"}
    with subprocess.Popen(command, stdin=its, stdout=its, stderr=its, env=environ, start_new_session=True) as child:
        os.close(its)
        try:
            yield Terminal(mine)
        finally:
            child.send_signal(signal.SIGKILL)
            child.wait(SECONDS)
            os.close(mine)


@pytest.mark.parametrize(
    ("script", "command", "load", "list_all"),
    [
        ("bash", ("bash", "--norc", "-i"), ". ./_pixelpipe", "\t\t"),
        ("zsh", ("zsh", "-f", "-i"), "fpath=(~ $fpath); autoload -U compinit; compinit -u -D", "\t"),
    ],
    indirect=["script"],
    ids=["bash", "zsh"],
)
def test_tab_completes_commands_options_and_what_they_take(
    script: Path, command: Sequence[str], load: str, list_all: str
) -> None:
    with shell(command, script.parent) as terminal:
        terminal.type(f"cd; {load}; PS1='read''y> '\n")
        terminal.until(f".*{READY}")
        for line, shown in ASKED.items():
            terminal.type(line + list_all)
            terminal.until("".join(rf"(?=.*(?<!\S){re.escape(one)}(?!\S))" for one in shown))
            terminal.type("\x15: next\n")
            terminal.until(f".*{READY}")


@pytest.mark.parametrize("script", ["fish"], indirect=True)
def test_fish_completes_commands_options_and_what_they_take(script: Path) -> None:
    for line, wanted in ASKED.items():
        asked = ["fish", "--no-config", "-c", f"source {script}; complete -C '{line}'"]
        environ = {"PATH": os.environ["PATH"], "HOME": str(script.parent)}
        done = subprocess.run(asked, capture_output=True, text=True, check=True, env=environ)
        assert sorted(one.partition("\t")[0] for one in done.stdout.splitlines()) == wanted
        assert done.stderr == ""
