from __future__ import annotations

import base64
from decimal import Decimal
from typing import Any

import pytest

from services.processor.protocols import Unreadable, cloudevents
from tests.processor.protocols.hits import hit

DATA = {"total": 12.5, "order": {"items": [{"sku": "a 🙂", "n": 2}]}}
EVENT = {
    "specversion": "1.0",
    "id": "e-1",
    "source": "https://shop.example/orders?x=1",
    "type": "com.example.order.completed",
    "subject": "u-1",
    "time": "2025-11-29T18:59:58.5+01:00",
    "datacontenttype": "application/json",
    "dataschema": "https://shop.example/schema",
    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "data": DATA,
}
READ = {
    "event_id": "https://shop.example/orders?x=1#e-1",
    "event_time": "2025-11-29T17:59:58.500000Z",
    "user_id": "u-1",
    "type": "com.example.order.completed",
    "url": "https://shop.example/orders?x=1",
    "properties": {"total": Decimal("12.5"), "order": {"items": [{"sku": "a 🙂", "n": 2}]}},
    "context": {"traceparent": EVENT["traceparent"]},
    "source": "https://shop.example/orders?x=1",
    "id": "e-1",
    "specversion": "1.0",
    "datacontenttype": "application/json",
    "dataschema": "https://shop.example/schema",
}
HEADERS = {
    "ce-specversion": "1.0",
    "ce-id": "e-1",
    "ce-source": "/orders",
    "ce-type": "completed",
}
SHORT = {
    "event_id": "/orders#e-1",
    "anonymous_id": "/orders",
    "type": "completed",
    "source": "/orders",
    "id": "e-1",
    "specversion": "1.0",
}


def _read(**fields: Any) -> dict[str, Any]:
    return cloudevents.read(hit("cloudevents", {"id": "1", "source": "/s", "type": "t", **fields}))


def _binary(headers: dict[str, str], body: Any = None, **more: Any) -> dict[str, Any]:
    return cloudevents.read(hit("cloudevents", body, headers={**HEADERS, **headers}, **more))


@pytest.mark.parametrize(
    "headers", [{}, {"content-type": "application/cloudevents+json; charset=UTF-8", "ce-id": "no"}]
)
def test_the_structured_mode(headers: dict[str, str]) -> None:
    assert cloudevents.read(hit("cloudevents", EVENT, headers=headers)) == READ


def test_the_binary_mode() -> None:
    attributes = {name: value for name, value in EVENT.items() if name not in ("data", "datacontenttype")}
    headers = {f"ce-{name}": str(value) for name, value in attributes.items()}
    assert _binary({**headers, "content-type": "application/json"}, DATA) == READ


@pytest.mark.parametrize(
    ("more", "properties"),
    [
        ({}, None),
        ({"body": [1]}, {"data": [1]}),
        ({"body": 5}, {"data": 5}),
        ({"text": "<a/>"}, {"data": "<a/>"}),
        ({"envelope": {"data_base64": "AP8="}}, {"data_base64": "AP8="}),
        ({"envelope": {"data_base64": "eyJhIjoxfQ"}}, {"a": 1}),
    ],
)
def test_data_of_the_binary_mode(more: Any, properties: Any) -> None:
    assert _binary({}, **more) == SHORT | ({"properties": properties} if properties else {})


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        ("Euro%20%E2%82%AC%20%F0%9F%98%80", "Euro € 😀"),
        ("a+b", "a+b"),
        ("100%", "100%"),
        ("%zz", "%zz"),
        ("%2525", "%25"),
        ("caf%E9", "café"),
        ('"a \\"b\\" %41"', 'a "b" A'),
        ('"', '"'),
        (" a ", "a"),
    ],
)
def test_headers_are_decoded_once(sent: str, read: str) -> None:
    assert _binary({"ce-subject": sent})["user_id"] == read


@pytest.mark.parametrize(
    ("fields", "event_id"),
    [
        ({"source": "/s", "id": "1"}, "/s#1"),
        ({"source": "/s#a", "id": "b"}, "/s#a#b"),
        ({"source": "/s", "id": "a#b"}, "/s#a%23b"),
        ({"source": "/s", "id": "a%23b"}, "/s#a%2523b"),
        ({"source": "/s", "id": 7}, "/s#7"),
    ],
)
def test_an_event_id_is_that_of_one_source_and_id_alone(fields: dict[str, Any], event_id: str) -> None:
    assert _read(**fields)["event_id"] == event_id


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({"data": "a"}, {"properties": {"data": "a"}}),
        ({"data": None, "data_base64": None, "x": None}, {}),
        ({"data": False}, {"properties": {"data": False}}),
        ({"data_base64": base64.b64encode(b'{"a":1}').decode()}, {"properties": {"a": 1}}),
        ({"data_base64": base64.b64encode(b"[1]").decode()}, {"properties": {"data": [1]}}),
        ({"data_base64": "no base64!"}, {"properties": {"data_base64": "no base64!"}}),
        ({"data_base64": 5}, {"properties": {"data_base64": 5}}),
        ({"data_base64": "eyJhIjoxfQ==", "data": {"b": 2}}, {"properties": {"b": 2, "data_base64": "eyJhIjoxfQ=="}}),
        ({"time": "today"}, {"event_time": "today"}),
        ({"user_id": "x", "context": {"a": 1}}, {"context": {"user_id": "x", "context": {"a": 1}}}),
        ({"subject": {"a": 1}}, {"context": {"subject": {"a": 1}}}),
        ({"source": "HTTPS://a.example"}, {"url": "HTTPS://a.example"}),
        ({"source": "urn:http://a"}, {}),
    ],
)
def test_what_becomes_of_attributes(fields: dict[str, Any], found: dict[str, Any]) -> None:
    read = _read(**fields)
    assert read.pop("anonymous_id") == read["source"]
    for name in ("event_id", "id", "source", "type"):
        del read[name]
    assert read == found


def test_a_query_string_is_kept_and_sets_nothing_of_the_event() -> None:
    found = _binary({}, query="tenant=acme&user_id=x&id=y&event_time=z")
    assert found == SHORT | {"tenant": "acme", "cloudevents": {"user_id": "x", "id": "y", "event_time": "z"}}


@pytest.mark.parametrize("name", ["id", "source", "type"])
@pytest.mark.parametrize("value", [None, "", [], {}, True])
def test_an_event_without_a_required_attribute_is_refused(name: str, value: Any) -> None:
    with pytest.raises(Unreadable, match=f"no `{name}`"):
        _read(**{name: value})


@pytest.mark.parametrize("body", [b"{", [EVENT], "a", 5, None])
def test_what_is_no_object_is_refused(body: Any) -> None:
    with pytest.raises(Unreadable):
        cloudevents.read(hit("cloudevents", body))


def test_data_that_is_broken_off_is_refused() -> None:
    with pytest.raises(Unreadable):
        _binary({}, b'{"a":')
