"""The parts of a page's address that enrichments read."""

from __future__ import annotations

import re
from functools import lru_cache

MAX_LENGTH = 8_192  # characters read of an address; more than any browser shows
MAX_ORIGIN = 512  # of them, before the path
REMEMBERED = 4_096  # origins, of which most events have the same few

_HOST = re.compile(r"[a-z][a-z0-9+.-]*://(?:[^/?#@\\]*@)?(\[[0-9a-f:.]+\]|[^/?#@\\:\s]{1,253})", re.IGNORECASE)


def host(address: str) -> str | None:
    """The host in lower case, without port, user and a last dot; None for anything but an absolute URL."""
    path = address.find("/", address.find("://") + 3, MAX_ORIGIN)
    return _host(address[: path if path > 0 else MAX_ORIGIN])


@lru_cache(REMEMBERED)
def _host(origin: str) -> str | None:
    match = _HOST.match(origin)
    return (match[1].lower().rstrip(".") or None) if match else None


def query(address: str) -> str:
    """The query of an address, still percent-encoded; empty if there is none."""
    if "?" not in address:
        return ""
    return address[:MAX_LENGTH].partition("#")[0].partition("?")[2]
