"""Faults asked for at the Pub/Sub emulator's control port, as the official clients meet them."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from google.api_core import exceptions
from google.pubsub_v1 import PublisherClient

from services.shared.resource_names import subscription_path, topic_path
from tests import process
from tests.topics import Topics


class Control:
    """The control port."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}/faults"

    def ask(self, method: str, path: str = "", body: bytes | None = None) -> tuple[int, dict[str, Any]]:
        request = urllib.request.Request(self._url + path, data=body, method=method)
        try:
            with urllib.request.urlopen(request, timeout=10) as reply:
                return reply.status, json.loads(reply.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())

    def set(self, effect: str, **fields: object) -> str:
        status, answer = self.ask("POST", body=json.dumps({"effect": effect, **fields}).encode())
        assert status == 201, answer
        return str(answer["id"])


@pytest.fixture(scope="module")
def emulator() -> Iterator[tuple[str, Control]]:
    with process.running("emulators.pubsub", "--port", "0", "--control-port", "0") as running:
        yield f"127.0.0.1:{running.ready['grpc']}", Control(running.ready["control"])


@pytest.fixture
def control(emulator: tuple[str, Control]) -> Iterator[Control]:
    yield emulator[1]
    assert emulator[1].ask("DELETE")[0] == 200


@pytest.fixture
def topics(emulator: tuple[str, Control], project: str, monkeypatch: pytest.MonkeyPatch) -> Topics:
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", emulator[0])
    topics = Topics(project)
    topics.create("hits", "work")
    return topics


def _publish_once(topics: Topics, data: bytes, timeout: float = 10) -> None:
    """One attempt, without the client's own retries."""
    PublisherClient().publish(
        topic=topic_path(topics.project, "hits"), messages=[{"data": data}], retry=None, timeout=timeout
    )


def test_an_error_strikes_as_often_as_asked_and_the_work_is_not_done(topics: Topics, control: Control) -> None:
    control.set("error", method="Publish", code="RESOURCE_EXHAUSTED", times=2)
    for _ in range(2):
        with pytest.raises(exceptions.ResourceExhausted):
            _publish_once(topics, b"refused")
    _publish_once(topics, b"taken")
    assert [message.data for message in topics.pull("work", wanted=1)] == [b"taken"]


def test_a_lost_reply_is_an_error_though_the_work_is_done(topics: Topics, control: Control) -> None:
    control.set("lost_reply", method="Publish", times=1)
    with pytest.raises(exceptions.ServiceUnavailable):
        _publish_once(topics, b"there all the same")
    assert [message.data for message in topics.pull("work", wanted=1)] == [b"there all the same"]


def test_latency_delays_the_work_and_ends_with_its_fault(topics: Topics, control: Control) -> None:
    fault = control.set("latency", method="Publish", delay=60)
    with pytest.raises(exceptions.DeadlineExceeded):
        _publish_once(topics, b"late", timeout=0.3)
    assert control.ask("DELETE", f"/{fault}") == (200, {"removed": 1})
    _publish_once(topics, b"in time")


def test_a_blackhole_answers_nobody_and_holds_up_nobody_else(topics: Topics, control: Control) -> None:
    control.set("blackhole", method="Publish", resource="*/topics/hits")
    topics.publisher.create_topic(name=topic_path(topics.project, "other"))
    with pytest.raises(exceptions.DeadlineExceeded):
        _publish_once(topics, b"gone", timeout=0.3)
    topics.publish("other", b"not struck")
    assert topics.pull("work") == []


def test_deliveries_come_twice_with_other_ack_ids(topics: Topics, control: Control) -> None:
    control.set("duplicate", method="Pull", share=1)
    topics.publish("hits", b"x")
    path = subscription_path(topics.project, "work")
    found: list[Any] = []
    while len(found) < 2:
        found += topics.subscriber.pull(subscription=path, max_messages=10, timeout=10).received_messages
    assert {one.message.message_id for one in found} == {found[0].message.message_id}
    assert len({one.ack_id for one in found}) == len(found)


def test_a_dropped_stream_opens_again_and_nothing_is_lost(topics: Topics, control: Control) -> None:
    seen: list[bytes] = []

    def take(message: Any) -> None:
        seen.append(message.data)
        message.ack()

    pulling = topics.subscriber.subscribe(subscription_path(topics.project, "work"), take)
    try:
        control.set("drop_stream", times=3, after_messages=1)
        for number in range(20):
            topics.publish("hits", b"%d" % number)
        process.wait_for(lambda: len(set(seen)) == 20, 30, "all messages")
    finally:
        pulling.cancel()
        pulling.result(10)


def test_a_fault_ends_by_itself_and_the_list_tells(topics: Topics, control: Control) -> None:
    control.set("error", method="Publish", seconds=0.2)
    (listed,) = control.ask("GET")[1]["faults"]
    assert (listed["effect"], listed["method"], listed["applied"]) == ("error", "Publish", 0)
    assert 0 < listed["ends_in"] <= 0.2
    process.wait_for(lambda: not control.ask("GET")[1]["faults"], 10, "the end of the fault")
    _publish_once(topics, b"after")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"{", "cannot be used"),
        (b"[]", "a fault is a JSON object"),
        (b"{}", "has no effect"),
        (b'{"effect": "flood"}', "unknown effect, 'flood'"),
        (b'{"effect": "latency"}', "delay"),
        (b'{"effect": "error", "code": "TEAPOT"}', "TEAPOT"),
        (b'{"effect": "error", "share": 2}', "share"),
        (b'{"effect": "error", "speed": 1}', "speed"),
        (b'{"effect": "error", "method": "AppendRows"}', "no method of error matches 'AppendRows'"),
    ],
)
def test_a_fault_that_cannot_be_set_is_refused_with_the_reason(control: Control, body: bytes, words: str) -> None:
    status, answer = control.ask("POST", body=body)
    assert status == 400
    assert words in answer["error"]
    assert control.ask("GET") == (200, {"faults": []})


def test_a_page_of_a_browser_sets_no_fault(emulator: tuple[str, Control], control: Control) -> None:
    request = urllib.request.Request(control._url, data=b"{}", headers={"Origin": "https://evil.example"})
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(request, timeout=10)
