"""The campaign an event belongs to: `utm.*`, from its own parameters, else from those of its page."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from services.processor import convert, query, url
from services.processor.enrich.tracking_parameters import CLICK_IDS, UTM

REMEMBERED = 4_096  # queries of pages; at most 8 MB of them
_SHORT = 512  # characters of a query that is remembered

_NAMES = frozenset((*UTM, *CLICK_IDS))


class Utm(NamedTuple):
    """`click_id_name` is the parameter that `click_id` came in, such as gclid."""

    source: str | None = None
    medium: str | None = None
    campaign: str | None = None
    term: str | None = None
    content: str | None = None
    id: str | None = None
    click_id: str | None = None
    click_id_name: str | None = None


NOTHING = Utm()


def read(headers: Mapping[str, str], parameters: Mapping[str, Any]) -> Utm:
    """The campaign in the event's own parameters; without any, in the query of the page (`url`, else the Referer)."""
    if not _NAMES.isdisjoint(parameters):
        return _campaign(parameters)
    page = parameters.get("url")
    text = url.query(page if isinstance(page, str) and page else headers.get("referer", ""))
    if not text:
        return NOTHING
    return _of_page(text) if len(text) <= _SHORT else _of_query(text)


def _of_query(text: str) -> Utm:
    given = dict(reversed(query.pairs(text)))
    return NOTHING if _NAMES.isdisjoint(given) else _campaign(given)


_of_page = lru_cache(REMEMBERED)(_of_query)  # a campaign's pages have the same few


def _campaign(given: Mapping[str, Any]) -> Utm:
    click_id = click_id_name = None
    for name in CLICK_IDS:
        if name in given and (click_id := _text(given[name])):
            click_id_name = name
            break
    return Utm._make([*[_text(given.get(name)) for name in UTM], click_id, click_id_name])


def _text(value: Any) -> str | None:
    if not value or isinstance(value, str):
        return value or None
    try:
        return convert.string(value)
    except convert.Invalid:
        return None
