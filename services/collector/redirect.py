"""Where `/r?to=…` may send a click: to hosts on a list, or anywhere that is signed. Pure; never an open redirect."""

from __future__ import annotations

import hmac
import re
from collections.abc import Sequence
from hashlib import sha256
from urllib.parse import unquote_to_bytes

from services.collector.routes import NATIVE, Route

ROUTE = Route("/r", "redirect", "", ("GET", "HEAD"), NATIVE)
MAX_TARGET = 2_048  # bytes of an address; browsers and mail programs cut longer ones
TO, SIGNATURE = "to", "sig"
# One shape that every browser and every proxy reads the same way: no user, no backslash, no blank, no control
# character, and a host of letters, digits, dots and hyphens.
_TARGET = re.compile(rb"https?://([A-Za-z0-9.-]{1,253})(?::[0-9]{1,5})?(?:[/?#][!-~\x80-\xff]*)?")
_ESCAPED = re.compile(rb"[\"<>\\^`{|}\x80-\xff]")
_HOST = re.compile(r"(?:\*\.)?[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?")


class Redirects:
    """Redirects to `hosts`, each a name or `*.name` for those below it, and to what one of `keys` has signed."""

    def __init__(self, hosts: Sequence[str], keys: Sequence[bytes] = ()) -> None:
        self._exact = frozenset(host for host in hosts if not host.startswith("*."))
        self._below = tuple(host[1:] for host in hosts if host.startswith("*."))
        self._keys = tuple(keys)

    def target(self, query: str) -> str | None:
        """The Location for a query string; None where it names none, or one that is not allowed.

        `sig` is the HMAC-SHA256 of the address in `to`, in hex.
        """
        values = dict.fromkeys((TO, SIGNATURE), b"")
        for part in query.split("&"):
            name, _, value = part.partition("=")
            if name in values and not values[name] and len(value) <= 3 * MAX_TARGET:
                values[name] = unquote_to_bytes(value.replace("+", "%20").encode("utf-8", "surrogateescape"))
        to = values[TO]
        match = _TARGET.fullmatch(to) if len(to) <= MAX_TARGET else None
        if match is None or not (self._listed(match[1].decode().lower()) or self._signed(to, values[SIGNATURE])):
            return None
        return _ESCAPED.sub(lambda found: b"%%%02X" % found[0][0], to).decode()

    def _listed(self, host: str) -> bool:
        return host in self._exact or (bool(self._below) and host.endswith(self._below))

    def _signed(self, to: bytes, signature: bytes) -> bool:
        given = signature.lower()
        # Every key is tried, so that the time says nothing about which.
        return bool([1 for key in self._keys if hmac.compare_digest(sign(key, to).encode(), given)])


def sign(key: bytes, to: bytes) -> str:
    """The value of `sig` for an address."""
    return hmac.new(key, to, sha256).hexdigest()


def check_host(host: str) -> str:
    """A host of the list as it is compared, in lower case. Raises ValueError."""
    host = host.lower()
    if not _HOST.fullmatch(host) or "." not in host.removeprefix("*.") or ".." in host:
        raise ValueError("use host names such as shop.example.com, or *.example.com for all below it")
    return host
