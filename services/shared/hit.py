"""The first wire format: a hit is one raw request, and a pack of hits is one Pub/Sub message.

Formats only gain fields; a decoder ignores what it does not know.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Annotated, NamedTuple

import msgspec

from services.shared import format_version, zstd_frame
from services.shared.errors import Poison
from services.shared.tally import Tally

SCHEMA = "hit/1"
MAX_HITS = 1_000  # hits in one pack
MAX_PACK_BYTES = 2_000_000  # of NDJSON; what is over closes the pack, so a pack stays below gRPC's 4 MiB default

# The years 1 to 9999, which are those of a datetime and of BigQuery's TIMESTAMP.
Microseconds = Annotated[int, msgspec.Meta(ge=-62_135_596_800_000_000, le=253_402_300_799_999_999)]
Status = Annotated[int, msgspec.Meta(ge=0, le=999)]
NATIVE = "native"  # the protocol of a hit without `via`
# Attributes of packs: of hits that an operator's command publishes again, with the id of the pack that they were in;
# of hits that no collector received; of a tally.
REPLAYED, ORIGINAL, INGESTED, TALLY = "replayed", "original_pack", "ingested", "tally"
FROM_REJECTS = "rejects"  # the value of REPLAYED of hits that are rows of `rejects`
NO_BODY = msgspec.Raw()  # one object: msgspec omits a field that is the default itself, not one that equals it


class Hit(msgspec.Struct, omit_defaults=True):
    """One request as it arrived, nothing interpreted.

    `id` is a UUIDv7, `at` is the time of receipt in microseconds since 1970, `query` is the text
    between `?` and `#` still percent-encoded, `headers` are the chosen ones in lower case, `ip` the client's address
    (truncated if the collector is set to), `body` one JSON value as it was posted, empty for a pixel, `status` the
    one it was answered with if a log says so, else 0, `index` which of the items of its request this is.

    `via` is the protocol whose path took it, such as "snowplow" or "segment.track", empty for our own; `text` an item
    that is not JSON, such as a form or a query string; `envelope` what surrounded the items of a body, as JSON.

    `opt_out` is the signal by which its sender opted out of tracking, one of privacy.SIGNALS, or ""; `anonymized` says
    that what identifies people was removed for it. `visitor_id` is the visitor cookie's, `tenant` whose event the
    schema file's `tenants` say it is; `limited` that it is over that tenant's rate.

    With a `tally` it is no event, but the counts of the collector that made it: no request can set this.
    """

    id: str
    at: Microseconds
    method: str
    path: str
    query: str = ""
    headers: dict[str, str] = {}
    ip: str = ""
    body: msgspec.Raw = NO_BODY
    index: int = 0
    status: Status = 0
    via: str = ""
    text: str = ""
    envelope: msgspec.Raw = NO_BODY
    opt_out: str = ""
    anonymized: bool = False
    visitor_id: str = ""
    tenant: str = ""
    limited: bool = False
    tally: Tally | None = None

    @property
    def protocol(self) -> str:
        """The protocol's name: `segment` of segment.track, and `native` for our own."""
        return self.via.partition(".")[0] or NATIVE if self.via else NATIVE


class Unreadable(NamedTuple):
    """A part of a message that is not a hit: its bytes, and why, without anything that a stranger wrote."""

    data: bytes
    reason: str


class Lines(NamedTuple):
    """What a pack holds; `miscount` says how its number of lines differs from what its attributes say."""

    hits: list[Hit]
    unreadable: list[Unreadable]
    miscount: str | None = None


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Hit)
_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


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
                text=_repair(hit.text),
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


def pack(lines: Sequence[bytes], pack_id: str, *, tally: bool = False) -> tuple[bytes, dict[str, str]]:
    """The data and attributes of one message of `hits` made of encoded hits, or of one that has a tally."""
    return zstd_frame.compress(b"\n".join(lines)), attributes(0 if tally else len(lines), pack_id)


def attributes(count: int, pack_id: str) -> dict[str, str]:
    """The attributes of a message of `count` hits; with 0 of them, of a tally."""
    marks = {} if count else {TALLY: "1"}
    return {"schema": SCHEMA, "encoding": "zstd", "count": str(count or 1), "pack": pack_id, **marks}


def read(data: bytes, attributes: Mapping[str, str]) -> Lines:
    """The lines of one message, good and bad; blank ones do not count. Raises Poison if no line can be read,
    NewerFormat for a version of the format after this one."""
    format_version.check(attributes.get("schema"), SCHEMA)
    if attributes.get("encoding") != "zstd":
        raise Poison(f"encoding is {attributes.get('encoding')!r}, only 'zstd' is known")
    content = zstd_frame.decompress(data)
    unreadable: list[Unreadable] = []
    try:
        hits = _decoder.decode_lines(content)
    except _UNREADABLE:
        hits, unreadable = _one_by_one(content)
    count = len(hits) + len(unreadable)
    miscount = None
    if str(count) != attributes.get("count"):
        miscount = f"count is {attributes.get('count')!r}, the pack holds {count} hits"
    if not hits and (unreadable or miscount):
        raise Poison(f"hits: {unreadable[0].reason}" if unreadable else str(miscount))
    return Lines(hits, unreadable, miscount)


def unpack(data: bytes, attributes: Mapping[str, str]) -> list[Hit]:
    """The hits of one message. Raises Poison, saying what is wrong, unless all of them can be read."""
    found = read(data, attributes)
    if found.unreadable:
        raise Poison(f"hits: {found.unreadable[0].reason}")
    if found.miscount:
        raise Poison(found.miscount)
    return found.hits


def _one_by_one(content: bytes) -> tuple[list[Hit], list[Unreadable]]:
    hits: list[Hit] = []
    unreadable: list[Unreadable] = []
    for line in io.BytesIO(content):
        line = line.rstrip(b"\n")
        if line.isspace() or not line:
            continue
        try:
            hits.append(_decoder.decode(line))
        except _UNREADABLE as error:
            unreadable.append(Unreadable(line, str(error)))
    return hits, unreadable
