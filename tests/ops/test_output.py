"""A result is a table on a terminal, and one JSON object in a pipe or with --json."""

from __future__ import annotations

import argparse
import json
import os
import pty
import signal
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from services.ops import output
from services.ops.__main__ import COMMANDS, main, parser
from tests.process import ROOT

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def on_a_terminal(*arguments: str, columns: int = 100) -> str:
    """What a command prints where stdout is a terminal of so many columns."""
    mine, its = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "services.ops", *arguments],
        cwd=ROOT,
        stdout=its,
        env={**os.environ, "COLUMNS": str(columns), "TERM": "xterm"},
    ) as child:
        os.close(its)
        said = b""
        while True:
            try:
                said += os.read(mine, 65_536)
            except OSError:  # the other end is closed
                break
        assert child.wait() == 0
    os.close(mine)
    return said.decode()


def test_a_terminal_gets_a_table_and_json_where_it_asks() -> None:
    arguments = ("cost", "--hits-per-second", "100", "--compare")
    said = on_a_terminal(*arguments)
    assert "usd a month" in said and "Dataflow template" in said and "{" not in said
    assert json.loads(on_a_terminal(*arguments, "--json"))["total"] > 0
    assert max(map(len, on_a_terminal(*arguments, columns=40).splitlines())) < 60  # colours are not counted as width


def test_what_is_being_done_is_shown_on_a_terminal_and_is_no_part_of_the_result() -> None:
    mine, its = pty.openpty()
    script = "from services.ops import output\nwith output.working('looking for it'):\n    print('found')\n"
    command = [sys.executable, "-c", script]
    shown = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=its, env={**os.environ, "TERM": "xterm"})
    os.close(its)
    assert (shown.stdout, b"looking for it" in os.read(mine, 65_536)) == (b"found\n", True)
    os.close(mine)
    quiet = subprocess.run(command, cwd=ROOT, capture_output=True)
    assert (quiet.stdout, quiet.stderr) == (b"found\n", b"")


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "services.ops", "cost", "--hits-per-second", "1"]
    done = subprocess.run(command, cwd=ROOT, stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


def test_ctrl_c_at_the_start_shows_no_traceback() -> None:
    command = [sys.executable, "-X", "importtime", "-m", "services.ops", "cost", "--hits-per-second", "1"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        assert child.stderr is not None
        assert any("google.protobuf" in line for line in child.stderr)
        child.send_signal(signal.SIGINT)
        assert "Traceback" not in child.stderr.read()
    assert child.returncode in (-signal.SIGINT, 130)


def test_bash_completes_commands_options_and_what_they_take(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "bash"]) == 0
    script = capsys.readouterr().out
    asked = {
        "pixelpipe doc": "doctor",
        "pixelpipe dead ": "list show replay drop",
        "pixelpipe load --ra": "--rate --ramp",
        "pixelpipe privacy --privacy ": "strict balanced off",
    }
    for line in asked:
        words = " ".join(f"'{word}'" for word in line.split(" "))
        script += f"\nCOMP_WORDS=({words}) COMP_CWORD={line.count(' ')} COMPREPLY=(); _shtab_pixelpipe"
        script += "; echo ${COMPREPLY[*]}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == list(asked.values())


def test_a_pipe_gets_one_json_object(capsys: pytest.CaptureFixture[str]) -> None:
    output.show(argparse.Namespace(json=False), {"rows": 1_000, "of": [1, 2]})
    assert json.loads(capsys.readouterr().out) == {"rows": 1_000, "of": [1, 2]}


@given(st.dictionaries(st.text(), VALUES))
def test_whatever_a_result_holds_can_be_shown_and_controls_no_terminal(result: dict[str, Any]) -> None:
    console = Console(width=80, file=open(os.devnull, "w"), color_system=None, record=True)  # noqa: SIM115
    console.print(output.rendered(result))
    assert all(one.isprintable() or one == "\n" for one in console.export_text())


def test_markup_in_a_value_stays_text() -> None:
    console = Console(width=80, color_system=None)
    with console.capture() as captured:
        console.print(output.rendered({"value": "[bold]x[/bold] [link=http://a]y[/link]"}))
    assert "[bold]x[/bold] [link=http://a]y[/link]" in captured.get()


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_json_or_prints_lines_of_it(command: str) -> None:
    lines = {"access", "compact", "completion", "export", "init"}  # rows, log lines, a script, files, a schema file
    whole = parser([command])
    assert ("--json" in help_of(whole, command)) or command in lines


def help_of(whole: argparse.ArgumentParser, command: str) -> str:
    """The help of a command and of what is below it."""
    (commands,) = (action for action in whole._actions if isinstance(action, argparse._SubParsersAction))
    found: argparse.ArgumentParser = commands.choices[command]
    below = (action for action in found._actions if isinstance(action, argparse._SubParsersAction))
    return found.format_help() + "".join(one.format_help() for action in below for one in action.choices.values())
