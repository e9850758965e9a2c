"""Where a visitor came from: `referrer.*`, from the parameter `referrer`, the page before the event's.

The header Referer is not asked: on a pixel it names the page the pixel is on. It only says which pages are the
site's own, where the parameter `url` does not.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache, lru_cache
from typing import Any, NamedTuple

from services.processor import query, url
from services.processor.enrich import data_file

MAX_TERM = 256  # characters of a search term
REMEMBERED = 4_096  # pairs of hosts

FILE = "referrers.yaml"

SEARCH, SOCIAL, EMAIL, CHATBOT, PAID = "search", "social", "email", "chatbot", "paid"
MEDIA_OF_SITES = (SEARCH, SOCIAL, EMAIL, CHATBOT, PAID)
INTERNAL, DIRECT, OTHER = "internal", "direct", "other"
_LABELS = 6  # no site in the file has more

# Google Search has a domain in each country; other hosts below google.com are not search.
_GOOGLE = re.compile(r"(?:www\.|images\.|news\.)?google\.(?:com?\.)?[a-z]{2,3}")
_TERMS = ("q", "query", "p", "text", "wd", "word")


class Referrer(NamedTuple):
    """`medium` is one of MEDIA_OF_SITES, internal, direct or other; `source` the name of a well-known site."""

    host: str | None = None
    medium: str | None = None
    source: str | None = None
    term: str | None = None


NOTHING, NONE = Referrer(), Referrer(medium=DIRECT)


def read(headers: Mapping[str, str], parameters: Mapping[str, Any]) -> Referrer:
    """What the parameter `referrer` says: an empty one means a direct visit, a missing one says nothing."""
    address = parameters.get("referrer")
    if not isinstance(address, str):
        return NOTHING
    address = address.strip()
    if not address:
        return NONE
    host = url.host(address)
    if host is None:
        return NOTHING
    page = parameters.get("url")
    here = url.host(page if isinstance(page, str) and page else headers.get("referer", ""))
    found = _between(host, here)
    if found.medium == SEARCH and (term := _term(address)):
        return found._replace(term=term)
    return found


@lru_cache(REMEMBERED)
def _between(host: str, here: str | None) -> Referrer:
    """What a visit from one host to another is."""
    if here is not None and _same_site(host, here):
        return Referrer(host, INTERNAL)
    return Referrer(host, *_site(host))


def _same_site(one: str, other: str) -> bool:
    one, other = one.removeprefix("www."), other.removeprefix("www.")
    return one == other or one.endswith("." + other) or other.endswith("." + one)


@cache
def _sites() -> dict[str, tuple[str, str]]:
    """Medium and name by site."""
    file = data_file.load(FILE)
    return {site: (medium, name) for medium in MEDIA_OF_SITES for name, sites in file[medium].items() for site in sites}


def load() -> None:
    """Read the list of sites now, so that no event waits for it."""
    _sites()


def _site(host: str) -> tuple[str, str | None]:
    if _GOOGLE.fullmatch(host):
        return SEARCH, "Google"
    sites = _sites()
    labels = host.split(".")[-_LABELS:]
    for first in range(len(labels)):
        found = sites.get(".".join(labels[first:]))
        if found is not None:
            return found
    return OTHER, None


def _term(address: str) -> str | None:
    """What was searched for; most engines reveal only that something was."""
    text = url.query(address)
    if not text:
        return None
    given = dict(reversed(query.pairs(text)))
    return next((given[name][:MAX_TERM] for name in _TERMS if given.get(name)), None)
