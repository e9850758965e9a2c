"""No channel that is closed ends gRPC's threads: to wait for them there can be for ever."""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from tests import process
from tests.process import ROOT, wait_for

pytestmark = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="threads are read from Linux' /proc")
THREADS = "event_engine"  # their name, as gRPC gives it
CLOSING = """
import grpc, sys, time
from services.shared import event_engine
from tests.shared.test_event_engine import threads
if sys.argv[1] == "kept":
    event_engine.keep()
with grpc.insecure_channel("127.0.0.1:1") as channel:
    try:
        channel.unary_unary("/service/method")(b"", timeout=60)
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.UNAVAILABLE, error
end = time.monotonic() + (1 if sys.argv[1] == "kept" else 60)
while threads("self") and time.monotonic() < end:
    time.sleep(0.02)
print(threads("self"))
"""


def threads(process: object) -> int:
    """How many of gRPC's threads it has."""
    found = 0
    for one in Path(f"/proc/{process}/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
            found += (one / "comm").read_text().strip() == THREADS
    return found


@pytest.mark.parametrize(("how", "stay"), [("kept", True), ("not kept", False)])
def test_the_last_channel_that_is_closed_leaves_the_threads(how: str, stay: bool) -> None:
    """And Python ends as ever. Where they are not kept they go: once they stay, gRPC is repaired, and this can go."""
    done = subprocess.run([sys.executable, "-c", CLOSING, how], cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stderr) == (0, "")
    assert (int(done.stdout) > 0) is stay


def test_every_service_keeps_them() -> None:
    service = process.start("tests.shared.ending_service", env={"PIPE_HOW": "works"}, wait_ready=False)
    wait_for(lambda: "running" in service.output(), what="its start")
    assert threads(service.process.pid) > 0
    assert service.stop() == 0
    service.log.unlink()
