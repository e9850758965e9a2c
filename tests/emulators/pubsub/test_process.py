"""The emulator as a process: its port, its ready line, its memory cap, its idle cost, and how it ends."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import grpc
import pytest
from google.api_core import exceptions

from tests import process
from tests.emulators.pubsub_client import Desk, Stream

MODULE = "emulators.pubsub"


def wake_ups(pid: int) -> int:
    """How often the event loop's thread went to sleep of itself, which is how often it was woken."""
    return int(Path(f"/proc/{pid}/status").read_text().partition("\nvoluntary_ctxt_switches:")[2].split()[0])


def listeners(port: int) -> set[str]:
    """Local addresses in LISTEN state on a port, as /proc shows them (hex)."""
    rows = [row.split() for name in ("tcp", "tcp6") for row in Path(f"/proc/net/{name}").read_text().splitlines()[1:]]
    return {row[1].partition(":")[0] for row in rows if row[3] == "0A" and int(row[1].rpartition(":")[2], 16) == port}


def test_it_listens_on_loopback_only_and_says_where() -> None:
    with process.running(MODULE, "--port", "0") as emulator:
        assert list(emulator.ready) == ["grpc"]
        assert listeners(emulator.ready["grpc"])
        assert listeners(emulator.ready["grpc"]) <= {"0100007F", "0000000000000000FFFF00000100007F"}


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_open_calls_with_unavailable_and_the_process_with_zero(
    how: signal.Signals, project: str
) -> None:
    with process.running(MODULE, "--port", "0") as emulator:
        host = f"127.0.0.1:{emulator.ready['grpc']}"
        with Desk(host, project) as desk:
            topic = desk.topic()
            subscription = desk.subscription(topic)
            desk.publish(topic, b"x")
            unread = desk.subscription(topic, "unread")
            desk.publish(topic, *[b"x" * 1_000_000] * 9)
            waiting = desk.subscription(topic, "waiting")
            async with Stream(host, subscription) as stream, Stream(host, unread):
                await stream.read(10)
                pulling = desk.start_pull(waiting)
                # On one connection calls are taken up in order: once this one is answered, the pull is waiting.
                desk.publisher.get_topic(topic=topic)
                stopped = asyncio.create_task(asyncio.to_thread(emulator.stop, how, 40))
                assert (await stream.status())[0] == "UNAVAILABLE"
                assert await asyncio.to_thread(pulling.code) is grpc.StatusCode.UNAVAILABLE
                assert await stopped == 0
        assert emulator.output() == ""


async def test_clients_that_vanish_in_the_middle_leave_no_trace_in_the_log(project: str) -> None:
    with process.running(MODULE, "--port", "0") as emulator:
        host = f"127.0.0.1:{emulator.ready['grpc']}"
        with Desk(host, project) as desk:
            topic = desk.topic()
            subscription = desk.subscription(topic)
            for _ in range(10):
                desk.publish(topic, *[b"x" * 100_000] * 20)
            for cut in range(12):
                async with Stream(host, subscription, max_outstanding_messages=10) as stream:
                    if cut % 3 == 1:
                        await stream.read(1)
                    elif cut % 3 == 2:
                        reading = asyncio.ensure_future(stream.call.read())
                        await asyncio.wait({reading}, timeout=0.01)
            assert len(desk.pull(subscription)) > 0
        assert emulator.stop() == 0
        assert emulator.output() == ""


def test_a_taken_port_is_named_in_one_line_and_refused() -> None:
    with process.running(MODULE, "--port", "0") as emulator:
        port = str(emulator.ready["grpc"])
        second = subprocess.run(
            [sys.executable, "-m", MODULE, "--port", port], cwd=process.ROOT, capture_output=True, text=True, timeout=60
        )
    assert second.returncode == 1
    assert second.stdout == ""
    assert len(second.stderr.splitlines()) == 1
    assert f"127.0.0.1:{port}" in second.stderr


def test_a_port_taken_by_a_sharing_listener_is_refused_too() -> None:
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        second = process.start(MODULE, "--port", port, wait_ready=False)
        assert second.process.wait(60) == 1
        assert port in second.output()
        second.log.unlink()


@pytest.mark.parametrize("arguments", [["--port", "65536"], ["--port", "-1"], ["--port", "x"], ["--max-bytes", "0"]])
def test_arguments_that_make_no_sense_are_refused(arguments: list[str]) -> None:
    emulator = process.start(MODULE, *arguments, wait_ready=False)
    assert emulator.process.wait(60) == 2
    assert arguments[0] in emulator.output()
    emulator.log.unlink()


def test_publishing_above_the_memory_cap_is_refused_until_acks_make_room(project: str) -> None:
    with (
        process.running(MODULE, "--port", "0", "--max-bytes", "3000000") as emulator,
        Desk(f"127.0.0.1:{emulator.ready['grpc']}", project) as desk,
    ):
        topic = desk.topic()
        subscription = desk.subscription(topic)
        for _ in range(3):
            desk.publish(topic, b"x" * 1_000_000)
        with pytest.raises(exceptions.ResourceExhausted, match="--max-bytes"):
            desk.requests.publish(topic=topic, messages=[{"data": b"x"}], retry=None)
        desk.ack(subscription, desk.pull(subscription))
        desk.publish(topic, b"x")


async def test_idle_streams_and_held_leases_do_not_wake_the_event_loop(project: str) -> None:
    with process.running(MODULE, "--port", "0") as emulator:
        host = f"127.0.0.1:{emulator.ready['grpc']}"
        with Desk(host, project) as desk:
            topic = desk.topic()
            subscription = desk.subscription(topic)
            desk.publish(topic, *[b"x"] * 1_000)
            async with Stream(host, subscription, stream_ack_deadline_seconds=600) as stream:
                await stream.read(1)  # before the other opens, which could take them all
                async with Stream(host, subscription, stream_ack_deadline_seconds=600):
                    rates: list[float] = []
                    while len(rates) < 10 and (not rates or rates[-1] >= 20):  # the stream may still be opening
                        before, start = wake_ups(emulator.process.pid), time.monotonic()
                        await asyncio.sleep(1)
                        rates.append((wake_ups(emulator.process.pid) - before) / (time.monotonic() - start))
    assert rates[-1] < 20, rates
