from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.collector.body import BadBody
from services.collector.content_encoding import MAX_MEMBERS, decompress
from tests.growth import assert_linear

LIMIT = 1_048_576
CONTENT = b'{"a": "' + b"caf\xc3\xa9 " * 5_000 + b'"}'


def _gzip(data: bytes, level: int = 9) -> bytes:
    return gzip.compress(data, level, mtime=0)  # the same bytes at every run


def _raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


def _stored(data: bytes) -> bytes:
    packer = zlib.compressobj(0, wbits=-15)
    return packer.compress(data) + packer.flush()


WAYS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gzip", _gzip),
    "x-gzip": ("x-gzip", _gzip),
    "in any case, among nothing": (" , GZip ,identity", _gzip),
    "zlib": ("deflate", zlib.compress),
    "raw deflate": ("deflate", _raw_deflate),
    "raw deflate, stored": ("deflate", _stored),
    "none": ("", bytes),
    "identity": ("identity", bytes),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("content", [CONTENT, b"{}", b""])
def test_every_way_clients_write_is_read(way: str, content: bytes) -> None:
    encoding, compress = WAYS[way]
    assert decompress(compress(content), encoding, LIMIT) == content


@pytest.mark.parametrize("way", ["gzip", "zlib", "raw deflate"])
def test_what_is_cut_off_is_refused_wherever_the_cut_is(way: str) -> None:
    encoding, compress = WAYS[way]
    whole = compress(CONTENT)
    for length in range(1, len(whole)):
        with pytest.raises(BadBody, match=r"cut off|damaged") as refused:
            decompress(whole[:length], encoding, LIMIT)
        assert refused.value.status == 400


@given(st.lists(st.binary(max_size=200), min_size=1, max_size=5), st.integers(0, 40_000))
def test_gzip_of_several_members_is_read(parts: list[bytes], zeros: int) -> None:
    data = b"".join(map(_gzip, parts))
    assert decompress(data + bytes(zeros), "gzip", LIMIT) == b"".join(parts)


def test_a_member_may_end_anywhere_in_what_is_read_at_a_time() -> None:
    for length in range(16_384 - 40, 16_384 + 40):
        members = _gzip(bytes(length), 0) + _gzip(b"end")
        assert decompress(members, "gzip", LIMIT) == bytes(length) + b"end"


@pytest.mark.parametrize(
    ("data", "encoding", "status", "error", "where"),
    [
        (b"not gzip", "gzip", 400, "the gzip body is damaged: ", ""),
        (_gzip(b"{}")[:-8] + bytes(8), "gzip", 400, "the gzip body is damaged: ", ""),
        (_gzip(b"{}") + b"more", "gzip", 400, "there is something after the gzip body", "byte 22"),
        (_gzip(b"{}") + bytes(9) + b"more", "gzip", 400, "there is something after the gzip body", "byte 22"),
        (_gzip(b"{}") + b"\x1f", "gzip", 400, "the gzip body is cut off", "after 23 bytes"),
        (_gzip(b"{}") * 2 + b"\x1f\x8bxx", "gzip", 400, "the gzip body is damaged", ""),
        (bytes(100), "gzip", 400, "the gzip body is damaged", ""),
        (zlib.compress(b"{}"), "gzip", 400, "the gzip body is damaged", ""),
        (_gzip(b"{}"), "deflate", 400, "the deflate body is damaged", ""),
        (zlib.compress(b"{}") * 2, "deflate", 400, "there is something after the deflate body", "byte 10"),
        (_gzip(bytes(LIMIT + 1)), "gzip", 413, "the body is over 1048576 bytes when decompressed", ""),
        (_gzip(bytes(LIMIT)) + _gzip(b"1"), "gzip", 413, "the body is over 1048576 bytes", ""),
        (_raw_deflate(bytes(50 * LIMIT)), "deflate", 413, "the body is over 1048576 bytes", ""),
        (_gzip(b"") * (MAX_MEMBERS + 1), "gzip", 413, "the gzip body has over 1000 members", ""),
        (b"{}", "br", 415, "content encoding 'br' is not supported", "send gzip, deflate or none"),
        (b"{}", "x" * 9_000, 415, f"content encoding '{'x' * 100}' is not", "send gzip, deflate or none"),
        (b"{}", "gzip, gzip", 415, "2 content encodings on top of each other", "send gzip, deflate or none"),
        (b"{}", "," * 9_000 + "gzip,br", 415, "2 content encodings on top of each other", "send gzip"),
    ],
)  # fmt: skip
def test_what_is_refused_and_where(data: bytes, encoding: str, status: int, error: str, where: str) -> None:
    with pytest.raises(BadBody) as refused:
        decompress(data, encoding, LIMIT)
    assert refused.value.status == status
    assert refused.value.error.startswith(error)
    assert refused.value.where.startswith(where)


def test_as_many_bytes_as_are_allowed_are_taken() -> None:
    assert len(decompress(_gzip(bytes(LIMIT)), "gzip", LIMIT)) == LIMIT
    assert len(decompress(_gzip(bytes(LIMIT // 2)) * 2, "gzip", LIMIT)) == LIMIT
    assert decompress(_gzip(b"") * MAX_MEMBERS, "gzip", LIMIT) == b""


def test_the_work_is_linear() -> None:
    whole = _gzip(CONTENT)
    for encoding in ("gzip", "deflate"):
        assert_linear(lambda data: decompress(data, encoding, LIMIT), whole, whole, refused=BadBody)  # noqa: B023
    members = (_gzip(b""), bytes(16))
    assert_linear(lambda data: decompress(data, "gzip", LIMIT), b"", runs=members, refused=BadBody)
