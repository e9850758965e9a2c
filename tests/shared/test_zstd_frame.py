from __future__ import annotations

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from services.shared import zstd_frame
from services.shared.errors import Poison


@given(st.binary(max_size=5000))
def test_what_is_compressed_comes_back(data: bytes) -> None:
    assert zstd_frame.decompress(zstd_frame.compress(data)) == data


@given(st.binary(max_size=300))
def test_random_bytes_are_poison(data: bytes) -> None:
    with pytest.raises(Poison):
        zstd_frame.decompress(data)


def test_a_bomb_is_poison_before_it_is_unpacked() -> None:
    bomb = zstandard.ZstdCompressor().compress(bytes(100_000_000))
    assert len(bomb) < 20_000
    with pytest.raises(Poison, match="100000000 bytes"):
        zstd_frame.decompress(bomb)


def test_a_frame_that_lies_or_hides_its_size_is_poison() -> None:
    hidden = zstandard.ZstdCompressor(write_content_size=False).compress(b"x" * 1000)
    with pytest.raises(Poison, match="does not say its size"):
        zstd_frame.decompress(hidden)


def test_cut_or_continued_frames_are_poison() -> None:
    whole = zstd_frame.compress(b"some text that is compressed" * 20)
    for broken in (whole[:-1], whole[: len(whole) // 2], whole + b"more", b""):
        with pytest.raises(Poison):
            zstd_frame.decompress(broken)
