"""The parts of the page's address: `url.*`, from the parameter `url`, else the header Referer, a pixel's page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from services.processor import url
from services.processor.enrich.tracking_parameters import is_tracking

_TEXT_FRAGMENT = ":~:"  # what a search engine has the browser mark


class Page(NamedTuple):
    """`path` is percent-encoded as it was sent; `clean` the address without what only says where a click came from."""

    host: str | None = None
    path: str | None = None
    clean: str | None = None


NOTHING = Page()


def read(headers: Mapping[str, str], parameters: Mapping[str, Any]) -> Page:
    """The parts of an absolute URL; nothing of anything else, or of one that is longer than browsers take."""
    page = parameters.get("url")
    address = page if isinstance(page, str) and page else headers.get("referer", "")
    address = address.strip()
    if len(address) > url.MAX_LENGTH or (host := url.host(address)) is None:
        return NOTHING
    if not address.isascii():  # nothing after this could encode a lone surrogate
        address = address.encode("utf-8", "replace").decode()
    whole, _, fragment = address.partition("#")
    place, mark, query = whole.partition("?")
    slash = place.find("/", place.find("://") + 3)
    if mark:
        query = "&".join(part for part in query.split("&") if not is_tracking(part.partition("=")[0]))
    fragment = fragment.partition(_TEXT_FRAGMENT)[0]
    clean = place + ("?" + query if query else "") + ("#" + fragment if fragment else "")
    return Page(host, place[slash:] if slash > 0 else "/", clean)
