"""What other trackers send arrives as hits, item by item, and each client gets the reply that it needs."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from prometheus_client import generate_latest

from services.collector import pixel
from services.shared.config import ConfigError
from services.shared.hit import Hit
from tests.collector.conftest import Running, Start

MB = 1_048_576
ORIGIN = {"Origin": "https://shop.example"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def _bodies(hits: list[Hit]) -> list[Any]:
    return [json.loads(bytes(one.body)) for one in hits]


async def _send(
    collector: Running, method: str, target: str, body: bytes = b"", headers: dict[str, str] | None = None
) -> tuple[int, bytes]:
    async with collector.http.request(
        method, collector.url + target, data=body or None, headers={**ORIGIN, **(headers or {})}
    ) as reply:
        assert reply.headers["Access-Control-Allow-Origin"] == "https://shop.example"
        assert reply.headers["Access-Control-Allow-Credentials"] == "true"
        return reply.status, await reply.read()


def _count(collector: Running, protocol: str, outcome: str) -> float:
    found = collector.registry.get_sample_value(
        "pixelpipe_collector_tracker_items_total", {"protocol": protocol, "outcome": outcome}
    )
    return found or 0.0


async def test_each_item_of_a_batch_is_a_hit_with_what_surrounds_it(collector: Running) -> None:
    body = gzip.compress(b'{"batch":[{"n":0},"text",{"n":2}],"sentAt":"2026-01-02"}', mtime=0)
    headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
    assert await _send(collector, "POST", "/v1/batch/?a=1", body, headers) == (200, b'{"success":true}')
    hits = collector.hits(3)
    assert _bodies(hits) == [{"n": 0}, "text", {"n": 2}]
    assert {(one.via, one.path, one.query, one.method) for one in hits} == {
        ("segment.batch", "/v1/batch", "a=1", "POST")
    }
    assert [one.index for one in hits] == [0, 1, 2]
    assert [one.at - hits[0].at for one in hits] == [0, 1, 2]
    assert {bytes(one.envelope) for one in hits} == {b'{"sentAt":"2026-01-02"}'}
    assert len({one.id for one in hits}) == 3
    assert _count(collector, "segment", "captured") == 3


async def test_items_that_are_text_are_hits_too(collector: Running) -> None:
    bulk = json.dumps({"requests": ["?idsite=1&a=é", "?idsite=2"]}).encode()
    status, reply = await _send(collector, "POST", "/matomo.php", bulk, FORM)
    assert (status, json.loads(reply)) == (200, {"status": "success", "tracked": 2, "invalid": 0})
    assert [(one.via, one.text, bytes(one.body)) for one in collector.hits(2)] == [
        ("matomo", "idsite=1&a=é", b""),
        ("matomo", "idsite=2", b""),
    ]
    assert (await _send(collector, "POST", "/g/collect?v=2", b"en=a\r\nen=b"))[0] == 204
    assert [(one.via, one.text, one.query) for one in collector.hits(2)] == [
        ("gtag", "en=a", "v=2"),
        ("gtag", "en=b", "v=2"),
    ]
    assert (await _send(collector, "POST", "/events", b"type=a&n=1", FORM))[0] == 204
    assert [(one.via, one.text) for one in collector.hits(1)] == [("", "type=a&n=1")]


@pytest.mark.parametrize(("method", "status"), [("GET", 200), ("POST", 200)])
async def test_a_request_without_a_body_is_its_query(collector: Running, method: str, status: int) -> None:
    assert await _send(collector, method, "/matomo.php?idsite=1&rec=1") == (status, pixel.GIF)
    (one,) = collector.hits(1)
    assert (one.via, one.query, one.text, bytes(one.body), one.method) == ("matomo", "idsite=1&rec=1", "", b"", method)


async def test_a_query_that_held_the_items_is_kept_without_them(collector: Running) -> None:
    data = base64.b64encode(b'{"event":"a"}').decode()
    assert await _send(collector, "GET", f"/track/?data={data}&ip=1") == (200, b"1")
    (one,) = collector.hits(1)
    assert (one.via, one.query, _bodies([one])) == ("mixpanel", "ip=1", [{"event": "a"}])


async def test_snowplow_and_the_pixel_share_a_path(collector: Running) -> None:
    for target in ("/i?e=pv&eid=1", "/i?type=a", "/i/?e=pv&eid=2"):
        assert await _send(collector, "GET", target, headers={"SP-Anonymous": "*"}) == (200, pixel.GIF)
    hits = sorted(collector.hits(3), key=lambda one: one.at)
    assert [(one.via, one.query) for one in hits] == [
        ("snowplow", "e=pv&eid=1"), ("", "type=a"), ("snowplow", "e=pv&eid=2")
    ]  # fmt: skip
    assert ["sp-anonymous" in one.headers for one in hits] == [True, False, True]


async def test_a_hit_says_which_of_many_paths_it_came_by(start: Start) -> None:
    collector = await start(paths=("/open/{mail}.gif=pixel",))
    assert await _send(collector, "GET", "/open//a%2D1.gif?n=1") == (200, pixel.GIF)
    assert await _send(collector, "POST", "/com.acme/tp2/?n=1", b"{}") == (200, b"ok")
    assert sorted(one.path for one in collector.hits(2)) == ["/com.acme/tp2", "/open/a-1.gif"]


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_no_address_is_kept_of_who_asks_snowplow_for_that(collector: Running, method: str) -> None:
    target, body = ("/i?e=pv", b"") if method == "GET" else ("/com.acme/tp2", b'{"data":[{"e":"pv"}]}')
    for headers in ({"SP-Anonymous": "*"}, {}):
        await _send(collector, method, target, body, headers)
    anonymous, other = sorted(collector.hits(2), key=lambda one: one.at)
    assert (anonymous.ip, other.ip) == ("", "127.0.0.0")


async def test_a_cloud_event_keeps_its_headers(collector: Running) -> None:
    headers = {"Ce-Id": "1", "CE-Source": "/s", "Content-Type": "application/json", "Cookie": "c"}
    assert (await _send(collector, "POST", "/events", b'{"a":1}', headers))[0] == 204
    (one,) = collector.hits(1)
    assert one.via == "cloudevents.binary"
    assert one.headers.items() >= {"ce-id": "1", "ce-source": "/s", "content-type": "application/json"}.items()
    assert "cookie" not in one.headers


@pytest.mark.parametrize("body", [b"broken", b'{"batch":[{"a":1}', gzip.compress(b"[1,2]", mtime=0)[:-5], bytes(100)])
async def test_a_body_that_cannot_be_cut_is_one_hit_and_accepted(collector: Running, body: bytes) -> None:
    assert await _send(collector, "POST", "/v1/b", body) == (200, b'{"success":true}')
    (one,) = collector.hits(1)
    assert (one.via, bytes(one.body)) == ("segment.batch", b"")
    assert json.loads(bytes(one.envelope))["bytes"] == len(body)
    assert _count(collector, "segment", "uncut") == 1
    assert _count(collector, "segment", "captured") == 0


@pytest.mark.parametrize("size", [MB, 5 * MB])
@pytest.mark.parametrize("chunked", [True, False])
async def test_a_body_that_is_too_large_is_accepted_and_becomes_a_reject(
    collector: Running, size: int, chunked: bool
) -> None:
    whole = b'{"data":["' + b"x" * size

    async def chunks() -> AsyncIterator[bytes]:
        for at in range(0, len(whole), 100_000):
            yield whole[at : at + 100_000]

    url = collector.url + "/com.acme/tp2"
    async with collector.http.post(url, data=chunks() if chunked else whole) as reply:
        assert (reply.status, await reply.read()) == (200, b"ok")
    (one,) = collector.hits(1)
    assert json.loads(bytes(one.envelope)) == {"uncut": "too large", "bytes": len(whole)}
    assert one.text == whole[:65_536].decode()


@pytest.mark.parametrize(
    ("path", "before", "after"),
    [
        ("/com.acme/tp2", b'{"data":["', b""),
        ("/matomo.php", b"idsite=1&a=", b""),
        ("/v1/batch", b'{"a":1}\n', b'\n{"a":2}'),
        ("/g/collect", b"en=a\nen=b&a=", b"\nen=c"),
    ],
)
async def test_a_password_that_is_cut_in_two_is_not_kept(
    collector: Running, path: str, before: bytes, after: bytes
) -> None:
    """A text that is too large is cut after 65,536 bytes, wherever that is."""
    line = before.rpartition(b"\n")[2]
    url = b"&u=https://me:Planted7Secret"
    whole = before + b"x" * (65_536 - len(line) - len(url)) + url + b"@x.example/" + b"y" * 300_000 + after
    headers = {"Content-Type": "application/x-ndjson"} if path == "/v1/batch" else {}
    async with collector.http.post(collector.url + path, data=whole, headers=headers) as reply:
        assert reply.status < 400, await reply.text()
    hits = collector.hits(1 + whole.count(b"\n"))
    kept = [one.text or bytes(one.body).decode() for one in hits]
    assert "Secret" not in "".join(kept)
    assert max(map(len, kept)) > (60_000 if path != "/g/collect" else 0)


async def test_clients_that_make_smaller_batches_get_a_413(collector: Running) -> None:
    body = b'{"events":[' + b" " * MB + b"]}"
    assert (await _send(collector, "POST", "/2/httpapi", body))[0] == 413
    assert (await _send(collector, "POST", "/2/httpapi", b'{"events":[{"a":1}]}'))[0] == 200
    assert _bodies(collector.hits(1)) == [{"a": 1}]


async def test_a_batch_of_many_items_is_cut_into_as_many_hits(collector: Running) -> None:
    body = b'{"batch":[' + b",".join(b"%d" % n for n in range(10_000)) + b"]}"
    assert await _send(collector, "POST", "/e/", body) == (200, b'{"status":"Ok"}')
    hits = collector.hits(10_000)
    assert sorted((one.index, int(bytes(one.body))) for one in hits) == [(n, n) for n in range(10_000)]


async def test_what_many_items_would_repeat_is_bounded(collector: Running) -> None:
    body = b'{"batch":[' + b",".join([b"1"] * 10_000) + b"]}"
    assert (await _send(collector, "POST", "/e/?q=" + "x" * 5_000, body))[0] == 200
    (one,) = collector.hits(1)
    assert json.loads(bytes(one.envelope)) == {"uncut": "too large", "bytes": len(body)}


async def test_an_empty_batch_is_accepted_and_is_no_hit(collector: Running) -> None:
    assert await _send(collector, "POST", "/v1/batch", b'{"batch":[]}') == (200, b'{"success":true}')
    assert _count(collector, "segment", "captured") == 0


async def test_a_session_replay_is_answered_dropped_and_counted(collector: Running) -> None:
    for body in (b"{}", bytes(2 * MB)):
        assert await _send(collector, "POST", "/s/?compression=gzip-js", body) == (200, b'{"status":"Ok"}')
    assert _count(collector, "posthog", "dropped") == 2
    assert collector.metric('pixelpipe_collector_hits_total{method="POST"}') == 0


async def test_documents_are_answered_and_are_no_hits(collector: Running) -> None:
    for method, target in [
        ("GET", "/v1/projects/wk/settings"),
        ("GET", "/sourceConfig/?writeKey=wk"),
        ("GET", "/array/wk/config.js"),
        ("POST", "/flags/?v=2"),
    ]:
        status, body = await _send(collector, method, target, b"{}" if method == "POST" else b"")
        assert status == 200
        assert b"wk" in body or method == "POST"
    assert b"_hits_total 1" not in generate_latest(collector.registry)


async def test_every_path_may_be_asked_by_a_page(collector: Running) -> None:
    for path in ("/v1/t", "/e/", "/com.acme/tp2", "/flags/", "/api/send", "/g/collect", "/v1/projects/k/settings"):
        headers = {
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization,x-retry-count",
        }
        async with collector.http.options(collector.url + path, headers={**ORIGIN, **headers}) as reply:
            assert reply.status == 204
            assert reply.headers["Access-Control-Allow-Headers"] == "authorization,x-retry-count"
            assert reply.headers["Access-Control-Allow-Credentials"] == "true"
    assert (await _send(collector, "GET", "/v1/t"))[0] == 405
    assert (await _send(collector, "GET", "/v1/nothing"))[0] == 404


async def test_a_sender_of_cloud_events_may_ask_whether_it_is_welcome(start: Start) -> None:
    collector = await start(paths=("/x/ce=cloudevents",))
    asked = {"WebHook-Request-Origin": "events.shop.example", "WebHook-Request-Rate": "120"}
    for path, welcome in (("/events", True), ("/events/", True), ("/x/ce", True), ("/v1/t", False), ("/x", False)):
        async with collector.http.options(collector.url + path, headers=asked) as reply:
            assert reply.status == 204
            assert reply.headers.get("WebHook-Allowed-Origin") == ("events.shop.example" if welcome else None)
            assert reply.headers.get("WebHook-Allowed-Rate") == ("*" if welcome else None)
        async with collector.http.options(collector.url + path, headers=ORIGIN) as reply:
            assert "WebHook-Allowed-Origin" not in reply.headers


async def test_what_is_asked_of_the_measurement_protocol_gets_no_error(collector: Running) -> None:
    assert await _send(collector, "GET", "/mp/collect?measurement_id=G-1") == (204, b"")
    assert await _send(collector, "GET", "/debug/mp/collect") == (200, b'{"validationMessages":[]}')
    (one,) = collector.hits(1)
    assert (one.via, one.query, one.text, bytes(one.body)) == ("ga4", "measurement_id=G-1", "", b"")


async def test_paths_are_renamed_and_protocols_switched_off(start: Start) -> None:
    collector = await start(paths=("/x/t=segment.track", "/open.gif", "/x/p=pixel"), protocols=("segment",))
    assert (await _send(collector, "POST", "/x/t/", b"{}"))[0] == 200
    assert (await _send(collector, "GET", "/open.gif"))[0] == 200
    assert (await _send(collector, "GET", "/x/p?e=pv"))[0] == 200
    assert (await _send(collector, "GET", "/i?e=pv"))[0] == 200
    assert (await _send(collector, "POST", "/e/", b"{}"))[0] == 404
    assert sorted((one.path, one.via) for one in collector.hits(4)) == [
        ("/i", ""), ("/open.gif", ""), ("/x/p", ""), ("/x/t", "segment.track")
    ]  # fmt: skip


@pytest.mark.parametrize("settings", [{"paths": ("/x=snowplo",)}, {"protocols": ("snowplo",)}])
async def test_a_wrong_setting_is_named(start: Start, settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"PIPE_PATHS, PIPE_PROTOCOLS: '.*snowplo'"):
        await start(**settings)
