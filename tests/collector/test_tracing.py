"""What becomes of the `traceparent` of requests, with tracing on and off."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from services.collector.disk import Folder
from services.collector.drainer import Drainer
from services.collector.metrics import Metrics
from services.collector.outbox import HitsRefused
from services.collector.spool import Spool
from services.shared import hit, tracing
from services.shared.background import Background
from services.shared.hit import Hit
from services.shared.publisher import Unconfirmed
from tests import otlp
from tests.collector.conftest import Running, Start
from tests.collector.test_outbox import Scripted, open_outbox
from tests.otlp import Receiver

TRACES = ["a" * 32, "b" * 32]
HEADERS = [f"00-{trace}-00f067aa0ba902b7-01" for trace in TRACES]
LINE = hit.encode(Hit(id="a", at=1, method="GET", path="/i"))


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Of traces that only requests begin."""
    with otlp.traced("collector", OTEL_TRACES_SAMPLER="parentbased_always_off") as found:
        yield found


class Keeping(Scripted):
    def __init__(self) -> None:
        super().__init__()
        self.attributes: list[Mapping[str, str]] = []

    async def publish(self, topic: str, data: bytes, attributes: Mapping[str, str]) -> str:
        self.attributes.append(attributes)
        return await super().publish(topic, data, attributes)


async def test_a_pack_is_the_first_sampled_requests_trace_with_links_to_the_others(receiver: Receiver) -> None:
    publisher = Keeping()
    async with open_outbox(publisher) as outbox:
        puts = [asyncio.create_task(outbox.put([LINE]))]
        await publisher.until_asked(1)  # from now on a pack gathers
        for header in ("", HEADERS[0], HEADERS[1], HEADERS[1], HEADERS[0]):
            puts.append(asyncio.create_task(outbox.put([LINE], tracing.parse(header))))
        publisher.answer()
        await publisher.until_asked(2)
        publisher.answer()
        await asyncio.wait_for(asyncio.gather(*puts), 10)
    span = (await asyncio.to_thread(receiver.wait, TRACES[0], "collect"))["collect"]
    assert (span.parent, span.links) == ("00f067aa0ba902b7", ("00f067aa0ba902b7",))
    assert span.attributes["pixelpipe.hits"] == "5"
    assert "traceparent" not in publisher.attributes[0]
    assert publisher.attributes[1]["traceparent"] == f"00-{TRACES[0]}-{span.id}-01"
    assert span.attributes["pixelpipe.pack"] == publisher.attributes[1]["pack"]
    assert len(receiver.spans) == 1


async def test_a_pack_that_is_spooled_says_why_and_is_published_without_its_trace(
    receiver: Receiver, tmp_path: Path
) -> None:
    publisher, drained = Keeping(), Keeping()
    async with (
        Background() as background,
        Spool(Folder(tmp_path), 10**6, Metrics(CollectorRegistry()), background) as spool,
        open_outbox(publisher, spool) as outbox,
    ):
        publisher.answer(Unconfirmed("away"))
        await asyncio.wait_for(outbox.put([LINE], tracing.parse(HEADERS[0])), 10)
        drained.answer()
        async with Drainer(spool, drained, "hits", outbox.breaker, background, fast=1, shutdown_timeout=20):  # type: ignore[arg-type]
            await drained.until_asked(1)
    span = (await asyncio.to_thread(receiver.wait, TRACES[0], "collect"))["collect"]
    assert (span.attributes["pixelpipe.spooled"], span.failed) == ("away", "")
    assert publisher.attributes[0]["traceparent"].startswith(f"00-{TRACES[0]}")
    assert set(drained.attributes[0]) == {"schema", "encoding", "count", "pack"}


async def test_a_pack_that_is_safe_nowhere_is_a_failed_span(receiver: Receiver) -> None:
    publisher = Keeping()
    async with open_outbox(publisher) as outbox:
        publisher.answer(Unconfirmed("away"))
        with pytest.raises(HitsRefused):
            await asyncio.wait_for(outbox.put([LINE], tracing.parse(HEADERS[0])), 10)
    assert (await asyncio.to_thread(receiver.wait, TRACES[0], "collect"))["collect"].failed == "away"


async def test_headers_are_read_from_pixels_and_events_and_two_of_them_are_none(
    receiver: Receiver, start: Start
) -> None:
    collector = await start(trace_requests=True)
    headers = [[("traceparent", HEADERS[0])], [("traceparent", header) for header in HEADERS], [("Traceparent", "x")]]
    for one in headers:
        async with collector.http.get(f"{collector.url}/i?user_id=u", headers=one) as reply:
            assert reply.status == 200
        (message,) = collector.topics.pull("work", wanted=1)
        assert message.attributes.get("traceparent", "")[3:35] == (TRACES[0] if one is headers[0] else "")
    events = b'{"user_id": "u"}'
    async with collector.http.post(
        f"{collector.url}/events", data=events, headers={"traceparent": HEADERS[1], "Content-Type": "application/json"}
    ) as reply:
        assert reply.status == 204
    (message,) = collector.topics.pull("work", wanted=1)
    assert message.attributes["traceparent"].startswith(f"00-{TRACES[1]}-")


async def test_a_request_traces_nothing_unless_that_is_set(receiver: Receiver, start: Start) -> None:
    collector = await start()
    await _no_trace(collector)
    assert not receiver.spans


async def test_off_a_message_carries_no_trace(start: Start) -> None:
    await _no_trace(await start(trace_requests=True))


async def _no_trace(collector: Running) -> None:
    async with collector.http.get(f"{collector.url}/i?user_id=u", headers={"traceparent": HEADERS[0]}) as reply:
        assert reply.status == 200
    (message,) = collector.topics.pull("work", wanted=1)
    assert set(message.attributes) == {"schema", "encoding", "count", "pack"}
