"""Zstandard frames with a limit on their decompressed size: the payload of every message between the services."""

from __future__ import annotations

import zstandard

from services.shared.errors import Poison

MAX_BYTES = 64 * 1024 * 1024  # a pack is at most a few MB; sixteen times that is an attack or a fault

# With a checksum of the content, four bytes per frame: a bit flipped on a disk does not pass for a hit.
_compressor = zstandard.ZstdCompressor(level=1, write_checksum=True)
_decompressor = zstandard.ZstdDecompressor()


def compress(data: bytes) -> bytes:
    return _compressor.compress(data)


def held(data: bytes, limit: int = MAX_BYTES) -> int:
    """Bytes of memory the content takes: what the frame says, or its own size if it will be refused."""
    try:
        size = zstandard.frame_content_size(data)
    except zstandard.ZstdError:
        return len(data)
    return int(size) if len(data) < size <= limit else len(data)


def decompress(data: bytes, limit: int = MAX_BYTES) -> bytes:
    """The content of one frame of at most `limit` bytes. Raises Poison for anything else, before allocating for it."""
    try:
        size = zstandard.frame_content_size(data)
        if size < 0:  # our frames always state their size; one that does not is not ours
            raise Poison("zstd: the frame does not say its size")
        if size > limit:
            raise Poison(f"zstd: {size} bytes decompressed, at most {limit} are allowed")
        return _decompressor.decompress(data, max_output_size=limit, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise Poison(f"zstd: {error}") from error
