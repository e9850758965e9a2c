from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.shared import hit, zstd_frame
from services.shared.errors import Poison
from services.shared.hit import Hit

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=50)
HITS = st.builds(
    Hit,
    id=TEXT,
    at=st.integers(-62_135_596_800_000_000, 253_402_300_799_999_999),
    method=st.sampled_from(["GET", "HEAD", "POST"]),
    path=TEXT,
    query=TEXT,
    headers=st.dictionaries(TEXT, TEXT, max_size=3),
    ip=TEXT,
    status=st.integers(0, 999),
    body=st.one_of(
        st.just(hit.NO_BODY), st.dictionaries(TEXT, TEXT, max_size=3).map(lambda d: msgspec.Raw(msgspec.json.encode(d)))
    ),
    index=st.integers(0, 999),
)


def _plain(one: Hit) -> dict[str, object]:
    return {**msgspec.structs.asdict(one), "body": bytes(one.body)}


@given(st.lists(HITS, min_size=1, max_size=20))
def test_packed_hits_come_back_in_order(hits: list[Hit]) -> None:
    data, attributes = hit.pack([hit.encode(one) for one in hits], "some-pack")
    assert [_plain(one) for one in hit.unpack(data, attributes)] == [_plain(one) for one in hits]
    assert attributes == {"schema": "hit/1", "encoding": "zstd", "count": str(len(hits)), "pack": "some-pack"}


def test_bytes_that_are_not_utf8_are_read_as_latin_1() -> None:
    agent = b"Caf\xe9/1.0".decode("utf-8", "surrogateescape")
    one = Hit(id="a", at=1, method="GET", path="/i", headers={"user-agent": agent, "referer": "é"})
    data, attributes = hit.pack([hit.encode(one)], "p")
    assert hit.unpack(data, attributes)[0].headers == {"user-agent": "Café/1.0", "referer": "é"}


def test_a_decoder_ignores_fields_it_does_not_know() -> None:
    line = b'{"id":"a","at":1,"method":"GET","path":"/i","added_later":{"x":1}}'
    data, attributes = hit.pack([line], "p")
    assert hit.unpack(data, attributes)[0].id == "a"


GOOD = b'{"id":"a","at":1,"method":"GET","path":"/i"}'
ATTRIBUTES = {"schema": "hit/1", "encoding": "zstd", "count": "1", "pack": "p"}


def _packed(*lines: bytes) -> tuple[bytes, dict[str, str]]:
    return hit.pack(lines, "p")


def _line(tail: str) -> bytes:
    return GOOD[:-1] + tail.encode("latin-1") + b"}"


BAD = {
    "broken JSON": GOOD[:-1],
    "an array": b"[1]",
    "not UTF-8": _line(',"query":"\xff"'),
    "a lone surrogate": _line(',"query":"\\ud83d"'),
    "a lone surrogate in the body": _line(',"body":{"a":"\\ud83d"}'),
    "a null header": _line(',"headers":{"referer":null}'),
    "a number for a text": _line(',"ip":7'),
    "no field of a hit": b"{}",
    "a time of 20 digits": b'{"id":"a","at":99999999999999999999,"method":"GET","path":"/i"}',
    "a time of 5,000 digits": b'{"id":"a","at":' + b"9" * 5000 + b',"method":"GET","path":"/i"}',
    "a time after the year 9999": b'{"id":"a","at":253402300800000000,"method":"GET","path":"/i"}',
    "a time before the year 1": b'{"id":"a","at":-62135596800000001,"method":"GET","path":"/i"}',
    "a status of four digits": _line(',"status":1000'),
    "too deep": _line(',"body":' + "[" * 100_000 + "]" * 100_000),
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
def test_a_line_that_cannot_be_read_costs_none_of_its_neighbours(bad: bytes) -> None:
    first, last = _line(',"query":"n=1"'), _line(',"query":"n=2"')
    found = hit.read(*_packed(first, bad, last))
    assert [one.query for one in found.hits] == ["n=1", "n=2"]
    ((data, reason),) = found.unreadable
    assert (data, found.miscount) == (bad, None)
    assert reason and "referer" not in reason
    with pytest.raises(Poison, match="hits: "):
        hit.unpack(*_packed(first, bad, last))


def test_blank_lines_are_nothing() -> None:
    for blank in (b"", b"  ", b"\r"):
        found = hit.read(*_packed(GOOD, blank, GOOD))
        assert (len(found.hits), found.unreadable) == (2, [])
        assert found.miscount == "count is '3', the pack holds 2 hits"
        data, attributes = _packed(GOOD, blank, b"{", GOOD, blank)
        assert hit.read(data, {**attributes, "count": "3"}).miscount is None


def test_what_a_pack_holds_is_read_whatever_its_count_says() -> None:
    data, attributes = _packed(GOOD, GOOD)
    for count in ("1", "3", "", "x"):
        found = hit.read(data, {**attributes, "count": count})
        assert (len(found.hits), found.miscount) == (2, f"count is {count!r}, the pack holds 2 hits")


def test_an_empty_pack_that_says_so_is_no_loss() -> None:
    data, attributes = _packed()
    assert hit.read(data, {**attributes, "count": "0"}) == ([], [], None)


LINES = st.lists(st.binary(max_size=80) | st.sampled_from([GOOD, *(bad for bad in BAD.values() if len(bad) < 200)]))


@given(LINES)
def test_every_line_is_a_hit_or_unreadable_or_blank(lines: list[bytes]) -> None:
    parts = b"\n".join(lines).split(b"\n")
    wanted = sum(not part.isspace() and part != b"" for part in parts)
    try:
        found = hit.read(*_packed(*lines))
    except Poison:
        return
    if found.unreadable:  # a pack without any is read at once, and there a hit may be spread over lines
        assert len(found.hits) + len(found.unreadable) == wanted
    assert len(found.hits) >= sum(part == GOOD for part in parts)


@pytest.mark.parametrize(
    ("data", "attributes", "says"),
    [
        (zstd_frame.compress(GOOD), {}, "schema is None"),
        (zstd_frame.compress(GOOD), {**ATTRIBUTES, "schema": "hits/2"}, "schema is 'hits/2'"),
        (zstd_frame.compress(GOOD), {**ATTRIBUTES, "encoding": "br"}, "encoding is 'br'"),
        (zstd_frame.compress(b""), ATTRIBUTES, "count is '1', the pack holds 0"),
        (zstd_frame.compress(b"\n \n"), ATTRIBUTES, "count is '1', the pack holds 0"),
        (zstd_frame.compress(b"{\n{}"), ATTRIBUTES, "hits: "),
        (zstd_frame.compress(b'{"id":"a"}'), ATTRIBUTES, "missing required field `at`"),
        (zstd_frame.compress(b'{"id":"\xff","at":1,"method":"GET","path":"/i"}'), ATTRIBUTES, "hits: "),
        (zstd_frame.compress(b"[" * 100_000), ATTRIBUTES, "hits: "),
        (GOOD, ATTRIBUTES, "zstd: "),
        (zstd_frame.compress(GOOD)[:-4], ATTRIBUTES, "zstd: "),
    ],
)
def test_a_pack_of_which_nothing_can_be_read_is_poison_with_a_reason(
    data: bytes, attributes: dict[str, str], says: str
) -> None:
    with pytest.raises(Poison) as caught:
        hit.read(data, attributes)
    assert says in str(caught.value)
