"""Who sends from an address, by the lists that operators publish: files in a folder, each named after its sender.

`GPTBot.json` has the form of Google, OpenAI and others (`prefixes`, each with `ipv4Prefix` or `ipv6Prefix`); any other
file has a network at the beginning of each line, as in a CSV.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Any

from services.processor.enrich import agent_class
from services.processor.enrich.agent_class import Kind

MAX_NETWORKS = 200_000  # of all lists, 100 bytes each
MAX_BYTES = 33_554_432  # of one file
REMEMBERED = 16_384  # addresses
CUT_BITS = {4: 24, 6: 48}  # of an address that is cut to its network
_FIRST = re.compile(r"\s*([^\s,;#]*)")

_Network = IPv4Network | IPv6Network


class Unreadable(Exception):
    """A list cannot be used: which, where and why."""


class AddressLists:
    """The lists in a folder, read once. Where addresses are `cut`, narrower networks than theirs say nothing.

    Raises Unreadable.
    """

    def __init__(self, folder: Path, *, cut: bool) -> None:
        self._known: dict[tuple[int, int], dict[int, Kind]] = {}
        count = 0
        for file in _files(folder):
            name = file.stem
            kind = Kind(agent_class.kind_of_name(name), name)
            for network in _networks(file):
                count += 1
                if count > MAX_NETWORKS:
                    raise Unreadable(f"{folder} lists more than {MAX_NETWORKS:,} networks")
                if not cut or network.prefixlen <= CUT_BITS[network.version]:
                    bits = (network.version, network.max_prefixlen - network.prefixlen)
                    prefix = int(network.network_address) >> bits[1]
                    self._known.setdefault(bits, {}).setdefault(prefix, kind)
        self._order = sorted(self._known, key=lambda bits: bits[1])  # the narrowest first
        self.find = lru_cache(REMEMBERED)(self._find)

    def _find(self, ip: str) -> Kind | None:
        try:
            address = ip_address(ip)
        except ValueError:
            return None
        number = int(address)
        for version, rest in self._order:
            if version == address.version and (kind := self._known[version, rest].get(number >> rest)) is not None:
                return kind
        return None


def _files(folder: Path) -> list[Path]:
    """All but hidden ones, such as those by which a mounted volume is replaced."""
    try:
        found = sorted(file for file in folder.iterdir() if not file.name.startswith(".") and file.is_file())
    except OSError as error:
        raise Unreadable(f"{folder}: {error.strerror}") from error
    if not found:
        raise Unreadable(f"{folder} has no files")
    return found


def _networks(file: Path) -> Iterator[_Network]:
    try:
        if file.stat().st_size > MAX_BYTES:
            raise Unreadable(f"{file} has more than {MAX_BYTES:,} bytes")
        text = file.read_text("utf-8")
    except (OSError, UnicodeError) as error:
        raise Unreadable(f"{file} cannot be read as text: {error}") from error
    if file.suffix == ".json":
        yield from _of_json(file, text)
        return
    for number, line in enumerate(text.splitlines(), 1):
        match = _FIRST.match(line)
        if match and match[1]:
            yield _network(match[1], f"{file}:{number}")


def _of_json(file: Path, text: str) -> Iterator[_Network]:
    try:
        entries: Any = json.loads(text)["prefixes"]
        found = [entry.get("ipv4Prefix") or entry["ipv6Prefix"] for entry in entries]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Unreadable(f"{file} has no list `prefixes` of objects with ipv4Prefix or ipv6Prefix") from error
    for one in found:
        yield _network(one, str(file))


def _network(text: Any, where: str) -> _Network:
    try:
        if isinstance(text, str):
            return ip_network(text, strict=False)
    except ValueError:
        pass
    raise Unreadable(f"{where}: {str(text)[:80]!r} is no network such as 192.0.2.0/24")
