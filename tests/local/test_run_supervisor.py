from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from local.run_file import alive
from tests import process

ACTOR = ("tests.local.run_actor", "stack")


def stack(logs: Path, *roles: str) -> AbstractContextManager[process.Child]:
    return process.running(*ACTOR, str(logs), *roles)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_all_children_and_the_supervisor_with_0(tmp_path: Path, how: signal.Signals) -> None:
    with stack(tmp_path, "calm") as started:
        assert started.stop(how) == 0, started.output()
        assert not alive(started.ready["pids"]["calm"])


def test_a_child_that_does_not_end_is_killed_with_a_line(tmp_path: Path) -> None:
    with stack(tmp_path, "calm", "stubborn") as started:
        assert started.stop() == 1
        assert "killing stubborn: it did not end" in started.output()
        assert not any(alive(pid) for pid in started.ready["pids"].values())


def test_children_end_in_reverse_order(tmp_path: Path) -> None:
    with stack(tmp_path, "stubborn", "calm") as started:
        assert started.stop() == 1
        said = started.output()
        assert said.index("calm ended") < said.index("killing stubborn")


def test_children_do_not_outlive_a_killed_supervisor(tmp_path: Path) -> None:
    with stack(tmp_path, "calm", "stubborn") as started:
        pids = started.ready["pids"].values()
        assert all(alive(pid) for pid in pids)
        started.stop(signal.SIGKILL)
        process.wait_for(lambda: not any(alive(pid) for pid in pids), 60, "the end of the children")


def test_a_child_that_dies_ends_all_and_its_log_is_shown(tmp_path: Path) -> None:
    with stack(tmp_path, "calm", "brief") as started:
        assert started.process.wait(60) == 4
        said = started.output()
        assert "brief ended: exit code 3; the end of" in said
        assert "line 29" in said and "line 9\n" not in said  # the last twenty lines, no more


def test_a_child_killed_from_outside_is_named_with_the_signal(tmp_path: Path) -> None:
    with stack(tmp_path, "calm", "stubborn") as started:
        os.kill(started.ready["pids"]["calm"], signal.SIGKILL)
        assert started.process.wait(60) == 4
        assert "calm ended: killed by SIGKILL" in started.output()
        assert not alive(started.ready["pids"]["stubborn"])


def test_the_log_of_the_run_before_is_kept(tmp_path: Path) -> None:
    (tmp_path / "calm.log").write_text("before\n")
    with stack(tmp_path, "calm") as started:
        started.stop()
        assert (tmp_path / "calm.log.1").read_text() == "before\n"
        assert "before" not in (tmp_path / "calm.log").read_text()


def ask(started: process.Child, do: str, name: str) -> None:
    """As the page does; the answer is in the output."""
    assert started.process.stdin is not None
    started.process.stdin.write(json.dumps({"do": do, "name": name}).encode() + b"\n")
    started.process.stdin.flush()


def says(started: process.Child, text: str) -> None:
    process.wait_for(lambda: text in started.output(), 60, f"{text!r} in the output: {started.output()}")


@pytest.fixture
def asked(tmp_path: Path) -> Iterator[process.Child]:
    with process.running(*ACTOR, str(tmp_path), "calm+", "stubborn", pipe=True) as started:
        yield started


def test_a_service_that_dies_is_reported_in_one_line_and_the_rest_goes_on_until_a_signal(tmp_path: Path) -> None:
    with stack(tmp_path, "calm", "brief+") as started:
        says(started, "brief ended: exit code 3; the rest goes on; see ")
        assert started.output().count("\n") == 1
        assert alive(started.ready["pids"]["calm"])
        assert started.stop() == 0, started.output()
        assert not alive(started.ready["pids"]["calm"])


def test_a_service_that_dies_while_it_starts_fails_the_start(tmp_path: Path) -> None:
    with process.running(*ACTOR, str(tmp_path), "calm", "stillborn+", wait_ready=False) as started:
        assert started.process.wait(60) == 4
        assert "stillborn ended: exit code 7; the end of" in started.output()


def test_a_service_is_killed_stopped_and_started_as_the_page_asks(asked: process.Child) -> None:
    first = asked.ready["pids"]["calm"]
    ask(asked, "kill", "calm")
    says(asked, "calm ended, as the page asked: killed by SIGKILL")
    says(asked, 'answer {"name": "calm", "status": "ended"}')
    assert not alive(first)
    ask(asked, "stop", "calm")
    says(asked, 'answer {"error": "calm is not running"}')
    ask(asked, "start", "calm")
    says(asked, 'answer {"name": "calm", "status": "starting"}')
    says(asked, "calm is ready again")
    ask(asked, "start", "calm")
    says(asked, 'answer {"error": "calm is running already"}')
    ask(asked, "stop", "calm")
    says(asked, "calm ended, as the page asked: killed by SIGTERM")
    assert asked.stop() == 1  # the stubborn one had to be killed


def test_what_cannot_be_asked_for_is_answered_and_ends_nothing(asked: process.Child) -> None:
    ask(asked, "kill", "stubborn")
    says(asked, 'answer {"error": "kill stubborn: nothing here can be asked for that"}')
    ask(asked, "eat", "calm")
    says(asked, 'answer {"error": "eat calm: nothing here can be asked for that"}')
    assert asked.process.stdin is not None
    asked.process.stdin.write(b"no json\n")
    asked.process.stdin.flush()
    says(asked, 'answer {"error": "Expecting value')
    assert alive(asked.ready["pids"]["calm"])
