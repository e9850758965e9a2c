"""`python -m emulators NAME` and `python -m emulators.NAME`: what they print, and what they refuse in one line."""

from __future__ import annotations

import importlib
import io
import subprocess
import sys
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from tests import process


def refused(name: str, *options: str) -> subprocess.CompletedProcess[str]:
    """The command in this process, for options that it ends at: a process of its own takes a second to import."""
    out, err = io.StringIO(), io.StringIO()
    main = importlib.import_module(f"emulators.{name}.__main__").main
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(sys, "argv", [name, *options])
        with pytest.raises(SystemExit) as ended:
            main()
    return subprocess.CompletedProcess(options, int(ended.value.code or 0), out.getvalue(), err.getvalue())


@pytest.mark.parametrize("prefix", [("emulators", "pubsub"), ("emulators.pubsub",)], ids=" ".join)
def test_pubsub_starts_by_either_command(prefix: Sequence[str]) -> None:
    with process.running(*prefix, "--port", "0", "--control-port", "0") as child:
        assert set(child.ready) == {"grpc", "control"}
        assert child.stop() == 0


@pytest.mark.parametrize("prefix", [("emulators", "bigquery"), ("emulators.bigquery",)], ids=" ".join)
def test_bigquery_starts_by_either_command(prefix: Sequence[str], tmp_path: Path) -> None:
    ports = ("--rest-port", "0", "--grpc-port", "0", "--control-port", "0")
    with process.running(*prefix, *ports, "--data", str(tmp_path / "file.duckdb")) as child:
        assert set(child.ready) == {"rest", "grpc", "control"}
        assert child.stop() == 0


@pytest.mark.parametrize("arguments", [(), ("spanner",), ("--help",)], ids=" ".join)
def test_an_emulator_that_does_not_exist_is_a_usage_line(arguments: Sequence[str]) -> None:
    done = process.run("emulators", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "usage: python -m emulators pubsub|bigquery [--help]\n"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("bigquery", "--rest-port", "99999"), 2, "argument --rest-port: '99999' is not a port"),
        (("bigquery", "--grpc-port", "-1"), 2, "argument --grpc-port: '-1' is not a port"),
        (("bigquery", "--host", ""), 2, "argument --host: '': use an address or a host name"),
        (("bigquery", "--data", ""), 2, "argument --data: it is empty"),
        (("bigquery", "--host", "192.0.2.1"), 1, "bigquery emulator: cannot listen on 192.0.2.1:0 for REST: "),
        (("bigquery", "--host", "no-such-host.invalid"), 1, "cannot listen on no-such-host.invalid:0 for REST: "),
        (("pubsub", "--control-port", "x"), 2, "argument --control-port: 'x' is not a port"),
        (("pubsub", "--host", "192.0.2.1"), 1, "cannot listen for calls on 192.0.2.1:0"),
    ],
)
def test_an_emulator_says_what_it_cannot_listen_on(arguments: tuple[str, ...], code: int, said: str, tmp_path) -> None:
    name, *options = arguments
    free = (
        ("--rest-port", "0", "--grpc-port", "0", "--data", f"{tmp_path}/x") if name == "bigquery" else ("--port", "0")
    )
    done = refused(name, *free, *options) if code == 2 else process.run(f"emulators.{name}", *free, *options)
    assert (done.returncode, done.stdout) == (code, "")
    assert said in done.stderr.splitlines()[-1], done.stderr
