"""A connection's bytes are cut into the same heads and bodies however they arrive, and each is looked at once."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.collector.framing import Framer
from services.collector.head import MAX_FIELDS, MAX_LINE, MalformedRequest, Repairer
from tests.growth import assert_linear

GET = b"GET /i?n=1 HTTP/1.1\r\nHost: t\r\n\r\n"
POST = b"POST /events HTTP/1.1\r\nHost: t\r\nContent-Length: 7\r\n\r\n"
CHUNKED = b"POST /events HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n"
_LENGTH = re.compile(rb"\r\nContent-Length: (\d+)\r\n")


class _Cut:
    """What a framer makes of pieces: heads, bodies, and a status where it refuses."""

    def __init__(self) -> None:
        self.framer = Framer()
        self.heads: list[bytes] = []
        self.bodies: list[bytes] = []
        self.status = 0

    def feed(self, pieces: Iterable[bytes]) -> tuple[list[bytes], list[bytes], int]:
        try:
            for piece in pieces:
                self._one(piece)
        except MalformedRequest as refused:
            self.status = refused.status
        return self.heads, self.bodies, self.status

    def _one(self, piece: bytes) -> None:
        if self.framer.take(piece):
            self.bodies[-1] += piece
        else:
            self.framer.add(piece)
        while True:
            if self.framer.in_body:
                if not (found := self.framer.body()):
                    return
                self.bodies[-1] += found
                continue
            if (head := self.framer.head()) is None:
                return
            self.heads.append(Repairer([]).repair(head)[0])
            self.bodies.append(b"")
            if b"chunked" in head:
                self.framer.expect(None)
            elif match := _LENGTH.search(head):
                self.framer.expect(int(match[1]))


def _cut(*pieces: bytes) -> tuple[list[bytes], list[bytes], int]:
    return _Cut().feed(pieces)


CHUNKS = [
    b"0\r\n\r\n",
    b'7\r\n{"a":1}\r\n0\r\n\r\n',
    b'3;x="y"\r\n{"a\r\n4\r\n":1}\r\n000\r\nTrailer: x\r\n\r\n',
    b"A\r\n0\r\n\r\n0\r\n\r\n\r\n0\r\n\r\n",
]


@pytest.mark.parametrize("chunks", CHUNKS)
def test_requests_are_cut_where_they_end(chunks: bytes) -> None:
    found = _cut(GET + POST + b'{"a":1}' + CHUNKED + chunks + b"\r\n\r\n" + GET)
    assert found == ([GET, POST, CHUNKED, GET], [b"", b'{"a":1}', chunks, b""], 0)


_PARTS = st.lists(
    st.sampled_from([GET, POST + b'{"a":1}', *[CHUNKED + chunks for chunks in CHUNKS], b"\r\n", b"GET /\r\n", b"\xff"])
    | st.binary(max_size=5),
    max_size=6,
).map(b"".join)


@given(_PARTS, st.lists(st.integers(0, 600), max_size=12))
def test_it_does_not_matter_in_what_pieces_bytes_arrive(data: bytes, cuts: list[int]) -> None:
    places = [0, *sorted(cuts), len(data)]
    pieces = [data[start:end] for start, end in pairwise(places) if start < end]
    whole = _cut(data)
    assert _cut(*pieces) == whole
    assert _cut(*[data[at : at + 1] for at in range(len(data))]) == whole


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"\x16\x03\x01\x02", 400),
        (b"A" * 25, 400),
        (b"GET /\r\n", 400),
        (b"GET / HTTP/1.1\n", 400),
        (b"GET / HTTP/1.1\r\nHost: t\n", 400),
        (b"GET / HTTP/2.0\r\n", 505),
        (b"GET /" + b"x" * MAX_LINE, 414),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * MAX_FIELDS, 431),
        (CHUNKED + b"x\r\n", 400),
        (CHUNKED + b"\r\n", 400),
        (CHUNKED + b"1\n", 400),
        (CHUNKED + b"-1\r\n", 400),
        (CHUNKED + b"0x1\r\n", 400),
        (CHUNKED + b"1" * 16 + b"\r\n", 400),
        (CHUNKED + b"1;" + b"x" * 4_096, 400),
        (CHUNKED + b"0\r\n" + b"x" * 4_097, 400),
    ],
)
def test_what_cannot_be_a_request_is_refused_before_all_of_it_is_there(data: bytes, status: int) -> None:
    assert _cut(data)[2] == status
    assert _cut(*[data[at : at + 1] for at in range(len(data))])[2] == status


@pytest.mark.parametrize("data", [b"G", b"GE", b"GET", b"\r", b"\r\n", b"GET / HTTP/1.1\r\nHost: t\r\n", b""])
def test_a_beginning_is_waited_for(data: bytes) -> None:
    assert _cut(data) == ([], [], 0)


def test_the_largest_head_that_is_taken() -> None:
    head = b"GET /" + b"x" * (MAX_LINE - 14) + b" HTTP/1.1\r\n" + b"X: " + b"y" * 8_000 + b"\r\n"
    head += (b"X: " + b"y" * 8_000 + b"\r\n") * 7
    head += b"X: " + b"y" * (MAX_FIELDS - 3 - 8 * 8_005 - 2) + b"\r\n\r\n"
    assert _cut(head) == ([head], [b""], 0)


def test_a_body_in_chunks_comes_in_small_steps() -> None:
    framer = Framer()
    framer.add(CHUNKED + b"1\r\nx\r\n" * 100_000 + b"0\r\n\r\n")
    framer.head()
    framer.expect(None)
    pieces = []
    while framer.in_body:
        pieces.append(framer.body())
    assert b"".join(pieces) == b"1\r\nx\r\n" * 100_000 + b"0\r\n\r\n"
    assert max(map(len, pieces)) <= 8_192


def _pieces(data: bytes, size: int) -> Iterator[bytes]:
    return (data[at : at + size] for at in range(0, len(data), size))


@pytest.mark.parametrize("size", [1, 100, 65_536])
def test_each_byte_is_looked_at_once(size: int) -> None:
    runs = (b" ", b"x", b"\r", b"\n", b"\r\n", b"\r\n\r", b"1\r\nx\r\n", b"1;", b"\xff", b"GET ", b"a: b\r\n", GET)
    for frame in ((b"GET /i?n=", b" HTTP/1.1\r\nX: ", b"\r\n\r\n"), (CHUNKED, b"0\r\n\r\n")):
        assert_linear(lambda data: _Cut().feed(_pieces(data, size)), *frame, runs=runs, size=65_536)
