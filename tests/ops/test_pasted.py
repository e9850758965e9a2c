"""What developers paste: read as the request it stands for, or refused in one line."""

from __future__ import annotations

import json
import shlex
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local import snippets
from local.story import Reading
from services.ops import pasted
from services.ops.deployment import CommandRefused
from services.processor.parse import Parser
from services.shared import identity, schema_file
from services.shared.hit import Hit
from services.shared.schema import DEFAULT_FILE

SCHEMA = schema_file.load(DEFAULT_FILE)
URL = "https://t.example.com/pixel.gif?user_id=ada"
FORM = {"content-type": "application/x-www-form-urlencoded"}
JSON = {"Content-Type": "application/json"}
NAMED = {"user-agent": "me", "referer": "https://a.example", "cookie": "c=1"}
POSTED = [
    ("curl '{url}'", None, {}),
    ('curl -i "{url}" -H "Sec-GPC: 1"', None, {"Sec-GPC": "1"}),
    ("curl {url} -X POST", b"", FORM),
    ("curl {url} -d a=1 --data-raw b=2", b"a=1&b=2", FORM),
    ("curl -H 'Content-Type: application/json' \\\n  --data-binary '[1]' \\\n {url}", b"[1]", JSON),
    ("curl --json='{{}}' {url}", b"{}", {"content-type": "application/json"}),
    ("curl -A me -e https://a.example -b c=1 --compressed -m 5 {url}", None, NAMED),
    ("curl --url={url} --data-raw $'{{\"a\":\"it\\'s \\u00e9\"}}'", '{"a":"it\'s é"}'.encode(), FORM),
    ("GET {url} HTTP/1.1\nHost: x\nDNT: 1\n\n", None, {"DNT": "1"}),
    ("POST {url}\r\nContent-Type: text/plain\r\nContent-Length: 3\r\n\r\na=1", b"a=1", {"Content-Type": "text/plain"}),
]  # fmt: skip


@pytest.mark.parametrize(("text", "body", "headers"), POSTED)
def test_a_request_is_read(text: str, body: bytes | None, headers: dict[str, str]) -> None:
    found = pasted.read(text.format(url=URL)).request
    assert (found.target, found.host) == ("/pixel.gif?user_id=ada", "t.example.com")
    assert (found.body, dict(found.headers)) == (body, headers)


def test_data_of_a_get_goes_into_the_query_string() -> None:
    assert pasted.read("curl -G https://t.example.com/i -d user_id=ada -d n=1").request.target == "/i?user_id=ada&n=1"


@pytest.mark.parametrize("text", [URL, "/pixel.gif?user_id=ada", "?user_id=ada"])
def test_an_address_is_a_request(text: str) -> None:
    found = pasted.read(text)
    assert (found.request.body, found.guessed) == (None, None)
    assert found.request.target.endswith("?user_id=ada")


def test_what_each_tracker_sends_is_taken_for_its_own() -> None:
    """By the bodies that the page's snippets fire, which a collector takes."""
    for one in snippets.snippets("http://127.0.0.1:1", "e1"):
        protocol, fires = one["protocol"], one["fires"]
        if fires["body"] is not None and protocol not in ("form", "post", "rudderstack", "jitsu"):
            assert pasted.guess(json.loads(fires["body"])) == protocol, protocol


SEGMENT: dict[str, Any] = {"type": "track", "event": "a", "userId": "ada"}


@pytest.mark.parametrize(
    ("body", "protocol"),
    [
        ({"user_id": "ada"}, "native"),
        ([{"user_id": "ada"}], "native"),
        ([], "native"),
        ("text", "native"),
        (SEGMENT, "segment"),
        ({"batch": [SEGMENT], "writeKey": "K"}, "segment"),
        ({"batch": [{**SEGMENT, "context": {"library": {"name": "RudderLabs JavaScript SDK"}}}]}, "rudderstack"),
        ({**SEGMENT, "context": {"library": {"name": "@jitsu/js"}}}, "jitsu"),
        ({"requests": ["?idsite=1"]}, "matomo"),
        ([{"$token": "K", "$distinct_id": "ada", "$set": {}}], "mixpanel"),
        ({"batch": [{"event": "a", "properties": {"distinct_id": "ada"}}], "api_key": "K"}, "posthog"),
    ],
)
def test_a_protocol_is_guessed_by_what_only_it_has(body: Any, protocol: str) -> None:
    assert pasted.read(json.dumps(body)).guessed == protocol


@pytest.mark.parametrize(
    ("text", "target", "protocol"),
    [
        ("user_id=ada&type=view", "/i?user_id=ada&type=view", "native"),
        ("idsite=1&rec=1", "/matomo.php?idsite=1&rec=1", "matomo"),
        ("v=2&tid=G-1&en=x", "/g/collect?v=2&tid=G-1&en=x", "gtag"),
        ("e=pv&p=web", "/i?e=pv&p=web", "snowplow"),
    ],
)
def test_a_query_string_is_a_pixels_or_a_trackers(text: str, target: str, protocol: str) -> None:
    found = pasted.read(text)
    assert (found.request.target, found.guessed) == (target, protocol)


@pytest.mark.parametrize("text", ["/i?a=\ud800", "curl $'https://t.example.com/i?a=\\ud800'", "a=\ud800"])
def test_half_a_character_is_a_question_mark(text: str) -> None:
    assert pasted.read(text).request.target == "/i?a=?"


def test_a_request_that_is_sent_again_reads_no_file_and_is_no_pattern() -> None:
    reading = Reading(SCHEMA, Parser(SCHEMA), "http://127.0.0.1:1")
    one = Hit(identity.uuid7(1), 1, "POST", "/events", "a[1-9]={x}", text="@/etc/hosts")
    said = reading.curl(one)
    found = pasted.read(said).request
    assert (found.target, found.body) == ("/events?a[1-9]={x}", b"@/etc/hosts")
    assert "-g" in shlex.split(said)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "there is nothing to read"),
        ("curl", "the curl command has no URL"),
        ("curl 'x", "the curl command cannot be read: No closing quotation"),
        (f"curl {URL} -d", "curl's -d has no value"),
        (f"curl {URL} -d @/etc/passwd", "the file '/etc/passwd' is not read here; paste what is in it"),
        (f"curl {URL} -F a=b", "curl's --form is not read"),
        (f"curl -X PUT {URL}", "the collector takes GET, HEAD and POST, not 'PUT'"),
        (f"curl {URL} -H 'no header'", "'no header' is not a header; write NAME: VALUE"),
        (f"POST {URL}\na\tb: c\n\nx", "'a\\tb: c' is not a header"),
        ("[1", "this begins like JSON but is not"),
        ("a=1\nb=2", "this is not a URL"),
        ("hello", "this is not a URL, curl command, JSON or query string"),
        ("http://[::1", "'http://[::1'"),
    ],
)
def test_what_cannot_be_read_is_refused_in_one_line(text: str, said: str) -> None:
    with pytest.raises(CommandRefused) as caught:
        pasted.read(text)
    assert str(caught.value).startswith(said) and "\n" not in str(caught.value)


@given(st.one_of(st.text(), st.text().map("curl {}".format), st.text().map("POST /x\n{}".format)))
def test_nothing_pasted_raises_anything_else(text: str) -> None:
    with suppress(CommandRefused):
        assert pasted.read(text).request.target.startswith("/")


@given(
    st.recursive(
        st.none() | st.text() | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_no_json_is_without_a_guess(body: Any) -> None:
    assert isinstance(pasted.guess(body), str)


def test_no_file_is_opened(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("x=1")
    with pytest.raises(CommandRefused, match="is not read here"):
        pasted.read(f"curl {URL} --data-binary @{secret}")
    assert pasted.read(f"curl {URL} --data-raw @{secret}").request.body == f"@{secret}".encode()
