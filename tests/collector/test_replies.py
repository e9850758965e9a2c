from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.collector import cut, pixel, replies, routes
from services.collector.replies import Answer, Asked
from tests.growth import assert_linear

TABLE = routes.Table()
NOW = 1_767_323_045_123_456


def _asked(method: str, target: str, body: bytes = b"", content_type: str = "") -> Answer:
    path, _, query = target.partition("?")
    found = TABLE.at(path)
    assert found is not None
    route, key = found
    headers = {"content-type": content_type}
    route = route.choose(query, headers)
    result = None
    if route.outcome == routes.KEPT and route.shape != routes.NATIVE:
        result = cut.cut(route, body, query=query, headers=headers)
        route = result.route
    return replies.answer(route.reply, Asked(method, route.path, query, key, result, len(body), NOW))


EMPTY = Answer(204)
EVENTS = b'[{"event":"a"},{"event":"b"}]'


@pytest.mark.parametrize(
    ("method", "target", "body", "status", "expected"),
    [
        ("POST", "/v1/t", b"{}", 200, {"success": True}),
        ("POST", "/v1/batch", b'{"batch":[]}', 200, {"success": True}),
        ("POST", "/v1/batch", b"broken", 200, {"success": True}),
        ("POST", "/beacon/v1/batch", b"{}", 200, "OK"),
        ("POST", "/api/s/track", b"{}", 200, {"ok": True}),
        ("POST", "/e/", b"{}", 200, {"status": "Ok"}),
        ("POST", "/s/", b"{}", 200, {"status": "Ok"}),
        ("POST", "/batch/", b'{"batch":[1]}', 200, {"status": "Ok"}),
        ("POST", "/track/?verbose=1&ip=1", b"data=e30%3D", 200, {"status": 1, "error": None}),
        ("POST", "/track/", b"data=e30%3D&verbose=1", 200, {"status": 1, "error": None}),
        ("GET", "/track/?data=e30%3D&verbose=1", b"", 200, {"status": 1, "error": None}),
        ("POST", "/track/", b"data=e30%3D", 200, 1),
        ("POST", "/track/", b"data=broken", 200, 1),
        ("POST", "/engage/?verbose=0", b"data=e30%3D", 200, 1),
        ("POST", "/import", b"data=e30%3D&verbose=1", 200, {"status": 1, "error": None}),
        ("POST", "/import?strict=1", EVENTS, 200, {"code": 200, "num_records_imported": 2, "status": "OK"}),
        ("POST", "/api/send", b"{}", 200, {"cache": "0", "sessionId": "0", "visitId": "0"}),
        ("POST", "/debug/mp/collect", b"{}", 200, {"validationMessages": []}),
        ("POST", "/matomo.php", b'{"requests":["?idsite=1","?idsite=2"]}', 200,
         {"status": "success", "tracked": 2, "invalid": 0}),
    ],
)  # fmt: skip
def test_a_client_gets_the_reply_that_it_reads(
    method: str, target: str, body: bytes, status: int, expected: Any
) -> None:
    answer = _asked(method, target, body)
    assert (answer.status, json.loads(answer.body)) == (status, expected)
    assert answer.media == ("text/plain" if expected == 1 else "application/json")


@pytest.mark.parametrize("path", ["/2/httpapi", "/batch"])
def test_amplitude_learns_how_many_were_taken_and_when(path: str) -> None:
    body = b'{"api_key":"k","events":[1,2,3]}'
    assert json.loads(_asked("POST", path, body).body) == {
        "code": 200,
        "events_ingested": 3,
        "payload_size_bytes": len(body),
        "server_upload_time": 1_767_323_045_123,
    }


@pytest.mark.parametrize(
    ("method", "target", "body", "expected"),
    [
        ("GET", "/i?e=pv", b"", Answer(200, "image/gif", pixel.GIF)),
        ("GET", "/matomo.php?idsite=1", b"", Answer(200, "image/gif", pixel.GIF)),
        ("GET", "/matomo.php?idsite=1&send_image=01", b"", Answer(200, "image/gif", pixel.GIF)),
        ("GET", "/matomo.php?send_image=0&idsite=1", b"", EMPTY),
        ("POST", "/matomo.php?idsite=1&send_image=0", b"", EMPTY),
        ("POST", "/matomo.php", b"idsite=1&send_image=0", EMPTY),
        ("POST", "/matomo.php", b"idsite=1", Answer(200, "image/gif", pixel.GIF)),
        ("POST", "/api/event", b"{}", Answer(202, "text/plain", b"ok")),
        ("POST", "/mp/collect", b"broken", EMPTY),
        ("POST", "/g/collect?v=2", b"en=a", EMPTY),
        ("POST", "/com.acme/tp2", b"{}", Answer(200, "text/plain", b"ok")),
        ("POST", "/events", b"a=b", EMPTY),
    ],
)
def test_a_client_that_reads_nothing_gets_an_image_or_nothing(
    method: str, target: str, body: bytes, expected: Answer
) -> None:
    assert _asked(method, target, body, "application/x-www-form-urlencoded") == expected


def test_a_cloud_event_is_answered_with_nothing() -> None:
    assert _asked("POST", "/events", b"{}", "application/cloudevents+json") == EMPTY


def test_segment_gets_settings_with_its_own_key() -> None:
    settings = json.loads(_asked("GET", "/v1/projects/wk_1/settings").body)
    assert settings["integrations"]["Segment.io"]["apiKey"] == "wk_1"
    assert settings["plan"] == {}


@pytest.mark.parametrize("key", ["wk", 'w k+é"</script>', ""])
def test_rudderstack_gets_a_source_with_its_own_key(key: str) -> None:
    for path in ("/sourceConfig", "/sourceConfig/"):
        source = json.loads(_asked("GET", f"{path}?p=npm&writeKey={quote(key)}&v=1").body)["source"]
        assert (source["writeKey"], source["enabled"], source["destinations"]) == (key, True, [])
        assert source["config"]["statsCollection"]["errors"] == {"enabled": False}


def test_posthog_gets_no_flags_and_no_recording() -> None:
    flags = json.loads(_asked("POST", "/flags/?v=2", b"{}").body)
    assert (flags["flags"], flags["featureFlags"], flags["supportedCompression"]) == ({}, {}, ["gzip-js"])
    config = json.loads(_asked("GET", "/array/phc_1/config?ip=0").body)
    assert config.items() >= {"sessionRecording": False, "surveys": False, "hasFeatureFlags": False}.items()
    script = _asked("GET", "/array/phc_1/config.js")
    before, _, after = script.body.decode().partition('["phc_1"]=')
    assert before == "(window._POSTHOG_REMOTE_CONFIG=window._POSTHOG_REMOTE_CONFIG||{})"
    assert json.loads(after.removesuffix(";")) == {"config": config, "siteApps": []}
    assert script.media.startswith("application/javascript")
    assert _asked("GET", "/static/1.0/recorder.js").status == 200


@settings(deadline=None)  # on a busy machine any example may wait
@given(st.sampled_from(sorted(replies.REPLIES)), st.text(max_size=50), st.from_regex(r"[\w.~-]{0,9}", fullmatch=True))
def test_every_reply_can_be_made_for_any_query(name: str, query: str, key: str) -> None:
    for sent in (query, f"writeKey={query}", "writeKey=%ED%A0%BD\udcff&verbose=1", f"send_image=0&{query}"):
        answer = replies.answer(name, Asked("POST", "/x.png", sent, key, None, 0, NOW))
        assert 200 <= answer.status < 300
        if answer.media == "application/json":
            json.loads(answer.body)
        assert bool(answer.media) == (answer.status != 204)


@pytest.mark.parametrize("name", sorted(replies.REPLIES))
def test_a_reply_takes_linear_work(name: str) -> None:
    assert_linear(lambda query: replies.answer(name, Asked(query=query)), "writeKey=", "&send_image=0", size=16_384)
