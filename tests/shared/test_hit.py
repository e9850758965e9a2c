from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.shared import frame, hit
from services.shared.hit import Hit
from services.shared.poison import Poison

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=50)
HITS = st.builds(
    Hit,
    id=TEXT,
    at=st.integers(0, 2**53),
    method=st.sampled_from(["GET", "HEAD", "POST"]),
    path=TEXT,
    query=TEXT,
    headers=st.dictionaries(TEXT, TEXT, max_size=3),
    ip=TEXT,
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


@pytest.mark.parametrize(
    ("data", "attributes", "says"),
    [
        (frame.compress(GOOD), {}, "schema is None"),
        (frame.compress(GOOD), {**ATTRIBUTES, "schema": "hit/2"}, "schema is 'hit/2'"),
        (frame.compress(GOOD), {**ATTRIBUTES, "encoding": "br"}, "encoding is 'br'"),
        (frame.compress(GOOD), {**ATTRIBUTES, "count": "2"}, "count is '2', the pack holds 1"),
        (frame.compress(GOOD + b"\n{"), ATTRIBUTES, "hits: "),
        (frame.compress(b'{"id":"a"}'), ATTRIBUTES, "missing required field `at`"),
        (frame.compress(b'{"id":"\xff","at":1,"method":"GET","path":"/i"}'), ATTRIBUTES, "hits: "),
        (frame.compress(b"[" * 100_000), ATTRIBUTES, "hits: "),
        (GOOD, ATTRIBUTES, "zstd: "),
        (frame.compress(GOOD)[:-4], ATTRIBUTES, "zstd: "),
    ],
)
def test_a_pack_that_cannot_be_decoded_is_poison_with_a_reason(
    data: bytes, attributes: dict[str, str], says: str
) -> None:
    with pytest.raises(Poison) as caught:
        hit.unpack(data, attributes)
    assert says in str(caught.value)
