"""Turns a request into hits. It captures and never interprets: a malformed query string is kept as it came."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping

import msgspec

from services.shared.hit import NO_BODY, Hit


def hit(
    *,
    method: str,
    target: str,
    headers: Mapping[str, str],
    ip: str,
    now: int,
    id: str,
    body: msgspec.Raw = NO_BODY,
) -> Hit:
    """One hit: `target` is the request target as sent, `headers` those to keep, `now` microseconds since 1970."""
    path, _, query = target.partition("?")
    return Hit(id, now, method, path, query, dict(headers), ip, body)


def client_ip(peer: str, forwarded: str, trusted: int) -> str:
    """The client's address: the peer's, or the entry of X-Forwarded-For that the outermost trusted proxy wrote.

    Each proxy appends the address it was called from, so with N trusted proxies the Nth from the right is the first
    one that no stranger could have written. A header with fewer entries did not come through them: the peer it is.
    """
    if trusted:
        entries = forwarded.split(",")
        if len(entries) >= trusted and (entry := entries[-trusted].strip()):
            return entry[:64]  # an address has at most 45 characters, and nobody checks what a proxy passes on
    return peer


def truncate(ip: str) -> str:
    """The network of an address: /24 of IPv4, /48 of IPv6; empty for what is no address, since it cannot be cut."""
    try:
        address = ipaddress.ip_address(ip)
    except ValueError:
        return ""
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    prefix = 24 if address.version == 4 else 48
    return str(ipaddress.ip_network((address, prefix), strict=False).network_address)
