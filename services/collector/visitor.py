"""The first-party visitor cookie, which only the server sets and reads. Pure but for the randomness it is given.

Its value is `v1.ID.DAY`: 128 random bits, and the day of the first issue in days since 1970, since a browser does not
say how old a cookie is. Neither says anything about a person. Nobody signs it: who forges one only names themselves.

A request of a page that is not listed, or to a host that is not below the cookie's domain, neither gets a cookie nor
has its own read. Under an opt-out none is set or read, and one that is there is deleted.
"""

from __future__ import annotations

import re
import secrets
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterable
from typing import NamedTuple
from urllib.parse import urlsplit

from services.shared.privacy import Cookie

_DAY_US = 86_400_000_000
_DAY_SECONDS = 86_400
_ID_BYTES = 16
_LONGEST_URL = 2_048  # characters of a Referer that are read; an origin has at most 270
_DEFAULT_PORTS = {"https": ":443", "http": ":80"}


class Visitor(NamedTuple):
    """`id` is "" where there is none; `set_cookie` is the value of a Set-Cookie header to send, or ""."""

    id: str = ""
    set_cookie: str = ""


NOBODY = Visitor()


class Visitors:
    """Recognizes visitors by the cookie, and gives new ones an id."""

    def __init__(self, cookie: Cookie, random: Callable[[int], bytes] = secrets.token_bytes) -> None:
        """`random` returns that many random bytes."""
        self._cookie, self._random = cookie, random
        self._exact = frozenset(origin for origin in cookie.origins if not origin.startswith("*."))
        self._below = tuple(origin[1:] for origin in cookie.origins if origin.startswith("*."))
        # Set by other paths, subdomains or scripts, there may be several: the first good one counts, so that a bad one
        # that we cannot overwrite does not make a new visitor of each request.
        name = re.escape(cookie.name)
        self._value = re.compile(rf"(?:\A|[;,])[ \t]*{name}=v1\.([A-Za-z0-9_-]{{22}})\.([0-9]{{5}})[ \t]*(?=[;,]|\Z)")
        self._name = re.compile(rf"(?:\A|[;,])[ \t]*{name}[ \t]*(?:=|;|,|\Z)")

    def see(
        self, *, cookies: Iterable[str], host: str, origin: str, referer: str, now: int, opted_out: bool = False
    ) -> Visitor:
        """The visitor behind a request, by its headers: `cookies` are all Cookie headers, the others "" if absent.

        `now` is in microseconds since 1970.
        """
        if not self._is_ours(host):
            return NOBODY
        sent = list(cookies)
        if opted_out:
            return Visitor("", self._header("", 0)) if any(map(self._name.search, sent)) else NOBODY
        if not self._is_listed(_origin_of(origin, referer)):
            return NOBODY
        today = now // _DAY_US
        known = self._known(sent, today)
        if known is None:
            id = urlsafe_b64encode(self._random(_ID_BYTES)).rstrip(b"=").decode()
            return Visitor(id, self._issued(id, today))
        id, day = known
        return Visitor(id, self._issued(id, today) if self._cookie.renew and day < today else "")

    def _known(self, cookies: list[str], today: int) -> tuple[str, int] | None:
        """Id and day of issue; None if there is no cookie, or it is too old or from the future."""
        for text in cookies:
            for found in self._value.finditer(text):
                day = int(found[2])
                if today - self._cookie.days < day <= today + 1:  # another pod's clock may be ahead at midnight
                    return found[1], day
        return None

    def _issued(self, id: str, today: int) -> str:
        return self._header(f"v1.{id}.{today:05}", self._cookie.days * _DAY_SECONDS)

    def _header(self, value: str, max_age: int) -> str:
        cookie = self._cookie
        domain = f"; Domain={cookie.domain}" if cookie.domain else ""
        same_site = f"SameSite={cookie.same_site}"
        return f"{cookie.name}={value}; Max-Age={max_age}; Path=/{domain}; Secure; HttpOnly; {same_site}"

    def _is_ours(self, host: str) -> bool:
        """Whether a browser would take a cookie of that domain from this host."""
        domain = self._cookie.domain
        if not domain:
            return True
        name = host.strip().lower().partition(":")[0].removesuffix(".")
        return name == domain or name.endswith("." + domain)

    def _is_listed(self, origin: str) -> bool:
        if origin in self._exact:
            return True
        return origin.startswith("https://") and ":" not in origin[8:] and origin.endswith(self._below)


def _origin_of(origin: str, referer: str) -> str:
    """The origin of the page, in lower case without a default port; "" if unknown. Images come without an Origin."""
    text = (origin or referer)[:_LONGEST_URL].strip()
    try:
        parts = urlsplit(text)
    except ValueError:  # half of an IPv6 address
        return ""
    scheme, place = parts.scheme, parts.netloc.lower()
    if not place or "@" in place:
        return ""
    return f"{scheme}://{place.removesuffix(_DEFAULT_PORTS.get(scheme, ' '))}"
