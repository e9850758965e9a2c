"""The operator's commands on the local stack: `python -m local ops …`, as `make ops` runs it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from services.ops.__main__ import COMMANDS
from services.shared import resource_names
from tests.ops.conftest import DEAD_SUBSCRIPTION, WAIT, Pipeline
from tests.process import ROOT


def local(data: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "local", "ops", "--data", str(data), *arguments],
        cwd=ROOT,
        env={key: value for key, value in os.environ.items() if not key.endswith("_EMULATOR_HOST")} | environ,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.slow
def test_the_stack_that_runs_is_operated(pipeline: Pipeline, running: Path) -> None:
    pipeline.bury(b"odd", {"dead_reason": "odd", "dead_source": resource_names.HITS_SUBSCRIPTION})
    listed = local(running, "dead", "list", "--subscription", DEAD_SUBSCRIPTION, *WAIT)
    assert listed.returncode == 0, listed.stderr
    assert resource_names.HITS_SUBSCRIPTION in listed.stdout
    replayed = local(running, "replay", "--dry-run")
    assert (replayed.returncode, '"found": 0' in replayed.stdout) == (0, True), replayed.stderr
    compacted = local(running, "compact", "--date", "2026-03-01", "--table", "nothing")
    assert compacted.returncode == 1
    assert "no table 'nothing'; it has events, rejects" in compacted.stdout


def test_without_a_stack_it_says_so(tmp_path: Path) -> None:
    refused = local(tmp_path, "dead", "list")
    assert refused.returncode == 1
    assert f"nothing runs with the data in {tmp_path}" in refused.stderr


def test_what_needs_no_stack_works_without_one(tmp_path: Path) -> None:
    assert '"total"' in local(tmp_path, "cost", "--hits-per-second", "5").stdout
    assert "make run" in local(tmp_path, "trace", "x").stderr


@pytest.mark.parametrize("arguments", [(), ("--help",)])
def test_the_commands_are_listed_under_the_name_that_was_typed(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    listed = local(tmp_path, *arguments, PIXELPIPE_COMMAND="pixelpipe")
    assert listed.returncode == (0 if arguments else 2)
    said = listed.stdout if arguments else listed.stderr
    assert said.startswith("usage: pixelpipe COMMAND …\n")
    for name, text in COMMANDS.items():
        assert re.search(rf"^  {name} +{re.escape(text)}$", said, re.MULTILINE)


def test_a_command_of_the_running_stack_has_the_name_that_was_typed(running: Path) -> None:
    assert local(running, "trace", "--help").stdout.startswith("usage: python -m local ops trace ")
    assert local(running, "trace", "--help", PIXELPIPE_COMMAND="pixelpipe").stdout.startswith("usage: pixelpipe trace ")
