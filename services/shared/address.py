"""IP addresses as proxies, balancers and sockets write them."""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache

LONGEST = 80  # characters; an address with its zone, brackets and port has 69 at most
_REMEMBERED = 4_096  # addresses; 1 MB at most

_OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_IPV4 = re.compile(rf"(?:{_OCTET}\.){{3}}{_OCTET}")


def normalize(text: str) -> str:
    """The address in its canonical text, without white space, brackets, port and zone; "" for anything else.

    An IPv4 address mapped into IPv6 (`::ffff:192.0.2.1`) becomes the IPv4 address. Linear in `text`, which may come
    from a stranger.
    """
    # Most addresses are plain IPv4, which is canonical as it is: 0.3 µs, against 3 to parse it.
    if _IPV4.fullmatch(text):
        return text
    return _parse(text) if len(text) <= LONGEST else ""


@lru_cache(_REMEMBERED)
def _parse(text: str) -> str:
    bare = _without_zone(_without_port(text.strip()))
    try:
        address = ipaddress.ip_address(bare)
    except ValueError:
        return ""
    if isinstance(address, ipaddress.IPv6Address):
        return str(address.ipv4_mapped or address)
    return str(address)


def _without_port(text: str) -> str:
    """The text inside the brackets, or before the port of an IPv4 address; "" where the port is not a number."""
    if text.startswith("["):
        inside, bracket, port = text[1:].partition("]")
        return inside if bracket and (not port or (port[0] == ":" and _is_port(port[1:]))) else ""
    address, colon, port = text.rpartition(":")
    # Without brackets only an IPv4 address, mapped or not, can have a port: `2001:db8::1:443` is an address.
    if not colon or "." not in address or "." in port or "%" in text:
        return text
    return address if _is_port(port) else ""


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 5


def _without_zone(text: str) -> str:
    address, percent, zone = text.partition("%")
    return address if percent and zone and ":" in address else text


@lru_cache(_REMEMBERED)
def truncate(ip: str) -> str:
    """The network of an address as `normalize` gives it: /24 of IPv4, /48 of IPv6; "" has none.

    A /48 of 6to4 would hold the whole IPv4 address that it is made of (RFC 3056), so it is cut to that one's /24.
    """
    if not ip:
        return ""
    prefix = 24 if ":" not in ip else 40 if ip.startswith("2002:") else 48
    return str(ipaddress.ip_network((ip, prefix), strict=False).network_address)
