"""What a User-Agent header is at all: the one word that is kept of it under an opt-out."""

from __future__ import annotations

import re
from functools import lru_cache

DESKTOP, MOBILE, TABLET, BOT, OTHER = "desktop", "mobile", "tablet", "bot", "other"
CLASSES = (DESKTOP, MOBILE, TABLET, BOT, OTHER)
MAX_LENGTH = 512  # characters read, as the processor does
_REMEMBERED = 4_096  # headers, 2 MB at most

_BOT = re.compile(
    r"bot\b|bot/|crawl|spider|slurp|headless|phantomjs|lighthouse|preview|scrapy|facebookexternalhit|\+https?://"
    r"|^(?:curl|wget|python|java|axios|node|ruby|perl|php|libwww|go-http-client|okhttp|apache-httpclient)\b",
    re.IGNORECASE,
)
_OTHER = re.compile(r"\b(?:smart-?)?tv\b|\baft[a-z]{1,6}\b|bravia|playstation|xbox|nintendo", re.IGNORECASE)
_TABLET = re.compile(r"ipad|tablet|kindle|silk/|playbook", re.IGNORECASE)
_MOBILE = re.compile(r"iphone|ipod|mobile|phone", re.IGNORECASE)
_ANDROID = re.compile(r"android", re.IGNORECASE)  # tablets differ from phones in the missing word Mobile
_DESKTOP = re.compile(r"windows nt|macintosh|mac os x|x11|linux|cros", re.IGNORECASE)
_KINDS = (
    (_BOT, BOT),
    (_OTHER, OTHER),
    (_TABLET, TABLET),
    (_MOBILE, MOBILE),
    (_ANDROID, TABLET),
    (_DESKTOP, DESKTOP),
)


def of(header: str) -> str:
    """The class of a header: one of CLASSES; "" for an empty one."""
    return _of(header[:MAX_LENGTH]) if header else ""


@lru_cache(_REMEMBERED)
def _of(text: str) -> str:
    if text in CLASSES:
        return text
    return next((kind for pattern, kind in _KINDS if pattern.search(text)), OTHER)
