"""What a User-Agent header says: `agent.*`.

The patterns are those of the ua-parser project; the matcher is its Rust one, which takes time linear in the
length of the text, so no header can stall it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache, lru_cache
from typing import Any, NamedTuple

from ua_parser import Domain, load_builtins
from ua_parser.core import OS, UserAgent
from ua_parser.regex import Resolver

from services.shared.user_agent_class import BOT, CLASSES

MAX_LENGTH = 512  # characters read; browsers send 80 to 300, and matching takes about 0.1 µs a character
REMEMBERED = 8_192  # headers; at most 16 MB of them, and reading one takes 500 times as long as remembering it

_BOT = re.compile(
    r"headless|phantomjs|lighthouse|\+https?://|^(?:curl|wget|python|java|axios|node|ruby|perl|php|libwww|scrapy)\b"
    r"|go-http-client|python-|apache-httpclient|node-fetch",
    re.IGNORECASE,
)
_DESKTOPS = ("Windows", "Mac OS X", "Linux", "Chrome OS", "Ubuntu", "Fedora", "Debian", "FreeBSD", "OpenBSD", "NetBSD")
_TELEVISION = re.compile(r"\b(?:smart-?)?tv\b|\baft[a-z]{1,6}\b|bravia", re.IGNORECASE)  # AFT… are Amazon's
_TABLET = re.compile(r"ipad|tablet|kindle|silk/|playbook", re.IGNORECASE)
_PHONE = re.compile(r"iphone|ipod|mobile|phone", re.IGNORECASE)


class Agent(NamedTuple):
    """`device` is desktop, mobile, tablet, bot or other; what the header does not say is None."""

    browser: str | None = None
    browser_version: str | None = None
    os: str | None = None
    os_version: str | None = None
    device: str | None = None
    brand: str | None = None
    model: str | None = None
    is_bot: bool | None = None


NOTHING = Agent()


def load() -> None:
    """Build the matcher now: it takes half a second and 35 MB, and no event should wait for it."""
    _matcher()


def read(headers: Mapping[str, str], _parameters: Mapping[str, Any]) -> Agent:
    """What the header `user-agent` says."""
    text = headers.get("user-agent")
    return parse(text[:MAX_LENGTH]) if text else NOTHING


@cache
def _matcher() -> Resolver:
    return Resolver(load_builtins())


@lru_cache(REMEMBERED)
def parse(text: str) -> Agent:
    """What the first MAX_LENGTH characters of a header say, remembered."""
    if text in CLASSES:  # all that is left of the header of someone who opted out
        return Agent(device=text, is_bot=text == BOT)
    if not text.isascii():  # the matcher takes UTF-8, which cannot hold a lone surrogate
        text = text.encode("utf-8", "replace").decode()
    found = _matcher()(text, Domain.ALL)
    browser, os, device = found.user_agent, found.os, found.device
    is_bot = (device is not None and device.family == "Spider") or _BOT.search(text) is not None
    if device is not None and (is_bot or (device.brand or "").startswith("Generic")):
        device = None  # a guess of ua-parser's, not a maker's name
    return Agent(
        browser=browser.family if browser else None,
        browser_version=_version(browser),
        os=os.family if os else None,
        os_version=_version(os),
        device="bot" if is_bot else _kind(text, os),
        brand=device.brand if device else None,
        model=device.model if device else None,
        is_bot=is_bot,
    )


def _version(found: UserAgent | OS | None) -> str | None:
    """The parts that are known, joined: `17.4` of iOS 17.4, `11` of Windows 11."""
    if found is None or not found.major:
        return None
    parts = [found.major]
    for part in (found.minor, found.patch):
        if not part:
            break
        parts.append(part)
    return ".".join(parts)


def _kind(text: str, os: OS | None) -> str:
    """Android tablets differ from phones only in the missing word Mobile; an iPad may pose as a Mac, undetectably."""
    if _TELEVISION.search(text):
        return "other"
    if _TABLET.search(text):
        return "tablet"
    if _PHONE.search(text):
        return "mobile"
    if os is None:
        return "other"
    if os.family == "Android":
        return "tablet"
    return "desktop" if os.family.startswith(_DESKTOPS) else "other"
