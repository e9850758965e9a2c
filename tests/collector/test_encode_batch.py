from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.collector import body, encode_batch
from services.shared import hit, identity

# What a request may hold: any character, and the lone surrogates that stand for bytes that are not UTF-8.
TEXT = st.text(st.characters(exclude_categories=["Cs"]) | st.characters(min_codepoint=0xDC80, max_codepoint=0xDCFF))
EVENTS = st.dictionaries(TEXT, TEXT, max_size=3).map(
    lambda event: b"{%b}" % b",".join(hit.text(name) + b":" + hit.text(value) for name, value in event.items())
)


@given(st.integers(0, 2**53), TEXT, TEXT, st.dictionaries(TEXT, TEXT, max_size=3), st.ip_addresses(), st.lists(EVENTS))
def test_the_lines_are_those_each_hit_has_by_itself(
    at: int, path: str, query: str, headers: dict[str, str], ip: object, events: list[bytes]
) -> None:
    like = hit.Hit("", at, "POST", path, query, headers, str(ip))
    ids = identity.uuid7s(at, len(events))
    assert encode_batch.encode([like] * len(events), ids, events) == [
        hit.encode(hit.Hit(own, at + n, "POST", path, query, headers, str(ip), msgspec.Raw(event), n))
        for n, (own, event) in enumerate(zip(ids, events, strict=True))
    ]


def test_a_header_that_is_not_utf8_is_read_as_latin_1() -> None:
    like = hit.Hit("", 5, "POST", "/events", headers={"user-agent": b"Caf\xe9/1.0".decode("utf-8", "surrogateescape")})
    assert encode_batch.encode([like, like], ["a", "b"], [b'{"n":1}', b'{"n":2}']) == [
        '{"id":"a","at":5,"method":"POST","path":"/events","headers":{"user-agent":"Café/1.0"},"body":{"n":1}}'.encode(),
        '{"id":"b","at":6,"method":"POST","path":"/events","headers":{"user-agent":"Café/1.0"},"body":{"n":2},"index":1}'.encode(),
    ]


@pytest.mark.parametrize(
    ("text", "media"),
    [
        (b'[{"a":\n1},{"a":\r\n1} ,\n{"a":  1}]', "application/json"),
        (b'{"a":  1}\r\n\n {"a":\r 1}\t\n{"a": \r1}', "application/x-ndjson"),
        (b'\r\n{"a":\r\n1}\n', "text/plain"),
    ],
)
def test_an_event_has_no_line_end_and_its_length(text: bytes, media: str) -> None:
    found = body.events(text, media)
    assert {msgspec.json.decode(event)["a"] for event in found} == {1}
    assert not any({b"\r", b"\n"} & {event[n : n + 1] for n in range(len(event))} for event in found)
    assert {len(event) for event in found} <= {len(b'{"a": 1}'), len(b'{"a":  1}')}
