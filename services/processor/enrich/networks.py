"""Networks and what is known of each: the narrowest that holds an address has the word."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Generic, TypeVar

REMEMBERED = 16_384  # addresses
CUT_BITS = {4: 24, 6: 48}  # of an address that is cut to its network

Network = IPv4Network | IPv6Network
Known = TypeVar("Known")


def network(text: str) -> Network | None:
    """The network that a text such as 192.0.2.0/24 or 192.0.2.7 names; None for any other text."""
    try:
        return ip_network(text, strict=False)
    except ValueError:
        return None


class Networks(Generic[Known]):
    """Where addresses are `cut`, networks narrower than theirs say nothing. Build it, then only find."""

    def __init__(self, *, cut: bool) -> None:
        self._cut = cut
        self._known: dict[tuple[int, int], dict[int, Known]] = {}
        self.find = lru_cache(REMEMBERED)(self._find)

    def add(self, network: Network, known: Known) -> bool:
        """False for a network that is there already: the first stays."""
        rest = network.max_prefixlen - network.prefixlen
        if self._cut and network.prefixlen > CUT_BITS[network.version]:
            return True
        prefixes = self._known.get((network.version, rest))
        if prefixes is None:
            prefixes = self._known[network.version, rest] = {}
            self._known = dict(sorted(self._known.items(), key=lambda item: item[0][1]))  # the narrowest first
        return prefixes.setdefault(int(network.network_address) >> rest, known) is known

    def _find(self, ip: str) -> Known | None:
        try:
            address = ip_address(ip)
        except ValueError:
            return None
        number = int(address)
        for (version, rest), prefixes in self._known.items():
            if version == address.version and (known := prefixes.get(number >> rest)) is not None:
                return known
        return None
