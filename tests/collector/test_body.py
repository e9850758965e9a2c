from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.collector import body, encode_batch
from services.shared import hit, json_depth
from tests.growth import assert_linear

MB = 1_048_576
JSON, NDJSON = "application/json", "application/x-ndjson"
EVENT = b'{"user_id":"u1","note":"caf\xc3\xa9","n":1.50}'


def _refused(data: bytes, media: str = JSON) -> tuple[int, str, str]:
    with pytest.raises(body.BadBody) as refused:
        body.events(data, media)
    return refused.value.status, refused.value.error, refused.value.where


@pytest.mark.parametrize(
    ("data", "status", "error", "where"),
    [
        (b"", 400, "the body is empty", ""),
        (b"  \n ", 400, "the body is empty", ""),
        (b" " * MB, 400, "the body is empty", ""),
        (b"\r" * MB, 400, "the body is empty", ""),
        (b"\xef\xbb\xbf", 400, "the body is empty", ""),
        (b"[]", 400, "there is no event in the body", ""),
        (b"\0", 400, "not JSON: invalid character", "line 1, column 1"),
        (b"hello", 400, "not JSON: invalid character", "line 1, column 1"),
        (b'{"a":1', 400, "not JSON: the end is missing", "line 1, column 7"),
        (b'{"a":1\n', 400, "not JSON: the end is missing", "line 1, column 7"),
        (b'{"a":1}x', 400, "not JSON: trailing characters", "line 1, column 8"),
        (b'{"a":NaN}', 400, "not JSON: invalid character", "line 1, column 6"),
        (b'{"a":"\0"}', 400, "not JSON: invalid character", "line 1, column 7"),
        (b'{"a":\xef\xbb\xbf1}', 400, "not JSON: invalid character", "line 1, column 6"),
        (b'{"\xc3\xa9\xc3\xa9":?}', 400, "not JSON: invalid character", "line 1, column 7"),
        (b'\xef\xbb\xbf{"a":?}', 400, "not JSON: invalid character", "line 1, column 6"),
        (b'{\n  "a": 1,\n  "b": ?\n}', 400, "not JSON: invalid character", "line 3, column 8"),
        (b'\n{\n  "a": 1,\n}\n', 400, "not JSON: trailing comma in object", "line 4, column 1"),
        (b'{"a":1}\n{"a":}\n', 400, "not JSON: invalid character", "line 2, column 6"),
        (b'{"a":1}\r\n\r\n{"a":', 400, "not JSON: the end is missing", "line 3, column 6"),
        (b"{}\r{}", 400, "not JSON: trailing characters", "line 1, column 4"),
        (b"3", 400, "an event is a JSON object, this is not one", "line 1, column 1"),
        (b' "text"', 400, "an event is a JSON object, this is not one", "line 1, column 2"),
        (b'[{"a":1},2]', 400, "an event is a JSON object, this is not one", "element 1, line 1, column 10"),
        (b'[\n {"a":1},\n [],{}]', 400, "an event is a JSON object, this is not one", "element 1, line 3, column 2"),
        (b'[{},\n{"a":?}]', 400, "not JSON: invalid character", "element 1, line 2, column 6"),
        (b"[{},{},,{}]", 400, "not JSON: invalid character", "element 2, line 1, column 8"),
        (b"[{},{},{}", 400, "not JSON: the end is missing", "element 3, line 1, column 10"),
        (b"[{}]x", 400, "not JSON: trailing characters", "line 1, column 5"),
        (b'{"a":"\\u12g4"}', 400, "not JSON: invalid character in unicode escape", "line 1, column 11"),
        (b"[{}]\n[{}]", 400, "not JSON: trailing characters", "line 2, column 1"),
        (b"[1,?]", 400, "not JSON: invalid character", "line 1, column 4"),
        (b'{"a":"\xff"}', 400, "the body is not UTF-8", "line 1, column 7"),
        (b'[{},\n{"\\ud83d":1},{"caf\xe9":1}]', 400, "the body is not UTF-8", "element 2, line 2, column 19"),
        (b"[" + b"[" * 2000 + b"\xff", 400, "the body is not UTF-8", "line 1, column 2002"),
        (b'{"a":' + b"[" * 100_000, 400, "nested too deeply, over 490 levels", "line 1, column 495"),
        (b'{"a":' + b"[" * 490 + b"]" * 490 + b"}", 400, "nested too deeply, over 490 levels", "line 1, column 495"),
        (b'[{},\n{"a":' + b"[" * 490 + b"]" * 490 + b"}]", 400, "nested too deeply, over 490 levels",
         "element 1, line 2, column 495"),
        (b'[{},\n{"a":' + b"[" * 2000, 400, "nested too deeply, over 490 levels", "element 1, line 2, column 495"),
        (b'{}\n {"a":' + b"[" * 490 + b"]" * 490 + b"}", 400, "nested too deeply", "line 2, column 496"),
        (b"[" + b"{}," * 1000 + b"\n{}]", 413, "over 1000 events in one request", "element 1000, line 2, column 1"),
        (b"[" + b"{}," * 300_000 + b"{}]", 413, "over 1000 events in one request", "element 1000, line 1, column 3002"),
        (b"[" + b"1," * 500_000 + b"1]", 400, "an event is a JSON object", "element 0, line 1, column 2"),
        (b"{}\n" * 1001, 413, "over 1000 events in one request", "line 1001, column 1"),
        (b"{}" + b"\n" * MB + b"{}", 413, "over 10000 lines in one request", "line 1048577, column 1"),
        (b"{}" + b"\n" * 10_000 + b"{}\n{}", 413, "over 10000 lines in one request", "line 10001, column 1"),
        (b'{"a":"' + b"\\ud83d" * 100_000 + b'"}', 413, "over 50000 characters are cut in half", ""),
        (b'{"a":"' + b"\xed\xa0\xbd" * 100_000 + b'"}', 413, "over 50000 characters are written as surrogates", ""),
    ],
)  # fmt: skip
def test_what_is_wrong_and_where(data: bytes, status: int, error: str, where: str) -> None:
    found = _refused(data)
    assert (found[0], found[2]) == (status, where)
    assert found[1].startswith(error)


@pytest.mark.parametrize(
    ("data", "error", "where"),
    [
        (b'{"a":1}\n7\n', "an event is a JSON object, this is not one", "line 2, column 1"),
        (b"{}\n[{}]\n", "an event is a JSON object, this is not one", "line 2, column 1"),
        (b'{\n "a": 1\n}', "not JSON: the end is missing", "line 1, column 2"),
        (b'{}\n\n \t{"a":?}', "not JSON: invalid character", "line 3, column 8"),
        (b'{}\n"\xff"', "the body is not UTF-8", "line 2, column 2"),
    ],
)
def test_what_is_wrong_and_where_in_lines(data: bytes, error: str, where: str) -> None:
    assert _refused(data, NDJSON) == (400, error, where)


OBJECTS = st.dictionaries(st.text(max_size=3), st.none() | st.text(max_size=5) | st.lists(st.integers()), max_size=3)


@given(st.lists(OBJECTS, min_size=1, max_size=5), st.data(), st.sampled_from([None, 1, "\t"]))
def test_a_fault_is_found_in_whichever_element_it_is(objects: list[Any], data: st.DataObject, indent: Any) -> None:
    faulty = data.draw(st.integers(0, len(objects) - 1))
    mark = "here it is"
    objects[faulty] = {**objects[faulty], mark: mark}
    text = json.dumps(objects, indent=indent, ensure_ascii=False)
    before, _, after = text.partition(f'"{mark}": "{mark}"')
    lines = before.split("\n")
    assert _refused(f"{before}?{after}".encode()) == (
        400,
        "not JSON: expected '\"'",
        f"element {faulty}, line {len(lines)}, column {len(lines[-1]) + 1}",
    )


@pytest.mark.parametrize("media", [JSON, NDJSON])
@pytest.mark.parametrize(
    "event",
    [
        EVENT,
        b"{}",
        b'{"":""}',
        b'{"a": 1,  "a": 2}',
        b'{"n":' + b"9" * 1_000_000 + b"}",
        b'{"n":1e9999999999}',
        b'{"n":-0.' + b"0" * 500_000 + b"1E-9999999999}",
        b'{"' + b"k" * 1_000_000 + b'":1}',
        b'{"a":' + b" " * 1_000_000 + b"1}",
        b'{"a":"\\u0000\\ud83d\\ude00\\\\ud83d\x7f\xe2\x80\xa8"}',
        '{"a":"한국어 \U0010ffff \ufeff"}'.encode(),
        b'{"a":' + b"[" * 489 + b"]" * 489 + b"}",
        b'{"a":"' + b'[{\\"' * 100_000 + b'"}',
        b'{"a":[' + b"[],{}," * 100_000 + b"0]}",
    ],
)
def test_an_event_is_kept_byte_for_byte(event: bytes, media: str) -> None:
    assert body.events(event, media) == [event]
    assert body.events(b"\xef\xbb\xbf \n" + event + b"\r\n", media) == [event]
    if media == JSON:
        assert body.events(b"[" + EVENT + b" ,\t" + event + b"]", media) == [EVENT, event]
    assert body.events(EVENT + b"\n\n" + event, media) == [EVENT, event]


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        (rb'{"title": "cut \ud83d"}', rb'{"title": "cut \ufffd"}'),
        (rb'{"\uDE00":"\ud83d\ude00\\ud83d"}', rb'{"\ufffd":"\ud83d\ude00\\ud83d"}'),
        (b'{"a":"\xed\xa0\xbd\xed\xb8\x80"}', '{"a":"😀"}'.encode()),
        (b'{"\xed\xb8\x80":"\xed\xa0\xbd"}', '{"\ufffd":"\ufffd"}'.encode()),
    ],
)
def test_halves_of_characters_cost_no_event(sent: bytes, kept: bytes) -> None:
    for data in (sent, b"[" + EVENT + b"," + sent + b"," + EVENT + b"]", EVENT + b"\n" + sent):
        found = body.events(data, JSON)
        assert kept in found
        assert set(found) <= {kept, EVENT}


PIECES = rb'{ } [ ] , : " \ \u \ud83d \ude00 0 -1.5e9 1e9999999999 null NaN {"a":1} [] "x"'.split()
BYTES = [
    b" ",
    b"\t",
    b"\r",
    b"\n",
    b"\0",
    b"\xef\xbb\xbf",
    b"\xed\xa0\xbd",
    b"\xed\xb8\x80",
    b"\xc3\xa9",
    b"\xff",
    b"[" * 495,
]


@given(st.lists(st.sampled_from(PIECES + BYTES), max_size=20).map(b"".join), st.sampled_from([JSON, NDJSON]))
def test_any_bytes_are_events_that_travel_or_are_refused(data: bytes, media: str) -> None:
    try:
        found = body.events(data, media)
    except body.BadBody:
        return
    like = hit.Hit("", 1, "POST", "/events")
    ids = [f"id-{number}" for number in range(len(found))]
    hits = hit.unpack(*hit.pack(encode_batch.encode([like] * len(found), ids, found), "a pack"))
    assert [one.id for one in hits] == ids
    for one in hits:
        value = json.loads(bytes(one.body))
        assert isinstance(value, dict)
        json.dumps(value, ensure_ascii=False).encode()  # there is no half of a character in it


@given(st.lists(OBJECTS, min_size=1, max_size=5), st.data())
def test_what_python_reads_is_taken_and_what_it_does_not_is_refused(objects: list[Any], data: st.DataObject) -> None:
    text = bytearray(json.dumps(objects, indent=data.draw(st.sampled_from([None, 1]))).encode())
    for _ in range(data.draw(st.integers(0, 2))):
        at = data.draw(st.integers(0, len(text) - 1))
        text[at : at + data.draw(st.integers(0, 1))] = data.draw(st.sampled_from([b"", *PIECES]))
        text = text or bytearray(b"[]")
    try:
        value = json.loads(text, parse_constant=lambda name: {}[name])
        good = isinstance(value, dict) or (
            isinstance(value, list) and value and all(isinstance(o, dict) for o in value)
        )
    except (ValueError, KeyError):
        good = False
    try:
        found = body.events(bytes(text), JSON)
    except body.BadBody:
        assert not good
    else:
        assert good or b"\n" in text  # one a line, which Python does not take for JSON
        if good:
            assert len(found) == (len(value) if isinstance(value, list) else 1)


def _shapes() -> dict[str, bytes]:
    def filled(pattern: bytes) -> bytes:
        return b'{"a":[' + pattern * (MB // 4 // len(pattern)) + b"0]}"

    deep = b"[" * 300 + b"]" * 300 + b","
    return {
        "arrays": filled(b"[],"),
        "objects": filled(b"{},"),
        "shallow": filled(b'{"a":[[]]},'),
        "deep": filled(deep),
    }


@pytest.mark.parametrize("shape", _shapes())
def test_a_body_is_checked_for_less_than_building_it_would_cost(shape: str) -> None:
    data = _shapes()[shape]
    assert body.events(data, JSON) == [data]

    def least(work: Callable[[], object]) -> float:
        times = []
        for _ in range(5):
            began = time.thread_time()
            work()
            times.append(time.thread_time() - began)
        return min(times)

    assert least(lambda: body.events(data, JSON)) < least(lambda: msgspec.json.decode(data))


@pytest.mark.parametrize("media", [JSON, NDJSON])
def test_the_work_is_linear(media: str) -> None:
    def events(data: bytes) -> None:
        body.events(data, media)

    for frame in ((b'{"a":"', b'"}'), (b'{"a":[', b"]}"), (b'[{"a":1},', b"{}]"), (b"{}\n", b"\n{}")):
        assert_linear(events, *frame, refused=body.BadBody)


def test_many_events_are_still_few_enough() -> None:
    events = [b'{"n":%d,"x":"%b"}' % (number, b"y" * 100) for number in range(body.MAX_EVENTS)]
    assert body.events(b"[" + b",".join(events) + b"]", JSON) == events
    assert body.events(b"\n".join(events), JSON) == events


@pytest.mark.parametrize("media", [JSON, NDJSON])
def test_many_brackets_in_a_body_are_not_depth(media: str) -> None:
    event = b'{"a":' + b"[" * (json_depth.DEEPEST - 1) + b"]" * (json_depth.DEEPEST - 1) + b"}"
    events = [event, b"{}", b'{"s":"' + b"[{" * json_depth.DEEPEST + b'"}'] * 3
    text = b"[" + b",".join(events) + b"]" if media == JSON else b"\n".join(events)
    assert body.events(text, media) == events
