"""A load balancer's request log as hits, for a set-up without a collector.

Cloud Logging exports one LogEntry per message, as JSON, to the topic of hits. Other forwarders gzip their messages, or
send a JSON array of entries.
"""

from __future__ import annotations

import hashlib
import zlib
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from services.processor import convert
from services.shared import address, hit, identity
from services.shared.errors import Poison
from services.shared.hit import Hit, Unreadable
from services.shared.policy import Policy

MAX_BYTES = 4_194_304  # of an array, and of what is compressed; Cloud Logging's entries have 256 KB at most
METHODS = frozenset({"GET", "HEAD", "POST"})
METHOD, STATUS, OPT_OUT = "method", "status", "opt_out"
IGNORED = (METHOD, STATUS, OPT_OUT)  # why an entry is not an event, and so the values of the metric's label
_ERROR_STATUS = 400
_GZIP = b"\x1f\x8b"


class _Request(msgspec.Struct, rename="camel"):
    request_url: str = ""
    request_method: str = "GET"
    user_agent: str = ""
    referer: str = ""
    remote_ip: str = ""
    status: hit.Status = 0


class _LogEntry(msgspec.Struct, rename="camel"):
    http_request: _Request
    insert_id: str = ""
    log_name: str = ""
    timestamp: str = ""


class Entries(NamedTuple):
    """What a message holds: its hits, how many entries are not events, by reason, and what is not a LogEntry."""

    hits: list[Hit]
    ignored: Counter[str]
    unreadable: list[Unreadable]


_decoder = msgspec.json.Decoder(_LogEntry)
_array = msgspec.json.Decoder(list[msgspec.Raw])
_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


def is_compressed(data: bytes) -> bool:
    """Whether it is gzip: no JSON begins with these bytes."""
    return data.startswith(_GZIP)


def decode(data: bytes, message_id: str, published: int) -> Entries:
    """The hits of the LogEntry, or of the array of them, in a message, compressed with gzip or not.

    `published` (µs since 1970) is the time of an entry without a readable one. Ids are derived from what identifies an
    entry, so a redelivered entry has the same id. Raises Poison for a message in which nothing is a LogEntry with
    `httpRequest.requestUrl`.
    """
    parts = elements(data)
    if len(parts) > hit.MAX_HITS:
        raise Poison(f"an array of {len(parts)} log entries, at most {hit.MAX_HITS} are allowed")
    found = _read(parts, message_id, published)
    if found.unreadable and not (found.hits or found.ignored):
        raise Poison(f"neither a pack of hits nor a LogEntry: {found.unreadable[0].reason}")
    return found


def protected(found: Entries, policy: Policy) -> Entries:
    """The entries after the privacy policy, which the collector applies to all other hits."""
    hits = [kept for one in found.hits if (kept := policy.apply(one)) is not None]
    dropped = len(found.hits) - len(hits)
    return found._replace(hits=hits, ignored=found.ignored + Counter({OPT_OUT: dropped}))


def count(data: bytes) -> int:
    """How many hits a message that is not processed holds, readable or not; 1 if that is unknown."""
    try:
        parts = elements(data)
    except Poison:
        return 1
    if len(parts) > hit.MAX_HITS:
        return len(parts)
    return len(parts) - _read(parts, "", 0).ignored.total()


def _read(parts: Sequence[bytes | msgspec.Raw], message_id: str, published: int) -> Entries:
    found = Entries([], Counter(), [])
    for index, part in enumerate(parts):
        try:
            entry = _decoder.decode(part)
        except _UNREADABLE as error:
            found.unreadable.append(Unreadable(bytes(part), str(error)))
            continue
        if not entry.http_request.request_url:
            found.unreadable.append(Unreadable(bytes(part), "it has no httpRequest.requestUrl"))
        elif reason := _no_event(entry.http_request):
            found.ignored[reason] += 1
        else:
            own_id = f"{message_id}/{index}" if isinstance(part, msgspec.Raw) else message_id
            found.hits.append(_hit(entry, own_id, published))
    return found


def _decompress(data: bytes) -> bytes:
    # Only the one member that compressors write: thousands of empty ones would each copy the rest of the message.
    stream = zlib.decompressobj(wbits=31)
    try:
        content = stream.decompress(data, MAX_BYTES + 1)
    except zlib.error as error:
        raise Poison(f"gzip: {error}") from error
    if len(content) > MAX_BYTES:
        raise Poison(f"gzip: over {MAX_BYTES} bytes decompressed")
    if not stream.eof or stream.unused_data:
        raise Poison("gzip: truncated" if not stream.eof else "gzip: trailing data")
    return content


def elements(data: bytes) -> Sequence[bytes | msgspec.Raw]:
    """The entries of an array, each as msgspec.Raw; anything else is one entry, as bytes. Raises Poison."""
    if is_compressed(data):
        data = _decompress(data)
    if not data.lstrip().startswith(b"["):
        return [data]
    if len(data) > MAX_BYTES:
        raise Poison(f"an array of over {MAX_BYTES} bytes")
    try:
        return _array.decode(data)
    except _UNREADABLE as error:
        raise Poison(f"neither a pack of hits nor a LogEntry: {error}") from error


def _no_event(request: _Request) -> str | None:
    """Why a request is not an event; one without a status comes from a client that did not wait for the reply."""
    if request.request_method not in METHODS:
        return METHOD
    return STATUS if request.status >= _ERROR_STATUS else None


def _hit(entry: _LogEntry, message_id: str, published: int) -> Hit:
    request = entry.http_request
    try:
        at = convert.timestamp(entry.timestamp)
    except convert.Invalid:
        at = published
    host, path, query = _split(request.request_url)
    name = "/".join((entry.log_name, entry.timestamp, entry.insert_id or message_id))
    headers = {"user-agent": request.user_agent, "referer": request.referer, "host": host}
    return Hit(
        id=identity.uuid7(at, hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()[:10]),
        at=at,
        method=request.request_method,
        path=path,
        query=query,
        headers={key: value for key, value in headers.items() if value},
        ip=address.normalize(request.remote_ip),
        status=request.status,
    )


def _split(url: str) -> tuple[str, str, str]:
    """Host, path and query of a URL with or without scheme and host; whatever it is, its query is kept."""
    before, _, query = url.partition("?")
    before = before.partition("#")[0]
    scheme, colon, rest = before.partition("://")
    if not colon or "/" in scheme:
        return "", before or "/", query
    host, _, path = rest.partition("/")
    return host.rpartition("@")[2], "/" + path, query  # a user and a password are no part of a Host header
