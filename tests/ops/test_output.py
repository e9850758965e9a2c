"""A result is a table on a terminal, and one JSON object in a pipe or with --json."""

from __future__ import annotations

import argparse
import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from services.ops import output
from services.ops.__main__ import COMMANDS, parser
from tests.process import ROOT

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def on_a_terminal(*arguments: str, columns: int = 100, code: int = 0) -> str:
    """What a command prints where stdout is a terminal of so many columns; `code` is its exit code."""
    mine, its = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "services.ops", *arguments],
        cwd=ROOT,
        stdout=its,
        env={**os.environ, "COLUMNS": str(columns), "TERM": "xterm"},
    ) as child:
        os.close(its)
        said = all_of(mine)
        assert child.wait() == code
    return said


def all_of(terminal: int) -> str:
    """What is written to a terminal until its other end is closed."""
    said = b""
    while True:
        try:
            said += os.read(terminal, 65_536)
        except OSError:
            break
    os.close(terminal)
    return said.decode()


def test_a_terminal_gets_a_table_and_json_where_it_asks() -> None:
    arguments = ("cost", "--hits-per-second", "100", "--compare")
    said = on_a_terminal(*arguments)
    assert "Dataflow template" in said and "{" not in said
    found = json.loads(on_a_terminal(*arguments, "--json"))
    total = re.escape(f"${found['total']:,.2f}")
    assert re.search(rf"pixelpipe +{total} +\$0\.\d{{4}}", said)
    assert max(map(len, on_a_terminal(*arguments, columns=40).splitlines())) < 60  # colours are not counted as width


def test_what_is_being_done_is_shown_on_a_terminal_and_is_no_part_of_the_result() -> None:
    mine, its = pty.openpty()
    script = "from services.ops import output\nwith output.working('looking for it'):\n    print('found')\n"
    command = [sys.executable, "-c", script]
    environ = {**os.environ, "TERM": "xterm"}
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=its, env=environ) as child:
        os.close(its)
        assert child.stdout is not None
        assert ("looking for it" in all_of(mine), child.stdout.read()) == (True, b"found\n")
    quiet = subprocess.run(command, cwd=ROOT, capture_output=True)
    assert (quiet.stdout, quiet.stderr) == (b"found\n", b"")


def test_results_stay_whole_on_a_terminal_while_something_is_shown() -> None:
    """On stdout alone, and what is said on stderr meanwhile has no line breaks either."""
    script = """
import argparse, json, sys
from services.ops import output
long = json.dumps({"id": "word " * 60})
with output.working("looking for it"):
    print("dead: " + "lost " * 60, file=sys.stderr)
    output.line(argparse.Namespace(json=True), long)
    output.line(argparse.Namespace(json=True), long)
    print(long, flush=True)
with output.progress() as bar:
    bar.add_task("counting", total=2)
    output.show(argparse.Namespace(json=True), json.loads(long))
print("end", file=sys.stderr)
"""
    out, its_out = pty.openpty()
    err, its_err = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=ROOT,
        stdout=its_out,
        stderr=its_err,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "80"},
    ) as child:
        os.close(its_out)
        os.close(its_err)
        printed, said = all_of(out), all_of(err)
    assert child.returncode == 0
    assert [json.loads(line) for line in printed.splitlines()] == [{"id": "word " * 60}] * 4
    assert "looking for it" in said and "dead: " + "lost " * 60 + "\r\n" in said
    assert said.endswith("end\r\n") and "word" not in said


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "services.ops", "cost", "--hits-per-second", "1"]
    done = subprocess.run(command, cwd=ROOT, stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


def test_ctrl_c_at_the_start_shows_no_traceback() -> None:
    command = [sys.executable, "-X", "importtime", "-m", "services.ops", "cost", "--hits-per-second", "1"]
    pipe: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "pipesize": 4096, "bufsize": 0}
    with subprocess.Popen(command, cwd=ROOT, **pipe) as child:  # which gets no further than some lines ahead of this
        assert child.stderr is not None
        assert any(b"google.protobuf" in line for line in child.stderr)
        child.send_signal(signal.SIGINT)
        assert b"Traceback" not in child.stderr.read()
    assert child.returncode in (-signal.SIGINT, 130)


def test_a_pipe_gets_one_json_object(capsys: pytest.CaptureFixture[str]) -> None:
    output.show(argparse.Namespace(json=False), {"rows": 1_000, "of": [1, 2]})
    assert json.loads(capsys.readouterr().out) == {"rows": 1_000, "of": [1, 2]}


@given(st.dictionaries(st.text(), VALUES))
def test_whatever_a_result_holds_can_be_shown_and_controls_no_terminal(result: dict[str, Any]) -> None:
    console = Console(width=80, file=open(os.devnull, "w"), color_system=None, record=True)  # noqa: SIM115
    console.print(output.rendered(result))
    assert all(one.isprintable() or one == "\n" for one in console.export_text())


@pytest.mark.parametrize("inner", [lambda one: {"a": one, "b": 1}, lambda one: [{"a": one}]])
def test_what_is_nested_deeply_is_shown_as_json(inner: Callable[[Any], Any]) -> None:
    """Tables in tables took twice as long with each level."""
    value: Any = "the innermost"
    for _ in range(400):
        value = inner(value)
    console = Console(width=80, color_system=None)
    with console.capture() as captured:
        console.print(output.rendered({"row": value}))
    said = "".join(captured.get().split())
    assert '"theinnermost"' in said and said.count('"a":') == 398


def test_objects_that_have_no_name_in_common_are_no_table() -> None:
    """It would have a cell for each pair of them."""
    asked = 0

    class One(dict[str, Any]):
        def get(self, key: str, default: Any = None) -> Any:
            nonlocal asked
            asked += 1
            return super().get(key, default)

    console = Console(width=80, color_system=None)
    with console.capture() as captured:
        console.print(output.rendered({"rows": [One({f"name{at}": at}) for at in range(300)]}))
    assert re.search(r"name299 +299", captured.get()) and asked < 300 * 80


@pytest.mark.parametrize("width", [30, 40, 80, 200])
def test_what_is_copied_is_whole_on_a_narrow_terminal(width: int) -> None:
    values = ["01a22b5a-4138-71fc-9d63-88c323f6a008", "http://127.0.0.1:8080/pixel.gif", "2026-11-30T06:57:48.123456Z"]
    rows = [dict(zip("abc", values, strict=True)), {"a": "anonymous_id, visitor_id", "b": None}]
    console = Console(width=width, color_system=None)
    with console.capture() as captured:
        console.print(output.rendered({"id": values[0], "one": {"two": values[1]}, "rows": rows}))
    said = "".join(captured.get().split())
    assert [said.count(one) for one in values] == [2, 2, 1] and "…" not in said
    assert max(map(len, captured.get().splitlines())) <= width


def test_a_table_that_just_fits_cuts_no_header() -> None:
    rows = [{"table": "events", "rows": 0, "conflicts": 0, "duplicates": 0, "bytes_processed": 0}]
    for width in range(30, 80):
        console = Console(width=width, color_system=None)
        with console.capture() as captured:
            console.print(output.rendered({"days": rows}))
        words = captured.get().split()
        assert {"table", "rows", "conflicts", "duplicates", "bytes", "processed"} <= set(words), width


def test_no_color_means_no_style_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ("cost", "--hits-per-second", "100")
    assert "\x1b[" in on_a_terminal(*arguments)
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[" not in on_a_terminal(*arguments)


def test_markup_in_a_value_stays_text() -> None:
    console = Console(width=80, color_system=None)
    with console.capture() as captured:
        console.print(output.rendered({"value": "[bold]x[/bold] [link=http://a]y[/link]"}))
    assert "[bold]x[/bold] [link=http://a]y[/link]" in captured.get()


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_json(command: str) -> None:
    assert ("--json" in help_of(parser([command]), command)) or command == "completion"  # a script of the shell


def help_of(whole: argparse.ArgumentParser, command: str) -> str:
    """The help of a command and of what is below it."""
    (commands,) = (action for action in whole._actions if isinstance(action, argparse._SubParsersAction))
    found: argparse.ArgumentParser = commands.choices[command]
    below = (action for action in found._actions if isinstance(action, argparse._SubParsersAction))
    return found.format_help() + "".join(one.format_help() for action in below for one in action.choices.values())
