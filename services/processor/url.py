"""The parts of a page's address that enrichments read."""

from __future__ import annotations

import re

MAX_LENGTH = 8_192  # characters read of an address; more than any browser shows

_HOST = re.compile(r"[a-z][a-z0-9+.-]*://(?:[^/?#@\\]*@)?(\[[0-9a-f:.]+\]|[^/?#@\\:\s]{1,253})", re.IGNORECASE)


def host(address: str) -> str | None:
    """The host in lower case, without port, user and a last dot; None for what is no absolute address."""
    match = _HOST.match(address, 0, MAX_LENGTH)
    return (match[1].lower().rstrip(".") or None) if match else None


def query(address: str) -> str:
    """The query of an address, still percent-encoded; empty where there is none."""
    return address[:MAX_LENGTH].partition("#")[0].partition("?")[2]
