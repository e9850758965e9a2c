"""Each protocol's write key is found in its own place, and nowhere else."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict
from prometheus_client import CollectorRegistry

from services.collector import cut, tenant_keys
from services.collector.cut import Cut
from services.collector.metrics import Metrics
from services.collector.routes import PROTOCOLS, Table
from services.collector.tenant import Tenancy
from services.collector.tenant_keys import PLACES
from services.shared.tenants import MAX_KEY
from tests import tenants
from tests.growth import RUNS, assert_linear

TABLE = Table()


def _basic(user: str, password: str = "") -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def _found(target: str, body: bytes = b"", *headers: tuple[str, str]) -> tuple[set[str], set[str]]:
    """The keys and the ids in a request, of all its items together."""
    path, _, query = target.partition("?")
    found = TABLE.at(path)
    assert found is not None
    sent = CIMultiDict(headers)
    lower = {name.lower(): value for name, value in headers}
    route = found[0].choose(query, lower)
    if route.protocol == "pixel":
        of_all = tenant_keys.of_request(route.protocol, sent, query)
        return set(of_all.keys), set(of_all.ids)
    made = cut.cut(route, body, query=query, headers=lower)
    assert not made.uncut and made.refused is None
    return _of(made, sent, query)


def _of(made: Cut, headers: Any, query: str) -> tuple[set[str], set[str]]:
    protocol = made.route.protocol
    every = [tenant_keys.of_request(protocol, headers, query, made)]
    every += [tenant_keys.of_item(protocol, item, "") for item in made.items]
    return {key for one in every for key in one.keys}, {one_id for one in every for one_id in one.ids}


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


FORM = ("Content-Type", "application/x-www-form-urlencoded")
MIXPANEL = {"event": "a", "properties": {"token": "KEY"}}
KEYS: dict[str, tuple[Any, ...]] = {
    "pixel query": ("/i?type=a&write_key=KEY",),
    "pixel header": ("/pixel.gif", b"", ("X-Write-Key", "KEY")),
    "pixel bearer": ("/pixel.gif", b"", ("Authorization", "bearer KEY")),
    "native query": ("/events?write_key=KEY", b'{"type":"a"}'),
    "native header": ("/events", b'{"type":"a"}', ("x-write-key", "KEY")),
    "native bearer": ("/events", b'{"type":"a"}', ("Authorization", "Bearer KEY")),
    "native member": ("/events", b'[{"type":"a","write_key":"K\\u0045Y"}]'),
    "native form": ("/events", b"type=a&write_key=KEY", FORM),
    "segment basic": ("/v1/t", b'{"event":"a"}', ("Authorization", _basic("KEY"))),
    "segment batch": ("/v1/batch", b'{"batch":[{"event":"a"}],"writeKey":"KEY"}'),
    "segment message": ("/v1/track", b'{"event":"a","writeKey":"KEY"}'),
    "segment gzip": ("/v1/batch", gzip.compress(b'{"batch":[{"event":"a"}],"writeKey":"KEY"}')),
    "rudderstack beacon": ("/beacon/v1/batch?writeKey=KEY", b'{"batch":[{"event":"a"}]}'),
    "rudderstack basic": ("/v1/batch", b'{"batch":[{"event":"a"}]}', ("Authorization", _basic("KEY", "x"))),
    "jitsu": ("/api/s/track", b'{"event":"a"}', ("X-Write-Key", "KEY")),
    "posthog batch": ("/e/", gzip.compress(_json({"api_key": "KEY", "batch": [{"event": "a"}]}))),
    "posthog event": ("/capture/", _json({"api_key": "KEY", "event": "a"})),
    "posthog list": ("/e/", _json([{"event": "a", "properties": {"token": "KEY"}}])),
    "mixpanel form": ("/track/?verbose=1", b"data=" + base64.b64encode(_json([MIXPANEL])), FORM),
    "mixpanel get": (f"/track/?data={base64.b64encode(_json(MIXPANEL)).decode()}&ip=1",),
    "mixpanel profile": ("/engage/", b"data=" + base64.b64encode(_json([{"$token": "KEY", "$set": {}}])), FORM),
    "mixpanel import": ("/import", _json([{"event": "a"}]), ("Authorization", _basic("KEY"))),
    "mixpanel import form": ("/import", b"data=%7B%22event%22%3A%22a%22%7D&api_key=KEY", FORM),
    "amplitude": ("/2/httpapi", _json({"api_key": "KEY", "events": [{"event_type": "a"}]})),
    "amplitude batch": ("/batch", _json({"api_key": "KEY", "events": [{"event_type": "a"}]})),
    "matomo token": ("/matomo.php", _json({"requests": ["?rec=1"], "token_auth": "KEY"})),
    "ga4 secret": ("/mp/collect?api_secret=KEY", _json({"events": [{"name": "a"}]})),
    "cloudevents": ("/events", b"{}", ("ce-id", "1"), ("Authorization", "Bearer KEY")),
}
IDS: dict[str, tuple[Any, ...]] = {
    "matomo query": ("/matomo.php?idsite=7&rec=1",),
    "matomo bulk": ("/matomo.php", _json({"requests": ["?idsite=7&rec=1"]})),
    "ga4": ("/mp/collect?measurement_id=7", _json({"events": [{"name": "a"}]})),
    "gtag": ("/g/collect?v=2&tid=7", b"en=a"),
    "plausible": ("/api/event", _json({"n": "pageview", "d": "7"})),
    "umami": ("/api/send", _json({"type": "event", "payload": {"website": "7"}})),
    "snowplow post": ("/com.snowplowanalytics.snowplow/tp2", _json({"data": [{"e": "pv", "aid": "7"}]})),
    "snowplow get": ("/i?e=pv&aid=7",),
    "a number": ("/matomo.php", _json({"requests": [{"idsite": 7}]})),
}


@pytest.mark.parametrize("case", KEYS)
def test_the_key_of_each_protocol(case: str) -> None:
    assert _found(*KEYS[case]) == ({"KEY"}, set())


@pytest.mark.parametrize("case", IDS)
def test_the_id_of_each_protocol(case: str) -> None:
    assert _found(*IDS[case]) == (set(), {"7"})


@pytest.mark.parametrize(
    "request_",
    [
        ("/i?writeKey=KEY&token=KEY&api_key=KEY&WRITE_KEY=KEY",),
        ("/i?xwrite_key=KEY&write_key.x=KEY",),
        ("/i", b"", ("Authorization", _basic("KEY"))),
        ("/i", b"", ("Authorization", "KEY")),
        ("/events", _json({"writeKey": "KEY", "params": {"write_key": "KEY"}})),
        ("/events?writeKey=KEY", b'{"type":"a"}'),
        ("/v1/track?write_key=KEY", _json({"write_key": "KEY", "context": {"writeKey": "KEY"}})),
        ("/v1/track", b'{"event":"a"}', ("X-Write-Key", "KEY")),
        ("/e/?writeKey=KEY", _json({"writeKey": "KEY", "batch": [{"event": "a", "properties": {"api_key": "KEY"}}]})),
        ("/2/httpapi?api-key=KEY", _json({"events": [{"event_type": "a", "event_properties": {"api_key": "KEY"}}]})),
        ("/2/httpapi", _json({"events": [{"event_type": "a"}]}), ("Authorization", "Bearer KEY")),
        ("/matomo.php?token=KEY&rec=1",),
        ("/api/send", _json({"website": "KEY", "payload": {"data": {"website": "KEY"}}})),
        ("/api/send", _json({"payload": ["KEY"]})),
    ],
    ids=range(14),
)
def test_a_key_in_another_protocols_place_is_none(request_: tuple[Any, ...]) -> None:
    assert _found(*request_) == (set(), set())


@pytest.mark.parametrize(
    ("headers", "keys"),
    [
        ([("X-Write-Key", "a"), ("x-write-KEY", "b")], {"a", "b"}),
        ([("Authorization", "Bearer a"), ("Authorization", "Bearer b")], {"a", "b"}),
        ([("X-Write-Key", "a:secret")], {"a", "a:secret"}),
        ([("X-Write-Key", "")], set()),
        ([("Authorization", "Basic ")], set()),
        ([("Authorization", _basic("", "password"))], set()),
        ([("Authorization", "Basic !!not base64 é")], {"!!not base64 é"}),
        ([("Authorization", "Basic " + base64.b64encode(b"\xff\xfe").decode())], {"//4="}),
    ],
)
def test_headers_that_are_there_twice_or_odd(headers: list[tuple[str, str]], keys: set[str]) -> None:
    sent = CIMultiDict(headers)
    assert set(tenant_keys.of_request("jitsu", sent, "").keys) == keys


def test_a_member_that_is_there_twice_is_the_last_as_the_processor_reads_it() -> None:
    assert tenant_keys.of_item("events", b'{"write_key":"a","write_key":"b"}', "").keys == ["b"]
    assert tenant_keys.of_item("form", "write_key=a&write_key=b", "").keys == ["a", "b"]


@pytest.mark.parametrize("value", ['""', "null", "true", "1.5", "[]", "{}", '{"a":1}', "-1", "1" * 21])
def test_what_is_no_text_and_no_number_is_no_key(value: str) -> None:
    assert tenant_keys.of_item("events", b'{"write_key":%b}' % value.encode(), "").keys == []


def test_a_key_of_8_kb_is_a_key_that_nobody_has() -> None:
    for text in ("k" * 8_192, "\\u0041" * 8_192, "\U0001f642" * 8_192):
        (key,) = tenant_keys.of_item("events", b'{"write_key":"%b"}' % text.encode(), "").keys
        assert len(key) > MAX_KEY
    assert len(tenant_keys.of_request("jitsu", CIMultiDict({"X-Write-Key": "k" * 8_192}), "").keys[0]) > MAX_KEY


@pytest.mark.parametrize(
    ("protocol", "item", "said"),
    [
        ("events", b'{"tenant":"a","params":{"tenant":"b"}}', "a"),
        ("events", b'{"tenant":17}', "17"),
        ("form", "x=1&tenant=a&tenant=b", "a"),
        ("segment", b'{"tenant":"a"}', "a"),
        ("umami", b'{"payload":{"tenant":"b"}}', ""),
        ("events", b'["tenant"]', ""),
    ],
)
def test_what_an_item_says_in_the_parameter(protocol: str, item: bytes | str, said: str) -> None:
    assert tenant_keys.of_item(protocol, item, "tenant").said == said


def test_every_protocol_has_its_places() -> None:
    assert set(PLACES) == {*PROTOCOLS, "pixel", "redirect", "events", "form", "hook"}


_ITEMS = st.one_of(
    st.text(max_size=80),
    st.binary(max_size=80),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["token", "properties", "payload", "website", "api_key", "d"]), inner)
        ),
    ).map(lambda value: json.dumps(value).encode()),
)


@given(
    st.sampled_from(sorted(PLACES)),
    _ITEMS,
    st.text(max_size=60),
    st.lists(st.tuples(st.sampled_from(["X-Write-Key", "Authorization"]), st.text(max_size=40)), max_size=3),
)
def test_nothing_that_is_sent_raises(
    protocol: str, item: bytes | str, query: str, headers: list[tuple[str, str]]
) -> None:
    tenant_keys.of_request(protocol, CIMultiDict(headers), query)
    tenant_keys.of_item(protocol, item, "tenant")


@pytest.mark.parametrize("protocol", ["events", "posthog", "mixpanel", "umami", "matomo"])
def test_work_grows_with_the_item_and_no_faster(protocol: str) -> None:
    json_item = (b'{"properties":{"a":"', b'"},"token":"', b'","write_key":"b"}')
    assert_linear(lambda data: tenant_keys.of_item(protocol, data, "tenant"), *json_item)
    assert_linear(lambda text: tenant_keys.of_item(protocol, text, "tenant"), "write_key=", "&idsite=1")
    assert_linear(lambda text: tenant_keys.of_request(protocol, CIMultiDict(), text), "token=", "&write_key=1")
    assert_linear(lambda text: tenant_keys.of_request(protocol, CIMultiDict(Authorization=text), ""), "Basic ", "YTpi")


def test_the_tenants_of_a_batch_are_found_in_time_that_grows_with_its_bytes() -> None:
    listed = f"    a: {{keys: {tenants.hashed('k')}, hosts: a.example.com}}\n"
    schema = tenants.schema(f"  parameter: tenant\n  list:\n{listed}")
    tenancy = Tenancy(schema.tenants, Metrics(CollectorRegistry()))
    headers = CIMultiDict({"Host": "a.example.com", "X-Write-Key": "wrong"})

    def work(target: str) -> Callable[[bytes], None]:
        route = TABLE.at(target)
        assert route is not None

        def of(body: bytes) -> None:
            found = cut.cut(route[0], body, query="", headers={})
            if found.refused is None:
                tenancy.of_items(headers, "POST", target, "", found)

        return of

    runs = (*RUNS, b'{"write_key":"a"},', b'{"tenant":"b"},', b'"?idsite=1",', b'{"properties":{"token":"c"}},')
    assert_linear(work("/events"), b'[{"write_key":"', b'"},', b'{"tenant":"', b'a"}]', runs=runs)
    assert_linear(work("/matomo.php"), b'{"requests":["?idsite=', b'&idsite=2",', b'"?token_auth=1"]}', runs=runs)
    assert_linear(work("/e"), b'{"batch":[{"properties":{"token":"', b'"}},', b'{}],"api_key":"', b'k"}', runs=runs)
