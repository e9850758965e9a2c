"""Decompresses a body: gzip, also of several members, and deflate, with or without zlib's header."""

from __future__ import annotations

import zlib

from services.collector.body import BadBody

MAX_MEMBERS = 1_000  # of one gzip body, at 4 µs each
_WINDOW = 16_384  # bytes given to zlib at a time: it copies what follows the end of a member
_GZIP, _ZLIB, _RAW = 31, 15, -15  # zlib's `wbits` for each container format
_MAGIC = b"\x1f\x8b"
_KNOWN = "send gzip, deflate or none"


def decompress(data: bytes, encoding: str, limit: int) -> bytes:
    """The decompressed body, at most `limit` bytes; `encoding` joins the values of all its Content-Encoding headers.

    Raises BadBody 400, 413 or 415.
    """
    names = [name for part in encoding.split(",") if (name := part.strip().lower()) not in ("", "identity")]
    if not names:
        return data
    if len(names) > 1:
        raise BadBody(415, f"{len(names)} content encodings on top of each other are not supported", _KNOWN)
    match names[0]:
        case "gzip" | "x-gzip":
            return _inflate(data, "gzip", _GZIP, MAX_MEMBERS, limit)
        case "deflate":
            # RFC 9110 means zlib's format, but many clients leave out its header.
            zlib_header = len(data) >= 2 and data[0] & 0x0F == 8 and int.from_bytes(data[:2], "big") % 31 == 0
            return _inflate(data, "deflate", _ZLIB if zlib_header else _RAW, 1, limit)
    raise BadBody(415, f"content encoding {names[0][:100]!r} is not supported", _KNOWN)


def _inflate(data: bytes, name: str, wbits: int, most: int, limit: int) -> bytes:
    """The content of up to `most` concatenated members; zero padding at the end is ignored, as gzip does."""
    found: list[bytes] = []
    at = size = members = 0
    stream = None
    while at < len(data):
        if stream is None:
            if members and data[at] == 0 and data.count(0, at) == len(data) - at:
                break
            if members and (most == 1 or data[at : at + 2] != _MAGIC[: len(data) - at]):
                raise BadBody(400, f"there is something after the {name} body", f"byte {at}")
            members += 1
            if members > most:
                raise BadBody(413, f"the {name} body has over {most} members")
            stream = zlib.decompressobj(wbits)
        window = data[at : at + _WINDOW]
        try:
            found.append(stream.decompress(window, limit + 1 - size))
        except zlib.error as error:
            raise BadBody(400, f"the {name} body is damaged: {error}") from error
        size += len(found[-1])
        if size > limit:
            raise BadBody(413, f"the body is over {limit} bytes when decompressed")
        at += len(window) - len(stream.unused_data)
        if stream.eof:
            stream = None
    if stream is not None:
        raise BadBody(400, f"the {name} body is cut off", f"after {len(data)} bytes")
    return b"".join(found)
