"""The first wire format: a hit is one raw request, and a pack of hits is one Pub/Sub message.

Formats only gain fields; a decoder ignores what it does not know.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from services.shared import frame
from services.shared.poison import Poison

SCHEMA = "hit/1"
MAX_HITS = 1_000  # hits in one pack
MAX_PACK_BYTES = 2_000_000  # of NDJSON; what is over closes the pack, so a pack stays below gRPC's 4 MiB default

NO_BODY = msgspec.Raw()  # one object: msgspec leaves a field out where it is the default itself, not an equal


class Hit(msgspec.Struct, omit_defaults=True):
    """One request as it arrived, nothing interpreted.

    `id` is a UUIDv7 unless a log gave it, `at` is the time of receipt in microseconds since 1970, `query` is the text
    between `?` and `#` still percent-encoded, `headers` are the chosen ones in lower case, `ip` the client's address
    (truncated where the collector is told to), `body` one JSON object as it was posted, empty for a pixel, `index`
    which of the events of its request this is.
    """

    id: str
    at: int
    method: str
    path: str
    query: str = ""
    headers: dict[str, str] = {}
    ip: str = ""
    body: msgspec.Raw = NO_BODY
    index: int = 0


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Hit)


def encode(hit: Hit) -> bytes:
    """One line of NDJSON without its line end.

    Headers that are not UTF-8 reach Python as lone surrogates, which JSON cannot carry: such texts are read as
    Latin-1, which loses no byte.
    """
    try:
        return _encoder.encode(hit)
    except UnicodeEncodeError:
        return _encoder.encode(
            msgspec.structs.replace(
                hit,
                path=_repair(hit.path),
                query=_repair(hit.query),
                headers={_repair(name): _repair(value) for name, value in hit.headers.items()},
            )
        )


def text(value: str) -> bytes:
    """A text as it is in a line, with its quotes."""
    try:
        return _encoder.encode(value)
    except UnicodeEncodeError:
        return _encoder.encode(_repair(value))


def _repair(value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        return value.encode("utf-8", "surrogateescape").decode("latin-1")
    return value


def pack(lines: Sequence[bytes], pack_id: str) -> tuple[bytes, dict[str, str]]:
    """The data and attributes of one message of `hits` made of encoded hits."""
    return frame.compress(b"\n".join(lines)), attributes(len(lines), pack_id)


def attributes(count: int, pack_id: str) -> dict[str, str]:
    """The attributes of a message of `count` hits."""
    return {"schema": SCHEMA, "encoding": "zstd", "count": str(count), "pack": pack_id}


def unpack(data: bytes, attributes: Mapping[str, str]) -> list[Hit]:
    """The hits of one message. Raises Poison, naming what is wrong, unless every one of them can be read."""
    if attributes.get("schema") != SCHEMA:
        raise Poison(f"schema is {attributes.get('schema')!r}, this processor reads {SCHEMA!r}")
    if attributes.get("encoding") != "zstd":
        raise Poison(f"encoding is {attributes.get('encoding')!r}, only 'zstd' is known")
    try:
        hits = _decoder.decode_lines(frame.decompress(data))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Poison(f"hits: {error}") from error
    if str(len(hits)) != attributes.get("count"):
        raise Poison(f"count is {attributes.get('count')!r}, the pack holds {len(hits)} hits")
    return hits
