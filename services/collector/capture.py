"""Turns a request into a hit. It captures and never interprets: a malformed query string is kept as sent."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import unquote

import msgspec

from services.shared import address
from services.shared.hit import NO_BODY, Hit


def hit(
    *,
    method: str,
    path: str,
    query: str,
    headers: Mapping[str, str],
    ip: str,
    now: int,
    id: str,
    body: msgspec.Raw = NO_BODY,
) -> Hit:
    """One hit: `query` is as sent, `headers` are the kept ones, `now` is in microseconds since 1970."""
    return Hit(id, now, method, path, query, dict(headers), ip, body)


def plain_path(path: str) -> str:
    """The normalized path: percent-decoded, without repeated or trailing slashes, without a fragment."""
    return "/" + "/".join(part for part in unquote(path.partition("#")[0], errors="replace").split("/") if part)


def client_ip(peer: str, forwarded: str, trusted: int) -> str:
    """The client's address: the peer's, or what the outermost trusted proxy wrote into X-Forwarded-For.

    `peer` is as `address.normalize` gives it. Each proxy appends the address it was called from, so with N trusted
    proxies the Nth member from the right is the first one that no stranger could have written. Empty members are not
    counted: lists may have them anywhere (RFC 9110, section 5.6.1). A header with fewer members did not come through
    all of them: the peer it is. Where the member is not an address, the client has none: "".
    """
    if trusted and forwarded:
        members = [member for member in forwarded.split(",") if member.strip()]
        if len(members) >= trusted:
            return address.normalize(members[-trusted])
    return peer
