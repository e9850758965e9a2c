"""What ends a service besides a signal, as a process of its own: exit code 1, and one line that names it."""

from __future__ import annotations

import json
import signal

import pytest

from tests import process
from tests.shared.ending_service import CHATTERS, FAILS, GIVEN_UP, HANGS, RETURNS, THREAD


def messages(service: process.Child) -> list[str]:
    return [json.loads(line)["message"] for line in service.output().splitlines()]


@pytest.mark.parametrize(
    ("how", "task", "trace"),
    [
        (FAILS, "the work: OSError('the disk is gone')", "OSError: the disk is gone"),
        (RETURNS, "the work: it returned", ""),
        (GIVEN_UP, "the work: what it waited for was cancelled", "CancelledError"),
        (THREAD, 'thread leaser: ValueError("a library\'s bug")', "ValueError: a library's bug"),
    ],
)
def test_work_that_ends_early_ends_the_process_and_is_named(how: str, task: str, trace: str) -> None:
    service = process.start("tests.shared.ending_service", env={"PIPE_HOW": how}, wait_ready=False)
    assert service.process.wait(60) == 1, service.output()
    assert messages(service) == ["running", "left in order", "background task ended"]
    last = json.loads(service.output().splitlines()[-1])
    assert (last["severity"], last["task"]) == ("ERROR", task)
    assert trace in last.get("exception", "")
    service.log.unlink()


@pytest.mark.parametrize("how", ["works", HANGS])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_nothing_to_say(number: int, how: str) -> None:
    """Also where a thread hangs, on a disk or in a library."""
    service = process.start("tests.shared.ending_service", env={"PIPE_HOW": how}, wait_ready=False)
    process.wait_for(lambda: "running" in service.output(), what="its start")
    assert service.stop(number) == 0
    assert messages(service) == ["running", "left in order"]
    service.log.unlink()


def test_a_library_says_the_same_thing_once_a_minute() -> None:
    service = process.start("tests.shared.ending_service", env={"PIPE_HOW": CHATTERS}, wait_ready=False)
    process.wait_for(lambda: "something else" in service.output(), what="the last of its lines")
    assert service.stop() == 0
    assert messages(service) == ["running", "attempt 0 failed", "something else", "left in order"]
    service.log.unlink()
