"""Outages and restarts, rehearsed from the page: it shows where, and nothing is lost."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from tests import process
from tests.local import page_client
from tests.local.page_client import Page, new_id
from tests.local.run_stack import Stack

WELL = {"collector": "ready", "processor": "ready", "loader": "ready", "pubsub": "running", "bigquery": "running"}


@pytest.fixture
def page(stack: Stack) -> Iterator[Page]:
    found = page_client.of(stack)
    yield found
    found.post("/api/reset")
    for part in found.state()["parts"]:
        if part["can"] == ["start"]:
            found.post(f"/api/services/{part['name']}/start")
    process.wait_for(lambda: well(found), 90, "all to be well again")


def well(page: Page) -> bool:
    state = page.state()
    return state["trouble"] == [] and {part["name"]: part["status"] for part in state["parts"]} == WELL


def trouble(page: Page, part: str, text: str) -> dict[str, Any]:
    """The state, once it has this trouble."""

    def found() -> dict[str, Any] | None:
        state = page.state()
        wrong = any(one["part"] == part and text in one["text"] for one in state["trouble"])
        return state if wrong else None

    state: dict[str, Any] = process.wait_for(found, 60, f"trouble of {part}: {text}; it says {page.state()['trouble']}")
    return state


def nothing_is_missing(page: Page) -> bool:
    hours = page.get("/api/proof")["hours"]
    collected = sum(hour["collected"] for hour in hours)
    return collected > 0 and all(hour["difference"] == 0 == hour["in_flight"] for hour in hours)


def told(page: Page, event_id: str) -> str | None:
    """The outcome of its story; None while it has none."""
    reply = requests.get(f"{page.url}/api/story", params={"event_id": event_id}, timeout=page_client.TIMEOUT)
    return str(reply.json()["outcome"]) if reply.status_code == 200 else None


def flows(state: dict[str, Any]) -> dict[str, str]:
    return {f"{flow['from']} {flow['to']}": flow["state"] for flow in state["flows"]}


def test_a_killed_loader_is_shown_and_started_again_and_loses_nothing(stack: Stack, page: Page) -> None:
    one, before = new_id(), page.part("loader")["pid"]
    assert page.post("/api/services/loader/kill") == {"name": "loader", "status": "ended"}
    state = trouble(page, "loader", "the loader has ended: killed by SIGKILL")
    assert flows(state)["loader bigquery"] == flows(state)["rows loader"] == "blocked"
    assert flows(state)["collector hits"] != "blocked"
    assert page.part("loader")["can"] == ["start"]
    assert stack.fire(f"event_id={one}&user_id=ada") == 200
    assert page.get("/api/events", event_id=one, wait=1)["items"] == []
    process.wait_for(lambda: told(page, one) == "in_flight", 60, "the page to have its request")
    assert page.refused("/api/services/loader/kill") == (409, {"message": "loader is not running"})
    assert page.post("/api/services/loader/start")["status"] == "starting"
    assert page.refused("/api/services/loader/start")[0] == 409
    assert page.becomes("loader", "ready")["pid"] != before
    assert page.get("/api/events", event_id=one, wait=30)["complete"]
    process.wait_for(lambda: nothing_is_missing(page), 60, "the proof to close, whatever the counts of the loader")
    assert any("loader was started again" in note for note in page.well()["ledger"]["notes"])
    assert stack.pids()["loader"] != before
    assert "loader ended, as the page asked: killed by SIGKILL" in stack.said()


@pytest.mark.slow
def test_a_service_killed_from_outside_does_not_end_the_stack(stack: Stack, page: Page) -> None:
    os.kill(stack.pids()["processor"], signal.SIGKILL)
    trouble(page, "processor", "the processor has ended: killed by SIGKILL")
    said = next(line for line in stack.said().splitlines() if "processor ended: killed by SIGKILL" in line)
    assert said.endswith(f"start it again at {page.url}")
    page.post("/api/services/processor/start")
    page.becomes("processor", "ready")


@pytest.mark.slow
def test_a_stopped_collector_ends_cleanly_and_comes_back_at_its_port(stack: Stack, page: Page) -> None:
    page.post("/api/services/collector/stop")
    assert page.becomes("collector", "stopped")["why"] == "exit code 0"
    page.post("/api/services/collector/start")
    page.becomes("collector", "ready")
    assert stack.fire("user_id=ada") == 200


@pytest.mark.slow
def test_bigquery_killed_has_what_it_acknowledged_when_it_comes_back(stack: Stack, page: Page) -> None:
    one = new_id()
    stack.fire(f"event_id={one}&user_id=ada")
    assert page.get("/api/events", event_id=one, wait=30)["complete"]
    page.post("/api/services/bigquery/kill")
    state = trouble(page, "bigquery", "BigQuery has ended: killed by SIGKILL")
    assert flows(state)["loader bigquery"] == "blocked"
    assert page.refused("/api/events", method="GET")[0] == 503
    page.post("/api/services/bigquery/start")
    page.becomes("bigquery", "running")
    assert page.get("/api/events", event_id=one, wait=30)["complete"]


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("/api/services/pubsub/kill", 400, "what the Pub/Sub emulator holds is in memory and the stack ends with it"),
        ("/api/services/page/stop", 404, "'page' cannot be started or stopped here"),
        ("/api/services/nothing/stop", 404, "'nothing' cannot be started or stopped here"),
        ("/api/services/loader/eat", 404, "use one of kill, stop, start"),
        ("/api/services/loader/start", 409, "loader is running already"),
    ],
)
def test_what_cannot_be_restarted_is_refused(page: Page, path: str, status: int, said: str) -> None:
    found, error = page.refused(path)
    assert (found, error["message"][: len(said)]) == (status, said)


@pytest.mark.slow
def test_an_outage_of_pubsub_shows_where_it_is_and_loses_nothing(stack: Stack, page: Page) -> None:
    one = new_id()
    fault = page.post("/api/faults", {"target": "pubsub", "effect": "error", "seconds": 300})
    assert fault["id"].startswith("pubsub-")
    assert fault["text"] == "Pub/Sub is down: all calls fail with UNAVAILABLE"
    assert fault["means"] == "Hits wait on the collector's disk; nothing is lost."
    assert stack.fire(f"event_id={one}&user_id=ada") == 200
    state = trouble(page, "pubsub", "the collector cannot publish")
    assert flows(state)["collector hits"] == "blocked"
    trouble(page, "spool", "1 hit is safe on the collector's disk")
    assert page.well()["queues"]["spool"]["hits"] == page.well()["ledger"]["spooled"] == 1
    process.wait_for(lambda: [one["id"] for one in page.state()["faults"]] == [fault["id"]], 60, "the fault alone")
    assert page.refused(f"/api/faults/{fault['id']}0", method="DELETE")[0] == 404
    page_delete(page, f"/api/faults/{fault['id']}")
    assert page.get("/api/events", event_id=one, wait=30)["complete"]
    process.wait_for(lambda: nothing_is_missing(page), 60, "the proof to close")


def page_delete(page: Page, path: str) -> Any:
    reply = requests.delete(page.url + path, timeout=60)
    assert reply.status_code == 200, reply.text
    return reply.json()


@pytest.mark.slow
def test_appends_that_fail_are_trouble_of_bigquery(stack: Stack, page: Page) -> None:
    one = new_id()
    page.post("/api/faults", {"target": "bigquery", "effect": "append_error", "code": "ABORTED", "times": 3})
    stack.fire(f"event_id={one}&user_id=ada")
    state = trouble(page, "bigquery", "appends to BigQuery failed in the last 10 s: ABORTED")
    assert flows(state)["loader bigquery"] == "blocked"
    assert page.get("/api/events", event_id=one, wait=30)["complete"]
    assert page_delete(page, "/api/faults")["removed"] == 1


def test_a_fault_that_cannot_be_set_is_explained(page: Page) -> None:
    assert page.refused("/api/faults", {"target": "mars", "effect": "error"})[1]["message"] == (
        "target: use one of pubsub, bigquery"
    )
    assert (
        "unknown effect, 'quota'" in page.refused("/api/faults", {"target": "pubsub", "effect": "quota"})[1]["message"]
    )
    assert page.refused("/api/faults/bigquery-99", method="DELETE") == (404, {"message": "no fault 99 is set"})
    assert page.refused("/api/faults/x", method="DELETE")[0] == 404


def test_the_examples_are_faults_that_the_emulators_take(page: Page) -> None:
    for example in page.get("/api/faults/examples"):
        fault = page.post("/api/faults", example["fault"])
        assert example["text"] and fault["expires_in"] is not None
        page_delete(page, f"/api/faults/{fault['id']}")


def test_a_service_that_hangs_is_named_with_its_log(stack: Stack, page: Page) -> None:
    loader = stack.pids()["loader"]
    said = f"loader did not answer in 1 s; see its log {stack.data}/logs/loader.log"
    os.kill(loader, signal.SIGSTOP)
    try:
        trouble(page, "loader", said)
        process.wait_for(lambda: page.state()["ledger"] == {"error": said}, 60, "the ledger to say it too")
    finally:
        os.kill(loader, signal.SIGCONT)
