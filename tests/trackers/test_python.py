"""PyPI trackers for servers."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import amplitude
import mixpanel
import posthog
import pytest
import requests
import snowplow_tracker as snowplow
from cloudevents.core.bindings import http as cloudevents_http
from cloudevents.core.v1.event import CloudEvent
from rudderstack.analytics.client import Client as RudderStack
from segment.analytics.client import Client as Segment

from tests.trackers import expected
from tests.trackers.expected import DATA, has
from tests.trackers.pipeline import Pipeline
from tests.trackers.proxy import Proxy

URL, TITLE, REFERRER = "https://shop.example/a?b=1", "Café 🙂", "https://news.example/a"
PAGE = {"url": URL, "title": TITLE, "referrer": REFERRER}


def _snowplow(collector: str, user: str, method: str) -> None:
    place = urlsplit(collector)
    # By GET the last answer of a batch decides whether any of it is sent again, which loses events; hence no batches.
    size = 2 if method == "post" else 1
    emitter = snowplow.Emitter(str(place.hostname), protocol="http", port=place.port, method=method, batch_size=size)
    subject = snowplow.Subject().set_user_id(user).set_domain_user_id("device-1")
    tracker = snowplow.Tracker("shop", emitter, subject=subject, app_id="shop")
    data = snowplow.SelfDescribingJson("iglu:com.acme/order_completed/jsonschema/1-0-0", dict(DATA))
    tracker.track(snowplow.SelfDescribing(data))
    tracker.track(snowplow.PageView(URL, page_title=TITLE, referrer=REFERRER))
    tracker.flush()


def _segment(collector: str, user: str, gzip: bool) -> None:
    client = Segment("key", host=collector, gzip=gzip, upload_interval=0.05)
    _segment_calls(client, user)


def _rudderstack(collector: str, user: str, gzip: bool) -> None:
    client = RudderStack("key", host=collector, gzip=gzip, upload_interval=0.05)
    _segment_calls(client, user)


def _segment_calls(client: Any, user: str) -> None:
    client.identify(user, traits={"plan": "pro"})
    client.track(user, "order_completed", dict(DATA), anonymous_id="device-1", context={"page": PAGE})
    client.page(user, name="home", properties=dict(PAGE))
    client.shutdown()


def _posthog(collector: str, user: str, gzip: bool) -> None:
    client = posthog.Posthog("phc_key", host=collector, gzip=gzip, flush_interval=0.05)
    client.set(distinct_id=user, properties={"plan": "pro"})
    properties = {**DATA, "$device_id": "device-1", "$current_url": URL, "$referrer": REFERRER, "title": TITLE}
    client.capture("order_completed", distinct_id=user, properties=properties)
    client.shutdown()


def _mixpanel(collector: str, user: str, _option: None) -> None:
    places = {f"{kind}_url": f"{collector}/{path}" for kind, path in [("events", "track"), ("people", "engage")]}
    client = mixpanel.Mixpanel("token", consumer=mixpanel.Consumer(**places, retry_backoff_factor=0.05))
    client.people_set(user, {"plan": "pro"})
    properties = {
        **DATA,
        "$device_id": "device-1",
        "$current_url": URL,
        "$referrer": REFERRER,
        "current_page_title": TITLE,
    }
    try:
        client.track(user, "order_completed", properties)
    except mixpanel.MixpanelException:  # it says so and leaves the event to its caller
        client.track(user, "order_completed", properties)


def _mixpanel_import(collector: str, user: str, _option: None) -> None:
    consumer = mixpanel.Consumer(import_url=f"{collector}/import")
    client = mixpanel.Mixpanel("token", consumer=consumer)
    properties = {
        **DATA,
        "$device_id": "device-1",
        "$current_url": URL,
        "$referrer": REFERRER,
        "current_page_title": TITLE,
    }
    when = int(dt.datetime.now(dt.UTC).timestamp())
    client.import_data("key", user, "order_completed", when, properties, api_secret="secret")


def _amplitude(collector: str, user: str, batch: bool) -> None:
    client = amplitude.Amplitude("key")
    client.configuration.server_url = f"{collector}/batch" if batch else f"{collector}/2/httpapi"
    client.configuration.flush_interval_millis = 50
    client.identify(amplitude.Identify().set("plan", "pro"), amplitude.EventOptions(user_id=user))
    properties = {**DATA, "[Amplitude] Page Location": URL, "[Amplitude] Page Title": TITLE, "referrer": REFERRER}
    client.track(
        amplitude.BaseEvent("order_completed", user_id=user, device_id="device-1", event_properties=properties)
    )
    for sending in client.flush():
        sending.result(60)
    client.shutdown()


def _cloudevents(collector: str, user: str, binary: bool) -> None:
    event = CloudEvent({"type": "order_completed", "source": URL, "subject": user}, dict(DATA))
    message = (cloudevents_http.to_binary_event if binary else cloudevents_http.to_structured_event)(event)
    requests.post(f"{collector}/events", data=message.body, headers=message.headers, timeout=60).raise_for_status()


DEVICE = "device-1"
EVERY = {"anonymous_id": DEVICE, "url": URL, "title": TITLE, "referrer": REFERRER}


@dataclass(frozen=True)
class SetUp:
    name: str
    protocol: str
    send: Callable[
        [str, str, Any], None
    ]  # to this address, as this user, with this option; returns once all is handed over
    option: Any = None
    places: Mapping[str, str | None] = field(default_factory=lambda: EVERY)
    beside: frozenset[str] = frozenset()  # types of the events that are sent beside `order_completed`
    sends_again: bool = True  # after a 503


SNOWPLOW: Mapping[str, Any] = {"places": {"anonymous_id": DEVICE}, "beside": frozenset({"page_view"})}
SEGMENT: Mapping[str, Any] = {"beside": frozenset({"identify", "page"})}
ON_SERVERS: Mapping[str, Any] = {"places": {"anonymous_id": None, "url": URL}, "sends_again": False}
SET_UPS = (
    SetUp("snowplow", "snowplow", _snowplow, "post", **SNOWPLOW),
    SetUp("snowplow by GET", "snowplow", _snowplow, "get", **SNOWPLOW),
    SetUp("segment", "segment", _segment, False, **SEGMENT),
    SetUp("segment gzip", "segment", _segment, True, **SEGMENT),
    SetUp("rudderstack", "segment", _rudderstack, False, **SEGMENT),
    SetUp("rudderstack gzip", "segment", _rudderstack, True, **SEGMENT),
    SetUp("posthog", "posthog", _posthog, False, beside=frozenset({"$set"})),
    SetUp("posthog gzip", "posthog", _posthog, True, beside=frozenset({"$set"})),
    SetUp("mixpanel", "mixpanel", _mixpanel, beside=frozenset({"$engage"})),
    SetUp("mixpanel import", "mixpanel", _mixpanel_import, sends_again=False),
    SetUp("amplitude", "amplitude", _amplitude, False, beside=frozenset({"$identify"})),
    SetUp("amplitude batch", "amplitude", _amplitude, True, beside=frozenset({"$identify"})),
    SetUp("cloudevents binary", "cloudevents", _cloudevents, True, **ON_SERVERS),
    SetUp("cloudevents structured", "cloudevents", _cloudevents, False, **ON_SERVERS),
)


@pytest.mark.parametrize(
    ("set_up", "refusals"),
    [
        pytest.param(
            one,
            refusals,
            id=f"{one.name.replace(' ', '-')}{'-refused' if refusals else ''}",
            marks=pytest.mark.slow if refusals else (),  # each is a process that imports a whole SDK
        )
        for one in SET_UPS
        for refusals in range(1 + one.sends_again)
    ],
)
async def test_each_event_is_one_row(
    pipeline: Pipeline, collector: Proxy, mark: str, set_up: SetUp, refusals: int
) -> None:
    """Also where the first request is answered with 503, by those that send it again."""
    collector.refuse(refusals)
    began = dt.datetime.now(dt.UTC)
    await asyncio.to_thread(set_up.send, collector.url, mark, set_up.option)
    rows = await pipeline.until(f"user_id = '{mark}'", has("order_completed", *set_up.beside), "events")
    assert collector.refused == refusals
    assert len(rows) == 1 + len(set_up.beside)
    row = expected.one(rows, "order_completed")
    assert row["protocol"] == set_up.protocol
    assert {name: row[name] for name in set_up.places} == set_up.places
    expected.check_properties(row, DATA)
    if set_up.protocol == "cloudevents":  # an id is unique with its source
        assert row["event_id"] == f"{URL}#{row['params']['id']}"
        assert row["params"]["id"] in collector.said()
    else:
        expected.check_id(row, collector.said())
    expected.check_time(row, began, collector.said(), collector.first_at)
    assert await pipeline.rejects() == []
