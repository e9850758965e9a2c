"""Writes small databases in MaxMind's format, version 2: IPv4, 24 bits a record."""

from __future__ import annotations

from ipaddress import IPv4Network
from typing import Any

_MARKER = b"\xab\xcd\xefMaxMind.com"
_MAP, _STRING, _ARRAY = 7, 2, 11
_UINTS = {2: 5, 4: 6, 8: 9}  # the types of whole numbers by their bytes


def made(places: dict[str, Any], kind: str = "GeoLite2-City") -> bytes:
    """A database that has a record for each network; networks do not overlap."""
    nodes: list[list[int | None]] = [[None, None]]
    data, offsets = b"", {}
    for network, record in places.items():
        offsets[network] = len(data)
        data += _encoded(record)
    leaves: list[tuple[int, int, str]] = []
    for network in places:
        parsed = IPv4Network(network)
        bits = f"{int(parsed.network_address):032b}"[: parsed.prefixlen]
        node = 0
        for bit in bits[:-1]:
            if nodes[node][int(bit)] is None:
                nodes.append([None, None])
                nodes[node][int(bit)] = len(nodes) - 1
            node = nodes[node][int(bit)] or 0
        leaves.append((node, int(bits[-1]), network))
    count = len(nodes)
    for node, side, network in leaves:
        nodes[node][side] = count + 16 + offsets[network]
    tree = b"".join((count if value is None else value).to_bytes(3, "big") for pair in nodes for value in pair)
    about = {
        "node_count": count.to_bytes(4, "big"),
        "record_size": (24).to_bytes(2, "big"),
        "ip_version": (4).to_bytes(2, "big"),
        "database_type": kind,
        "languages": ["en"],
        "binary_format_major_version": (2).to_bytes(2, "big"),
        "binary_format_minor_version": (0).to_bytes(2, "big"),
        "build_epoch": (1_700_000_000).to_bytes(8, "big"),
        "description": {"en": "made by a test"},
    }
    return tree + bytes(16) + data + _MARKER + _encoded(about)


def _encoded(value: Any) -> bytes:
    if isinstance(value, dict):
        return _head(_MAP, len(value)) + b"".join(_encoded(key) + _encoded(one) for key, one in value.items())
    if isinstance(value, list):
        return _head(_ARRAY, len(value)) + b"".join(map(_encoded, value))
    if isinstance(value, str):
        text = value.encode()
        return _head(_STRING, len(text)) + text
    return _head(_UINTS[len(value)], len(value)) + value


def _head(kind: int, size: int) -> bytes:
    assert size < 29 + 256
    first, more = (size, b"") if size < 29 else (29, bytes([size - 29]))
    return bytes([kind << 5 | first]) + more if kind < 8 else bytes([first, kind - 7]) + more
