"""The ledger of the whole pipeline, on the page and as a command: what is fired is accounted for, outage or not."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from google.cloud import pubsub_v1

from services.shared import resource_names
from services.shared.resource_names import topic_path
from tests import process
from tests.emulators.fault_client import Control
from tests.local import run_stack
from tests.local.run_stack import Stack
from tests.processor.test_log_entry import ENTRY


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with run_stack.running(tmp_path_factory.mktemp("stack"), **run_stack.PATIENT) as running:
        yield running


def row(stack: Stack) -> dict[str, Any]:
    """The ledger once every service has told its numbers: the page may have asked one before it was up."""

    def told() -> dict[str, Any] | None:
        found: dict[str, Any] = requests.get(f"{stack.url('page')}/api/state", timeout=60).json()["ledger"]
        return found if found["error"] is None else None

    return process.wait_for(told, 60, "the numbers of every service")


def arrived(stack: Stack, collected: int) -> dict[str, Any]:
    """The row once nothing is on its way any more."""

    def settled() -> dict[str, Any] | None:
        found = row(stack)
        return found if (found["collected"], found["in_flight"], found["spooled"]) == (collected, 0, 0) else None

    try:
        return process.wait_for(settled, 60, f"{collected} hits to be settled")
    except AssertionError as error:
        raise AssertionError(f"{error}; the ledger says {row(stack)}") from None


def test_the_ledger_closes_and_tells_what_is_spooled(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", stack.url("pubsub").removeprefix("http://"))
    publisher = pubsub_v1.PublisherClient()
    topic = topic_path("local", resource_names.HITS_TOPIC)
    assert row(stack)["collected"] == 0

    for number in range(20):
        assert stack.fire(f"user_id=u{number}&type=view") == 200
    for _ in range(3):
        assert stack.fire("type=no-user") == 200
    publisher.publish(topic, json.dumps(ENTRY).encode()).result(60)
    publisher.publish(topic, b"no log entry").result(60)
    found = arrived(stack, 25)
    assert (found["loaded"], found["rejected"], found["dead"], found["missing"]) == (21, 3, 1, 0)
    assert found["hops"] == {"spool": 0, "hits": 0, "rows": 0}
    assert found["notes"] == []

    # A pack of another source is more than was collected: below 0, which hides nothing.
    publisher.publish(topic, b"no pack", schema="hit/1", count="4", pack="x").result(60)
    surplus = process.wait_for(lambda: (now := row(stack))["dead"] == 5 and now, 60, "the dead pack")
    assert (surplus["in_flight"], surplus["hops"]["hits"], surplus["missing"]) == (-4, -4, 0)
    publisher.stop()


@pytest.mark.slow
def test_an_outage_of_pubsub_is_spooled_and_then_loaded(stack: Stack) -> None:
    before = row(stack)
    control = Control(stack.running().ports.pubsub_control)
    with control.on("error", method="Publish"):
        for number in range(30):
            assert stack.fire(f"user_id=out{number}&type=view") == 200
        held = process.wait_for(lambda: (now := row(stack))["spooled"] == 30 and now, 60, "30 hits in the spool")
        assert held["collected"] == before["collected"] + 30
        assert held["loaded"] == before["loaded"]
        assert (held["in_flight"], held["missing"]) == (before["in_flight"], 0)

    def loaded() -> dict[str, Any] | None:
        now = row(stack)
        return now if now["loaded"] == before["loaded"] + 30 and now["spooled"] == 0 else None

    after = process.wait_for(loaded, 60, "the spool's hits to be loaded")
    assert (after["in_flight"], after["missing"]) == (before["in_flight"], 0)


def test_rows_bigquery_refuses_and_packs_that_come_twice_leave_nothing_missing(stack: Stack) -> None:
    before = row(stack)
    ports = stack.running().ports
    with (
        Control(ports.bigquery_control).on("row_errors", share=1, resource="events_log"),
        Control(ports.pubsub_control).on("duplicate", share=1),
    ):
        for number in range(10):
            assert stack.fire(f"user_id=twice{number}&type=view") == 200

        def settled() -> dict[str, Any] | None:
            now = row(stack)
            known = sum(now["duplicates"].values()) > sum(before["duplicates"].values())
            surplus = now["hops"]["hits"] < before["hops"]["hits"]  # more came out than went in
            rejected = now["rejected"] >= before["rejected"] + 10
            return now if rejected and known and surplus and now["missing"] == 0 else None

        after = process.wait_for(settled, 60, "ten rejects of the loader, and packs known already")
    assert after["loaded"] == before["loaded"]


def test_the_operators_command_says_the_same(stack: Stack) -> None:
    command = [sys.executable, "-m", "local", "ops", "--data", str(stack.data), "ledger", "--json"]

    for _ in range(10):  # what comes twice may still be counted, and the page's row may be two seconds old
        said = subprocess.run(command, cwd=process.ROOT, capture_output=True, text=True, timeout=60)
        assert said.returncode == 0, said.stderr
        shown = row(stack)
        del shown["error"]
        if json.loads(said.stdout) == shown:
            break
    assert json.loads(said.stdout) == shown


def test_the_doctor_is_given_the_ports_of_the_stack(stack: Stack) -> None:
    command = [sys.executable, "-m", "local", "ops", "--data", str(stack.data), "doctor"]
    said = subprocess.run(command, cwd=process.ROOT, capture_output=True, text=True, timeout=60)
    found = {one["check"]: one["state"] for one in json.loads(said.stdout)["checks"]}
    services = {
        name: state for name, state in found.items() if name.startswith(("loader ", "processor ", "collector "))
    }
    assert list(services.values()) == ["ok"] * 3, said.stdout
    assert (found["versions"], found["views"], found["public URL"]) == ("ok", "ok", "ok"), said.stdout
    # The tests above left some.
    assert (found["dead letters"], said.returncode) == ("do", 1), said.stdout


def test_the_smoke_test_is_sent_to_the_stack_that_runs(stack: Stack) -> None:
    command = [sys.executable, "-m", "local", "ops", "--data", str(stack.data), "smoke"]
    said = subprocess.run(command, cwd=process.ROOT, capture_output=True, text=True, timeout=60)
    assert said.returncode == 0, said.stderr
    assert json.loads(said.stdout)["acknowledged"] is True


@pytest.mark.parametrize("arguments", [["smoke", "--help"], ["export", "--help"], []])
def test_help_needs_no_stack(arguments: list[str], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "local", "ops", "--data", str(tmp_path), *arguments]
    said = subprocess.run(command, cwd=process.ROOT, capture_output=True, text=True, timeout=60)
    assert "usage: python -m local ops" in said.stdout + said.stderr
