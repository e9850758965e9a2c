"""The control port itself, and the command that speaks to it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from local import run_file
from local.ports import Ports
from local.run_file import Running
from tests import process
from tests.emulators.fault_client import Control
from tests.emulators.pubsub_client import Desk

MODULE = "emulators.pubsub"


@pytest.fixture(scope="module")
def control() -> Iterator[Control]:
    with process.running(MODULE, "--port", "0", "--control-port", "0") as emulator:
        assert list(emulator.ready) == ["grpc", "control"]
        found = Control(emulator.ready["control"])
        found.host = f"127.0.0.1:{emulator.ready['grpc']}"
        yield found


@pytest.fixture(autouse=True)
def nothing_left(control: Control) -> Iterator[None]:
    yield
    control.clear()


def test_what_is_set_is_listed_until_it_is_removed(control: Control) -> None:
    first = control.add("error", method="Publish", share=0.5)
    assert first["code"] == "UNAVAILABLE"
    assert (first["applied"], first["ends_in"]) == (0, None)
    second = control.add("latency", delay=2, seconds=1000)
    assert 0 < second["ends_in"] <= 1000
    assert [fault["id"] for fault in control.listed()] == [first["id"], second["id"]]
    assert control.remove(first["id"]) == 200
    assert control.remove(first["id"]) == 404
    assert [fault["effect"] for fault in control.listed()] == ["latency"]
    assert control.clear() == 1
    assert control.listed() == []


def test_a_wrong_fault_is_refused_by_name_and_not_set(control: Control) -> None:
    assert "'Publsh'" in control.refused('{"effect": "error", "method": "Publsh"}')
    assert "unknown effect, 'row_errors'" in control.refused('{"effect": "row_errors"}')
    assert "malformed" in control.refused(b"\xff{")
    assert control.listed() == []


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/", b"", 404),
        ("PUT", "/faults", b"{}", 405),
        ("POST", "/faults", b"x" * 100_000, 413),
        ("DELETE", "/faults/no", b"", 404),
    ],
)
def test_other_requests_have_a_json_error(control: Control, method: str, path: str, body: bytes, status: int) -> None:
    answer = requests.request(method, control.url.removesuffix("/faults") + path, data=body, timeout=60)
    assert answer.status_code == status
    assert answer.json()["error"]


@pytest.mark.parametrize("headers", [{"Origin": "http://127.0.0.1:8000"}, {"Host": "attacker.example:8086"}])
def test_pages_of_a_browser_set_nothing(control: Control, headers: dict[str, str]) -> None:
    answer = requests.post(control.url, data='{"effect": "error"}', headers=headers, timeout=60)
    assert answer.status_code == 403
    assert control.listed() == []


def test_what_waits_in_subscriptions_is_listed(control: Control) -> None:
    url = control.url.replace("/faults", "/backlogs")
    with Desk(control.host, "backlogs") as desk:
        subscription = desk.subscription(desk.topic())
        nothing = {
            "subscription": subscription,
            "topic": desk.topic_path("hits"),
            "messages": 0,
            "oldest_seconds": None,
        }
        assert nothing in requests.get(url, timeout=60).json()["backlogs"]
        desk.publish(desk.topic_path("hits"), b"one", b"two")
        (first,) = desk.pull(subscription, 1)  # leased, and not acked
        (found,) = [one for one in requests.get(url, timeout=60).json()["backlogs"] if one["messages"]]
        assert (found["subscription"], found["messages"]) == (subscription, 2)
        assert 0 <= found["oldest_seconds"] < 60
        desk.ack(subscription, [first, *desk.pull(subscription)])
        assert nothing in requests.get(url, timeout=60).json()["backlogs"]


def test_acked_messages_that_are_retained_do_not_wait(control: Control) -> None:
    url = control.url.replace("/faults", "/backlogs")
    with Desk(control.host, "retained") as desk:
        subscription = desk.subscription(desk.topic(), retain_acked_messages=True)
        desk.publish(desk.topic_path("hits"), b"one")
        desk.ack(subscription, desk.pull(subscription))
        found = [
            one["messages"] for one in requests.get(url, timeout=60).json()["backlogs"] if "retained" in one["topic"]
        ]
        assert found == [0]


def test_there_is_no_control_port_unless_asked_for() -> None:
    with process.running(MODULE, "--port", "0") as emulator:
        assert list(emulator.ready) == ["grpc"]


def test_it_is_on_the_loopback_address_even_where_the_emulator_is_not() -> None:
    with process.running(MODULE, "--host", "0.0.0.0", "--port", "0", "--control-port", "0") as emulator:
        lines = Path(f"/proc/{emulator.process.pid}/net/tcp").read_text().splitlines()[1:]
        found = [line.split()[1] for line in lines if line.split()[3] == "0A"]
        assert f"0100007F:{emulator.ready['control']:04X}" in found
        assert f"00000000:{emulator.ready['control']:04X}" not in found


@pytest.mark.parametrize(("module", "rest"), [(MODULE, ("--port", "0")), ("emulators.bigquery", ("--rest-port", "0"))])
def test_a_taken_control_port_is_one_line(tmp_path: Path, module: str, rest: tuple[str, ...]) -> None:
    own = ("--grpc-port", "0", "--data", str(tmp_path / "x.duckdb")) if "bigquery" in module else ()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        ended = process.run(module, *rest, *own, "--control-port", port)
    assert (ended.returncode, ended.stdout) == (1, "")
    (line,) = ended.stderr.splitlines()
    assert port in line and "control" in line


def command(data: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return process.run("local", "fault", *arguments, "--data", str(data))


def test_the_command_sets_lists_and_removes(control: Control, tmp_path: Path) -> None:
    port = int(control.url.removesuffix("/faults").rpartition(":")[2])
    ports = Ports(pubsub_control=port)
    run_file.write(tmp_path, Running(os.getpid(), str(tmp_path), "local", "d", "s", ports, "now", True))
    said = command(tmp_path, "pubsub", '{"effect": "latency", "delay": 1}')
    assert (said.returncode, said.stderr) == (0, "")
    fault = json.loads(said.stdout)
    assert control.listed() == [fault]
    assert json.loads(command(tmp_path, "pubsub").stdout) == fault
    assert command(tmp_path, "pubsub", "--remove", fault["id"]).returncode == 0
    assert control.listed() == []
    control.add("error")
    assert json.loads(command(tmp_path, "pubsub", "--clear").stdout) == {"removed": 1}
    wrong = command(tmp_path, "pubsub", '{"effect": "no"}')
    assert (wrong.returncode, wrong.stdout) == (1, "")
    assert wrong.stderr.startswith("fault: the fault has an unknown effect, 'no'")
    both = command(tmp_path, "pubsub", "{}", "--clear")
    assert "one of them" in both.stderr and both.returncode == 1


def test_the_command_says_that_nothing_runs(tmp_path: Path) -> None:
    said = command(tmp_path, "bigquery", "--clear")
    assert said.returncode == 1
    assert "nothing runs" in said.stderr
