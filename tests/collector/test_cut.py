from __future__ import annotations

import base64
import gzip
import json
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.collector import cut, json_items, routes
from services.collector.cut import Cut
from services.shared import hit
from tests.growth import assert_linear

MB = 1_048_576
TABLE = routes.Table()
FORM = "application/x-www-form-urlencoded"
A, B = b'{"event":"A","properties":{"n":1.50,"note":"Gr\xc3\xb6\xc3\x9fe \xf0\x9f\x99\x82"}}', b'{"event":"B"}'
BATCH = b'{"api_key":"k","batch":[' + A + b" ,\n" + B + b'],"sent_at":"2026-01-02T03:04:05Z"}'
AROUND = {"api_key": "k", "sent_at": "2026-01-02T03:04:05Z"}
CESU = b'{"event":"\xed\xa0\xbd\xed\xb9\x82","properties":{"token":"t"}}'
LIST_OF = {"segment.batch": "batch", "snowplow": "data", "amplitude": "events", "posthog": "batch", "ga4": "events"}
PATHS = {
    "segment.batch": "/v1/batch",
    "snowplow": "/com.snowplowanalytics.snowplow/tp2",
    "amplitude": "/2/httpapi",
    "posthog": "/e/",
    "ga4": "/mp/collect",
}


def _cut(path: str, body: bytes = b"", query: str = "", limit: int = MB, **headers: str) -> Cut:
    found = TABLE.at(path)
    assert found is not None
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return cut.cut(found[0].choose(query, named), body, query=query, headers=named, limit=limit)


def _gzip(data: bytes) -> bytes:
    return gzip.compress(data, mtime=0)  # the same bytes at every run


def _b64(data: bytes) -> bytes:
    return base64.b64encode(data)


def _form(data: bytes) -> bytes:
    return b"data=" + quote_plus(data).encode()


def _deep(levels: int) -> bytes:
    return b"[" * levels + b"]" * levels


# Path, body, query, headers; then the protocol, the items and what surrounds them.
RECORDED: dict[str, tuple[str, bytes, str, dict[str, str], str, list[Any], Any]] = {
    "Snowplow's post": (
        "/com.snowplowanalytics.snowplow/tp2", b'{"schema":"iglu:s","data":[' + A + b"," + B + b"]}", "",
        {"content_type": "application/json; charset=UTF-8"}, "snowplow", [A, B], {"schema": "iglu:s"},
    ),
    "Snowplow's get": ("/i", b"", "e=pv&eid=1&data=x", {}, "snowplow", [""], None),
    "Segment's browser": ("/v1/t", A, "", {"content_type": "text/plain"}, "segment.track", [A], None),
    "Segment's batch, gzip": (
        "/v1/batch", _gzip(BATCH), "", {"content_encoding": "gzip"}, "segment.batch", [A, B], AROUND,
    ),
    "RudderStack's beacon": (
        "/beacon/v1/batch", BATCH, "writeKey=w", {"content_type": "text/plain"}, "rudderstack.batch", [A, B], AROUND,
    ),
    "Jitsu": ("/api/s/page", A, "", {"content_type": "application/json"}, "jitsu.page", [A], None),
    "PostHog's browser, gzip as text": (
        "/e/", _gzip(BATCH), "", {"content_type": "text/plain"}, "posthog", [A, B], AROUND,
    ),
    "PostHog's beacon": (
        "/e/", _form(_b64(BATCH)), "compression=base64", {"content_type": FORM}, "posthog", [A, B], AROUND,
    ),
    "PostHog's older array": ("/capture/", b"[" + A + b"," + B + b"]", "", {}, "posthog", [A, B], None),
    "PostHog's single event": ("/i/v0/e/", A, "", {}, "posthog", [A], None),
    "Mixpanel's browser": (
        "/track/", _form(_b64(b"[" + CESU + b"," + B + b"]")), "verbose=1&ip=1", {"content_type": FORM},
        "mixpanel", [CESU.replace(b"\xed\xa0\xbd\xed\xb9\x82", "🙂".encode()), B], None,
    ),
    "Mixpanel's beacon": (
        "/track/", _form(_b64(A)), "", {"content_type": "text/plain;charset=UTF-8"}, "mixpanel", [A], None,
    ),
    "Mixpanel's Python": (
        "/track", _form(A) + b"&verbose=1&ip=0", "", {"content_type": FORM},
        "mixpanel", [A], {"verbose": "1", "ip": "0"},
    ),
    "Mixpanel's get": ("/track/", b"", "data=" + quote(_b64(A).decode()) + "&ip=1", {}, "mixpanel", [A], None),
    "Mixpanel's import": ("/import", A + b"\n" + B + b"\n", "strict=1", {}, "mixpanel.import", [A, B], None),
    "Mixpanel's profiles": ("/engage/", _form(B), "", {"content_type": FORM}, "mixpanel.engage", [B], None),
    "Amplitude": (
        "/2/httpapi", b'{"api_key":"k","events":[' + A + b'],"options":{}}', "", {},
        "amplitude", [A], {"api_key": "k", "options": {}},
    ),
    "Matomo's beacon": ("/matomo.php", b"", "idsite=1&rec=1", {"content_type": FORM}, "matomo", [""], None),
    "Matomo's form": (
        "/piwik.php", b"idsite=1&rec=1&action_name=Gr%C3%B6%C3%9Fe", "", {"content_type": FORM},
        "matomo", ["idsite=1&rec=1&action_name=Gr%C3%B6%C3%9Fe"], None,
    ),
    "Matomo's bulk": (
        "/matomo.php", b'{"requests":["?idsite=1&a=\\u00fc","idsite=2",{"idsite":3}],"token_auth":"x"}', "",
        {"content_type": FORM}, "matomo", ["idsite=1&a=ü", "idsite=2", b'{"idsite":3}'], {"token_auth": "x"},
    ),
    "Plausible": ("/api/event", A, "", {"content_type": "text/plain"}, "plausible", [A], None),
    "Umami": ("/api/send", A, "", {"content_type": "application/json"}, "umami", [A], None),
    "Measurement Protocol": (
        "/mp/collect", b'{"client_id":"c","events":[' + B + b"," + A + b"]}", "measurement_id=G-1", {},
        "ga4", [B, A], {"client_id": "c"},
    ),
    "gtag's get": ("/g/collect", b"", "v=2&en=page_view", {}, "gtag", [""], None),
    "gtag's post": (
        "/g/collect", b"en=a&epn.n=1\r\nen=b\r\n", "v=2", {"content_type": "text/plain"},
        "gtag", ["en=a&epn.n=1", "en=b"], None,
    ),
    "a structured CloudEvent": (
        "/events", A, "", {"content_type": "application/cloudevents+json"}, "cloudevents", [A], None,
    ),
    "a batch of CloudEvents": (
        "/events", b"[" + A + b"," + B + b"]", "", {"content_type": "application/cloudevents-batch+json"},
        "cloudevents", [A, B], None,
    ),
    "a binary CloudEvent": ("/events", b"[1, 2]", "", {"ce_id": "1"}, "cloudevents.binary", [b"[1, 2]"], None),
    "a binary CloudEvent of text": (
        "/events", b"42", "", {"ce_id": "1", "content_type": "text/plain"}, "cloudevents.binary", ["42"], None,
    ),
    "a binary CloudEvent without data": ("/events", b"", "", {"ce_id": "1"}, "cloudevents.binary", [""], None),
    "our own": ("/events", b"[" + A + b"," + B + b"]", "", {"content_type": "application/json"}, "", [A, B], None),
    "our own as a form's label": ("/events", A, "", {"content_type": FORM}, "", [A], None),
    "URLSearchParams": ("/events", b"type=a&n=1+2", "", {"content_type": FORM}, "", ["type=a&n=1+2"], None),
    "FormData": (
        "/events", b'--x\r\nContent-Disposition: form-data; name="type"\r\n\r\na&b\r\n--x--\r\n', "",
        {"content_type": "multipart/form-data; boundary=x"}, "", ["type=a%26b"], None,
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", RECORDED)
def test_what_trackers_send_is_cut(what: str) -> None:
    path, body, query, headers, via, items, envelope = RECORDED[what]
    found = _cut(path, body, query, **headers)
    assert (found.route.via, found.items, found.uncut, found.refused) == (via, items, "", None)
    assert (json.loads(found.envelope) if found.envelope else None) == envelope


@pytest.mark.parametrize(
    ("path", "body", "via"),
    [
        ("/batch", b'{"api_key":"k","events":[' + A + b"]}", "amplitude"),
        ("/batch/", b'{"api_key":"k","batch":[' + A + b"]}", "posthog"),
        ("/batch", b'{"events":{"batch":[]},"batch":[' + A + b"]}", "posthog"),
        ("/batch", b'{"batch":"events","events":[' + A + b"]}", "amplitude"),
        ("/batch", A, "posthog"),
        ("/batch", b"broken", "posthog"),
        ("/batch", b'{"api_key":"k","events": [' + A, "amplitude"),
        ("/batch", b'{"api_key":"k","batch":[{"events":[' + A, "posthog"),
        ("/batch", b'{"events":[' + b" " * MB + b"]}", "amplitude"),
        ("/batch", b'{"batch":[' + b" " * MB + b"]}", "posthog"),
        ("/track", _form(_b64(B)), "mixpanel"),
        ("/track", b'{"event":"A","properties":{"token":"t"}}', "mixpanel"),
        ("/track/", b'[{"event":"A","properties":{"token":"t"}}]', "mixpanel"),
        ("/track/", b"data=broken", "mixpanel"),
        ("/track/", b"data=" + b"%" * 100_000, "mixpanel"),
        ("/track/", b'{"api_key":"k","event":"A","properties":{"token":"t"}}', "posthog"),
        ("/track/", b'[{"uuid":"u","event":"A","properties":{"token":"t"}}]', "posthog"),
        ("/track/", b'{"api_key":"k","batch":[{"event":"A","properties":{"token":"t"}}]}', "posthog"),
        ("/track/", A, "posthog"),
        ("/track", b"[1]", "posthog"),
        ("/track", b"[]", "posthog"),
        ("/track", b'{"properties":[]}', "posthog"),
        ("/track", b"broken", "posthog"),
    ],
)
def test_the_body_decides_between_two_protocols_of_one_path(path: str, body: bytes, via: str) -> None:
    for sent in (body, _gzip(body)):
        assert _cut(path, sent).route.via == via


def test_what_the_query_held_is_kept_once() -> None:
    data = quote(_b64(A).decode())
    for query, left in (
        (f"data={data}&ip=1&_=2", "ip=1&_=2"),
        (f"ip=1&data={data}&_=2", "ip=1&_=2"),
        (f"data={data}", ""),
    ):
        found = _cut("/track/", b"", query)
        assert (found.items, found.query, found.envelope) == ([A], left, b"")
        assert _cut("/track/", A, query).query is None


@pytest.mark.parametrize("via", LIST_OF)
@pytest.mark.parametrize("pad", [0, 100_000])
def test_a_bad_item_never_costs_its_batch(via: str, pad: int) -> None:
    bad = [b"1", b'"text"', b"null", b"[]", b'{"__proto__":{}}', b'{"":""}', b'{"user_id":null}', b"NaN", b"-0.5e9"]
    items = [A, *bad, B, b'{"x":"' + b"y" * pad + b'"}', rb'{"cut":"\ud83d"}']
    body = b'{"k": {"a": [1, 2]},"%b":[%b]}' % (LIST_OF[via].encode(), b",".join(items))
    found = _cut(PATHS[via], body)
    assert found.items == [{b"NaN": b"null", items[-1]: rb'{"cut":"\ufffd"}'}.get(item, item) for item in items]
    assert (found.route.via, found.envelope, found.listed) == (via, b'{"k":{"a": [1, 2]}}', True)


def test_an_item_that_is_nested_too_deeply_becomes_text() -> None:
    for deep in (_deep(491), _deep(900), b'{"a":' + _deep(500) + b"}"):
        found = _cut("/v1/b", b'{"batch":[' + A + b"," + deep + b"," + B + b"]}")
        assert found.items == [A, deep.decode(), B]
    assert _cut("/v1/b", b'{"batch":[' + _deep(490) + b"]}").items == [_deep(490)]


@pytest.mark.parametrize("line", [b"{broken", b"\xff", _deep(500), b"1", b'"x"'])
def test_a_bad_line_never_costs_the_others(line: bytes) -> None:
    found = _cut("/import", A + b"\n" + line + b"\r\n\n" + B)
    assert len(found.items) == 3
    assert (found.items[0], found.items[2]) == (A.replace(b"\xc3\xb6\xc3\x9f", "ö\xdf".encode()), B)
    found = _cut("/import", line + b"\n" + A, content_type="application/x-ndjson")
    assert (len(found.items), found.items[1]) == (2, A)


@pytest.mark.parametrize("count", [0, 1, 1_000, 1_001, 10_000])
@pytest.mark.parametrize("size", [2, 40])
def test_a_large_batch_is_cut_whole(count: int, size: int) -> None:
    items = [b'{"n":%d}'.ljust(size) % n if size > 2 else b"%d" % n for n in range(count)]
    items = [item.strip() for item in items]
    found = _cut("/v1/batch", b'{"sentAt":1,"batch":[' + b",".join(items) + b"]}")
    assert (found.items, found.envelope, found.uncut) == (items, b'{"sentAt":1}', "")
    assert _cut("/e", b"[" + b", ".join(items) + b"]").items == items
    texts = [f"en={n}" for n in range(count)]
    assert _cut("/g/collect", "\n".join(texts).encode()).items == (texts or [""])
    bulk = json.dumps({"requests": texts}).encode()
    assert _cut("/matomo.php", bulk).items == texts


@pytest.mark.parametrize("count", [10_001, 50_000, 400_000])
@pytest.mark.parametrize(
    ("path", "pattern"),
    [("/v1/batch", '{"k":1,"batch":[%s1]}'), ("/e", "[%s1]"), ("/matomo.php", '{"requests":[%s1]}')],
)
def test_a_batch_that_is_too_large_is_captured_as_one(count: int, path: str, pattern: str) -> None:
    body = pattern % ("1," * (count - 1))
    found = _cut(path, body.encode())
    assert (found.items, found.uncut, found.refused) == ([body[:65_536]], "over 10000 items", None)
    assert json.loads(found.envelope) == {"uncut": "over 10000 items", "bytes": len(body)}


@pytest.mark.parametrize("count", [10_001, 400_000])
def test_lines_that_are_too_many_are_captured_as_one(count: int) -> None:
    for path, body in (("/g/collect", "a\n" * count), ("/v1/batch", "{}\n" * min(count, 300_000))):
        found = _cut(path, body.encode())
        assert (found.items, found.uncut) == ([body.strip()[:65_536]], "over 10000 items")


def test_clients_that_make_smaller_batches_are_told_to() -> None:
    large = b"[" + b" " * MB + b"]"
    many = b"[" + b"1," * 20_000 + b"1]"
    cases = [("/2/httpapi", body) for body in (large, _gzip(large), many, b'{"events":' + many + b"}")]
    cases += [
        ("/import", large),
        ("/import", many),
        ("/track", _form(many)),
        ("/track", _form(large)),
        ("/batch", b'{"events":' + many + b"}"),
    ]
    for path, body in cases:
        found = _cut(path, body)
        assert found.refused is not None
        assert (found.items, found.refused.status) == ([], 413)


BROKEN = {
    "nothing": (b"", "the body is empty"),
    "white space": (b" \r\n\t", "the body is empty"),
    "a byte order mark": (b"\xef\xbb\xbf", "the body is empty"),
    "text": (b"hello world", "not JSON: invalid character (byte 0)"),
    "zeros": (bytes(20), "not JSON: invalid character (byte 0)"),
    "cut off JSON": (BATCH[:-20], "not JSON: Input data was truncated"),
    "cut off gzip": (_gzip(BATCH)[:-20], "it is compressed, and damaged or cut off"),
    "cut off base64": (_b64(BATCH)[:-15], "not JSON: "),
    "base64 of base64": (_b64(_b64(BATCH)), "not JSON: invalid character (byte 0)"),
    "a form without data": (b"event=A&token=t", "not JSON: invalid character (byte 0)"),
    "a form with empty data": (b"data=&ip=1", "the body is empty"),
    "a trailing comma": (b'{"batch":[' + A + b",]}", "not JSON: "),
    "two objects": (A + B, "not JSON: trailing characters"),
    "a deep nest": (b'{"batch":' + _deep(100_000) + b"}", "nested too deeply, over 490 levels"),
    "a deep nest, open": (b"[" * 500_000, "nested too deeply, over 490 levels"),
    "half characters": (b'["' + rb"\ud83d" * 60_000 + b'"]', "over 50000 characters are cut in half"),
    "too large": (b"[" + b" " * MB + b"]", "too large"),
}


@pytest.mark.parametrize("what", BROKEN)
@pytest.mark.parametrize("via", ["segment.batch", "snowplow", "posthog", "ga4"])
def test_a_body_that_cannot_be_cut_is_one_item_that_says_why(what: str, via: str) -> None:
    body, reason = BROKEN[what]
    found = _cut(PATHS[via], body)
    if via == "snowplow" and not body:
        return  # its event is the query string
    assert found.uncut.startswith(reason)
    assert json.loads(found.envelope) == {"uncut": found.uncut, "bytes": len(body)}
    assert (found.refused, found.route.via, len(found.items)) == (None, via, 1)
    assert isinstance(found.items[0], str)
    assert len(found.items[0]) <= 65_536


@pytest.mark.parametrize("body", [b"null", b"42", b'"text"', b"true", b"-1.5"])
def test_json_that_is_no_object_is_an_item_of_its_own(body: bytes) -> None:
    assert _cut("/v1/t", body).items == [body]


def test_only_as_much_of_a_body_is_kept_as_is_bounded() -> None:
    euros = "€".encode() * 100_000
    assert _cut("/v1/t", euros).items == ["€" * (65_536 // 3)]
    assert _cut("/v1/t", b"\xff" * 100_000).items == ["\xff" * (65_536 // 2)]
    assert _cut("/v1/t", b"\x1f\x8b" + b"\xff" * 100_000).items == ["\x1f\x8b" + "\xff" * 65_534]
    assert _cut("/v1/t", _gzip(A + b" " * MB)).items == [(A + b" " * MB)[:65_536].decode()]


@pytest.mark.parametrize("list_first", [True, False])
@pytest.mark.parametrize("pad", [0, 70_000])
def test_the_envelope_is_the_object_without_its_list(list_first: bool, pad: int) -> None:
    # The same text stands elsewhere, too, and must stay there.
    members = [
        b'"before":[1,2]',
        b'"data":{"batch":[1,2]}',
        b'"text":"[1,2] \\"batch\\":[1,2]"',
        b'"\\u00e9":"\xc3\xa9"',
    ]
    batch = b'"batch" : [1,2' + (b',"' + b"x" * pad + b'"' if pad else b"") + b"]"
    parts = [batch, *members] if list_first else [*members, batch]
    body = b"{\n" + b" ,\r\n".join(parts) + b"\n}"
    found = _cut("/v1/batch", body)
    assert found.items[:2] == [b"1", b"2"]
    expected = json.loads(body)
    del expected["batch"]
    assert json.loads(found.envelope) == expected
    assert b"\n" not in found.envelope
    assert b"\r" not in found.envelope


@pytest.mark.parametrize(
    ("around", "count"),
    [(b'"x":"' + b"y" * 70_000 + b'"', 1), (b'"x":"' + b"y" * 5_000 + b'"', 1_000), (b'"x":' + _deep(490), 1)],
)
def test_an_envelope_that_is_too_large_or_too_deep_costs_no_item(around: bytes, count: int) -> None:
    items = [b"%d" % n for n in range(count)]
    found = _cut("/v1/batch", b"{" + around + b',"batch":[' + b",".join(items) + b"]}")
    assert found.items == items
    assert json.loads(found.envelope) == {"left_out": "the envelope is too large or too deep"}


@pytest.mark.parametrize(
    ("around", "count"),
    [(b'"x":"' + b"y" * 70_000 + b'"', 1), (b'"x":"' + b"y" * 60_000 + b'"', 100), (b'"x":' + _deep(490), 1)],
)
def test_of_an_envelope_that_is_too_large_or_too_deep_is_kept_what_fits(around: bytes, count: int) -> None:
    items = [b"%d" % n for n in range(count)]
    body = b'{"user_id":"u",' + around + b',"batch":[' + b",".join(items) + b'],"sentAt":"2026-01-02"}'
    found = _cut("/v1/batch", body)
    assert found.items == items
    assert json.loads(found.envelope) == {
        "user_id": "u", "sentAt": "2026-01-02", "left_out": "the envelope is too large or too deep"
    }  # fmt: skip


def test_an_envelope_without_items_has_none() -> None:
    for body in (b'{"batch":[],"sentAt":1}', b"[]", _gzip(b'{"batch":[]}')):
        assert _cut("/v1/batch", body)[1:4] in [([], b'{"sentAt":1}', ""), ([], b"", "")]
    for value in (b"null", b"1", b'"[]"', b"{}"):
        body = b'{"batch":' + value + b"}"
        assert _cut("/v1/batch", body).items == [body]


@pytest.mark.parametrize(
    ("path", "body", "headers", "status"),
    [
        ("/events", b"", {}, 400),
        ("/events", b"{", {}, 400),
        ("/events", b"{}", {"content_type": "image/png"}, 415),
        ("/events", _gzip(b"{}")[:-3], {"content_encoding": "gzip"}, 400),
        ("/events", b"{}", {"content_encoding": "br"}, 415),
        ("/events", b"[" + b"{}," * 1_000 + b"{}]", {}, 413),
        ("/events", b"", {"content_type": FORM}, 400),
        ("/events", b"{", {"content_type": FORM}, 400),
        ("/events", b"a=" + b"b" * 300_000, {"content_type": FORM}, 413),
        ("/events", b"a=b", {"content_type": "multipart/form-data"}, 400),
        ("/events", b"x" * 70_000, {"content_type": "multipart/form-data"}, 413),
    ],
)
def test_a_developer_is_told_what_is_wrong(path: str, body: bytes, headers: dict[str, str], status: int) -> None:
    found = _cut(path, body, **headers)
    assert found.items == []
    assert found.refused is not None
    assert found.refused.status == status
    assert found.refused.error


def test_too_large_a_text_is_no_event() -> None:
    found = _cut("/matomo.php", b"idsite=1&x=" + b"y" * 300_000)
    assert found.uncut == "too large"
    found = _cut("/g/collect", b"en=a\nen=b&x=" + b"y" * 300_000 + b"\nen=c")
    assert (found.items[0], found.items[2]) == ("en=a", "en=c")
    reason = json.loads(found.items[1])
    assert reason == {"uncut": "too large", "bytes": 300_007, "text": "en=b"}, "it shows pairs that are whole"
    long = b'"?x=' + b"y" * 300_000 + b'"'
    assert _cut("/matomo.php", b'{"requests":["?a=1",' + long + b"]}").items == ["a=1", long]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@settings(deadline=None)  # on a busy machine any example may wait
@given(
    st.sampled_from(sorted(LIST_OF)),
    st.lists(JSON, max_size=6),
    st.dictionaries(st.text(max_size=5), JSON, max_size=3),
    st.sampled_from([None, 1]),
    st.booleans(),
    st.integers(0, 3),
    st.sampled_from(["plain", "gzip", "base64", "form"]),
)
def test_every_item_comes_once_and_in_order(
    via: str, items: list[Any], around: dict[str, Any], indent: int | None, plain: bool, at: int, way: str
) -> None:
    name = LIST_OF[via]
    around.pop(name, None)
    members = [*around.items()]
    members.insert(at, (name, items))
    body = json.dumps(dict(members), indent=indent, ensure_ascii=plain).encode()
    if way != "plain":
        body = _gzip(body) if way == "gzip" else _b64(body) if way == "base64" else _form(_b64(body))
    found = _cut(PATHS[via], body)
    assert [json.loads(item) for item in found.items] == items
    assert (json.loads(found.envelope) if found.envelope else {}) == around
    assert (found.route.via, found.listed, found.uncut) == (via, True, "")


ROUTES = [route for route in TABLE if route.shape in (routes.NATIVE, routes.JSON, routes.QUERY, routes.LINES)]
PIECES = [
    *rb'{ } [ ] , : " \ \u \ud83d \ude00 0 -1.5e9 null NaN {"a":1} [] "x"'.split(),
    *rb'{"batch":[ {"data":[ data= & = % %7B +'.split(),
    *(
        b"\n",
        b"\r\n",
        b"\0",
        b"\xef\xbb\xbf",
        b"\xed\xa0\xbd",
        b"\xff",
        b"\x1f\x8b\x08",
        b"[" * 495,
        b"H4sIAAAA",
        b"eyJh",
    ),
    *(b"--x\r\n", b"--x--", b'Content-Disposition: form-data; name="a"\r\n\r\n'),
]
HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "content-type": st.sampled_from(
            ["application/json", "text/plain", FORM, "multipart/form-data; boundary=x", "multipart/form-data",
             "application/cloudevents+json", "application/x-ndjson", "", "\udcff;", "application/cloudevents-x"]
        )
        | st.text(max_size=5),
        "content-encoding": st.sampled_from(["gzip", "deflate", "br", "identity", "gzip, gzip", "\udcff"]),
        "ce-id": st.text(max_size=3) | st.just("\udcff"),
    },
)  # fmt: skip


def _assert_travels(found: Cut, body: bytes) -> None:
    assert (found.refused is not None) <= (found.items == [])
    for item in found.items[:50]:
        raw, text = (item, "") if isinstance(item, bytes) else (b"", item)
        text.encode()
        assert b"\n" not in raw and b"\r" not in raw
        captured = hit.Hit(
            "id", 1, "POST", "/x", via=found.route.via, text=text,
            body=hit.msgspec.Raw(raw) if raw else hit.NO_BODY,
            envelope=hit.msgspec.Raw(found.envelope) if found.envelope else hit.NO_BODY,
        )  # fmt: skip
        again = hit.unpack(*hit.pack([hit.encode(captured)], "a pack"))[0]
        assert (bytes(again.body), again.text, bytes(again.envelope)) == (raw, text, found.envelope)
        if raw:
            json.dumps(json.loads(raw), ensure_ascii=False).encode()
    if found.envelope:
        assert isinstance(json.loads(found.envelope), dict)
    if found.uncut:
        assert len(found.items) == 1
        assert json.loads(found.envelope) == {"uncut": found.uncut, "bytes": len(body)}
    if not found.route.own and not found.route.splits:
        assert found.refused is None


@settings(deadline=None)  # on a busy machine any example may wait
@given(
    st.sampled_from(ROUTES),
    st.lists(st.sampled_from(PIECES) | st.binary(max_size=4), max_size=12).map(b"".join),
    st.text(max_size=20) | st.sampled_from(["data=eyJhIjoxfQ==", "e=pv", "data=\udcff"]),
    HEADERS,
    st.sampled_from(["plain", "gzip", "base64", "form", "half"]),
)
def test_nothing_a_stranger_sends_raises(
    route: routes.Route, body: bytes, query: str, headers: dict[str, str], way: str
) -> None:
    if way in ("gzip", "half"):
        body = _gzip(body)
    elif way != "plain":
        body = _b64(body) if way == "base64" else _form(_b64(body))
    if way == "half":
        body = body[: len(body) * 2 // 3]
    for limit in (MB, 20):
        found = cut.cut(route.choose(query, headers), body, query=query, headers=headers, limit=limit)
        _assert_travels(found, body)


@settings(deadline=None)  # on a busy machine any example may wait
@given(st.data())
def test_every_encoding_broken_anywhere_is_taken(data: st.DataObject) -> None:
    body = data.draw(st.sampled_from([BATCH, _gzip(BATCH), _b64(BATCH), _form(_b64(BATCH)), _form(BATCH)]))
    at = data.draw(st.integers(0, len(body)))
    put, skip = data.draw(st.sampled_from([b"", b"%", b"\\", b'"', b"\xff", b"=", b"&"])), data.draw(st.integers(0, 9))
    broken = body[:at] + put + body[at + skip :]
    for path in ("/v1/batch", "/e", "/track", "/matomo.php", "/batch"):
        _assert_travels(_cut(path, broken), broken)
        _assert_travels(_cut(path, body[:at]), body[:at])


@pytest.mark.slow
@pytest.mark.parametrize("path", ["/v1/batch", "/track", "/matomo.php", "/g/collect"])
def test_the_work_is_linear(path: str) -> None:
    frames = [
        (b'{"batch":["', b'"],"a":"', b'"}'),
        (b'{"batch":[', b"1]}"),
        (b"{}\n", b"\n{}"),
        (b'{"requests":[', b"1]}"),
    ]
    for frame in frames:
        assert_linear(lambda body: _cut(path, body), *frame, size=262_144, runs=(b"1,", b"[]", b"{},", b'"",'))
    assert_linear(lambda body: _cut(path, body), b'{"batch":["', b'"],"a":"', b'"}')
    assert_linear(lambda body: _cut(path, body), b"data=", b"&a=b")


def test_a_form_of_many_fields_is_cut() -> None:
    many = b"&".join(b"field%d=%%7B%d" % (n, n) for n in range(10_000))
    assert _cut("/track", many + b"&" + _form(A)).items == [A]
    assert _cut("/events", many, content_type=FORM).items == [many.decode()]
    assert _cut("/matomo.php", many).items == [many.decode()]
    wide = b"{" + b",".join(b'"k%d":%d' % (n, n) for n in range(10_000)) + b"}"
    assert _cut("/v1/t", wide).items == [wide]
    assert _cut("/v1/b", b'{"batch":[' + wide + b"," + A + b"]}").items == [wide, A]


def test_lists_are_cut_into_as_many_as_ten_packs_hold() -> None:
    assert json_items.MAX_ITEMS == 10 * hit.MAX_HITS
