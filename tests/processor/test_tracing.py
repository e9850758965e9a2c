"""The processor's part of traces that began elsewhere."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import pytest

from tests import otlp
from tests.otlp import Receiver
from tests.processor.test_log_entry import ENTRY
from tests.processor.test_worker import _pack, _running
from tests.topics import Topics

TRACE, PARENT = "a" * 32, "00f067aa0ba902b7"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with otlp.traced("processor") as found:
        yield found


def _publish(topics: Topics, data: bytes, attributes: dict[str, str]) -> None:
    topics.publish("hits", data, {**attributes, "traceparent": f"00-{TRACE}-{PARENT}-01"})


async def test_each_message_of_rows_goes_on_with_the_span_that_published_it(topics: Topics, receiver: Receiver) -> None:
    async with _running(topics):
        _publish(topics, *_pack("user_id=1", "type=b", "user_id=3"))
        messages = await asyncio.to_thread(topics.pull, "rows-seen", 2)
        await asyncio.to_thread(receiver.wait_for, TRACE, "process")
    (process,) = [span for span in receiver.of(TRACE) if span.name == "process"]
    published = {span.id: span for span in receiver.of(TRACE) if span.name == "publish"}
    assert (process.parent, process.attributes["pixelpipe.hits"], process.failed) == (PARENT, "3", "")
    assert {span.parent for span in published.values()} == {process.id}
    for message in messages:
        version, trace, span, flags = message.attributes["traceparent"].split("-")
        assert (version, trace, int(flags, 16) & 1) == ("00", TRACE, 1)
        assert published.pop(span).attributes["pixelpipe.table"] == message.attributes["table"]
    assert not published


async def test_poison_is_a_failed_span_whose_trace_the_dead_letter_keeps(topics: Topics, receiver: Receiver) -> None:
    async with _running(topics):
        data, attributes = _pack("user_id=1")
        _publish(topics, data, {**attributes, "encoding": "br"})
        (dead,) = await asyncio.to_thread(topics.pull, "dead-seen", 1)
        await asyncio.to_thread(receiver.wait_for, TRACE, "process")
    (process,) = [span for span in receiver.of(TRACE) if span.name == "process"]
    assert process.failed == "encoding is 'br', only 'zstd' is known"
    assert dead.attributes["traceparent"] == f"00-{TRACE}-{PARENT}-01"


async def test_a_message_without_a_trace_begins_none(topics: Topics, receiver: Receiver) -> None:
    async with _running(topics):
        topics.publish("hits", json.dumps(ENTRY).encode())
        topics.publish("hits", *_pack("user_id=1"))
        messages = await asyncio.to_thread(topics.pull, "rows-seen", 2)
        _publish(topics, *_pack("user_id=2"))
        await asyncio.to_thread(receiver.wait_for, TRACE, "process")
    assert not [message for message in messages if "traceparent" in message.attributes]
    assert {span.trace for span in receiver.spans} == {TRACE}
