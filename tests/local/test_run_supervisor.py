from __future__ import annotations

import os
import signal
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from local.run_file import alive
from tests import process


def stack(logs: Path, *roles: str) -> AbstractContextManager[process.Child]:
    return process.running("tests.local.run_actor", "stack", str(logs), *roles)


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
        process.wait_for(lambda: not any(alive(pid) for pid in pids), 10, "the end of the children")


def test_a_child_that_dies_ends_all_and_its_log_is_shown(tmp_path: Path) -> None:
    with stack(tmp_path, "calm", "brief") as started:
        assert started.process.wait(20) == 4
        said = started.output()
        assert "brief ended: exit code 3; the end of" in said
        assert "line 29" in said and "line 9\n" not in said  # the last twenty lines, no more


def test_a_child_killed_from_outside_is_named_with_the_signal(tmp_path: Path) -> None:
    with stack(tmp_path, "calm", "stubborn") as started:
        os.kill(started.ready["pids"]["calm"], signal.SIGKILL)
        assert started.process.wait(20) == 4
        assert "calm ended: killed by SIGKILL" in started.output()
        assert not alive(started.ready["pids"]["stubborn"])


def test_the_log_of_the_run_before_is_kept(tmp_path: Path) -> None:
    (tmp_path / "calm.log").write_text("before\n")
    with stack(tmp_path, "calm") as started:
        started.stop()
        assert (tmp_path / "calm.log.1").read_text() == "before\n"
        assert "before" not in (tmp_path / "calm.log").read_text()
