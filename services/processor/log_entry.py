"""A load balancer's request log as a hit: the set-up without a collector.

Cloud Logging exports one LogEntry a message, as JSON, to the topic of hits.
"""

from __future__ import annotations

import hashlib
import re

import msgspec

from services.processor import typed
from services.shared import identity
from services.shared.hit import Hit
from services.shared.poison import Poison


class _Request(msgspec.Struct, rename="camel"):
    request_url: str = ""
    request_method: str = "GET"
    user_agent: str = ""
    referer: str = ""
    remote_ip: str = ""


class _LogEntry(msgspec.Struct, rename="camel"):
    http_request: _Request
    insert_id: str = ""
    log_name: str = ""
    timestamp: str = ""


_decoder = msgspec.json.Decoder(_LogEntry)
_URL = re.compile(r"(?:[a-z][a-z0-9+.-]*://([^/?#]*))?([^?#]*)(?:\?(.*))?", re.IGNORECASE | re.DOTALL)
_NANOSECONDS = re.compile(r"(\.[0-9]{6})[0-9]+")


def decode(data: bytes, message_id: str, published: int) -> Hit:
    """The hit of one LogEntry; `published` (µs since 1970) is its time where the entry says none that can be read.

    The id is made of what identifies the entry, so a redelivered one has the same. Raises Poison for a message that is
    not a LogEntry with `httpRequest.requestUrl`.
    """
    try:
        entry = _decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Poison(f"neither a pack of hits nor a LogEntry: {error}") from error
    request = entry.http_request
    if not request.request_url:
        raise Poison("a LogEntry without httpRequest.requestUrl")
    match = _URL.fullmatch(request.request_url)
    if match is None:
        raise Poison(f"httpRequest.requestUrl is no URL: {request.request_url[:200]!r}")
    try:
        # Cloud Logging writes nanoseconds; BigQuery keeps microseconds.
        at = typed.timestamp(_NANOSECONDS.sub(r"\1", entry.timestamp))
    except typed.Invalid:
        at = published
    name = "/".join((entry.log_name, entry.timestamp, entry.insert_id or message_id))
    headers = {"user-agent": request.user_agent, "referer": request.referer, "host": match[1] or ""}
    return Hit(
        id=identity.uuid7(at, hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()[:10]),
        at=at,
        method=request.request_method,
        path=match[2] or "/",
        query=match[3] or "",
        headers={key: value for key, value in headers.items() if value},
        ip=request.remote_ip,
    )
