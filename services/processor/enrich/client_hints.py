"""What a browser says of itself in client hints, the headers `sec-ch-ua*`, since its user agent is frozen.

Chromium's browsers all send three of them; the others, such as the model, come only if the page's server asked for
them, and are read where the collector keeps them. Trackers that ask the browser itself send all of them in the body.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

MAX_LENGTH = 512  # characters read of a header
REMEMBERED = 4_096  # sets of headers

BRANDS, FULL_BRANDS = "sec-ch-ua", "sec-ch-ua-full-version-list"
HEADERS = (
    BRANDS, FULL_BRANDS, "sec-ch-ua-mobile", "sec-ch-ua-platform", "sec-ch-ua-platform-version", "sec-ch-ua-model",
)  # fmt: skip
# Strings of structured fields (RFC 9651) are printable ASCII.
_BRAND = re.compile(r'"([ !#-\[\]-~]{1,64})";v="([0-9.]{1,32})"')
_PLAIN = re.compile(r"[ !#-\[\]-~]{1,64}")
_VERSION = re.compile(r"[0-9.]{1,32}")
_TEXT = re.compile(r'"([ !#-\[\]-~]{1,64})"')
_MADE_UP = re.compile(r"not.?a.?brand", re.IGNORECASE)  # GREASE: one brand is invented, so that nobody relies on a list
# Where trackers put what `navigator.userAgentData` says: Matomo's, and Segment's and its like.
_OF_PAGES = ("uadata", "userAgentData")
_MOST_BRANDS = 10  # browsers send three
_ENGINES = ("Chromium", "Android WebView")
# As ua-parser calls them.
_BROWSERS = {
    "Google Chrome": "Chrome",
    "Microsoft Edge": "Edge",
    "Opera GX": "Opera",
    "YaBrowser": "Yandex Browser",
    "HuaweiBrowser": "Huawei Browser",
}
_SYSTEMS = {"macOS": "Mac OS X", "Chromium OS": "Chrome OS", "Unknown": None}
_WINDOWS_11 = 13  # the least of the platform's versions that is Windows 11; 1 to 10 are Windows 10


class Hints(NamedTuple):
    """`version` is the major one where the browser gives no other; what no header says is None."""

    browser: str | None = None
    version: str | None = None
    mobile: bool | None = None
    os: str | None = None
    os_version: str | None = None
    model: str | None = None


def read(headers: Mapping[str, str], parameters: Mapping[str, Any]) -> Hints | None:
    """What the hints say; None without any. A tracker's are more, so they come first."""
    context = parameters.get("context")
    if type(context) is dict:
        for name in _OF_PAGES:
            if type(data := context.get(name)) is dict:
                return _of_page(data)
    if BRANDS not in headers:
        return None
    return _read(*[headers.get(name, "")[:MAX_LENGTH] for name in HEADERS])


@lru_cache(REMEMBERED)
def _read(brands: str, full: str, mobile: str, platform: str, platform_version: str, model: str) -> Hints:
    return _hints(
        _browser(_BRAND.findall(full)) or _browser(_BRAND.findall(brands)),
        {"?1": True, "?0": False}.get(mobile.strip()),
        _text(platform),
        _text(platform_version),
        _text(model),
    )


def _of_page(data: Mapping[str, Any]) -> Hints:
    """What a script read from `navigator.userAgentData`; what is not of its form says nothing."""
    mobile = data.get("mobile")
    return _hints(
        _browser(_brands(data.get("fullVersionList"))) or _browser(_brands(data.get("brands"))),
        mobile if isinstance(mobile, bool) else None,
        _plain(data.get("platform")),
        _plain(data.get("platformVersion")),
        _plain(data.get("model")),
    )


def _brands(given: Any) -> Iterator[tuple[str, str]]:
    for entry in given[:_MOST_BRANDS] if isinstance(given, list) else ():
        if isinstance(entry, dict):
            brand, version = _plain(entry.get("brand")), entry.get("version")
            if brand and isinstance(version, str) and _VERSION.fullmatch(version):
                yield brand, version


def _plain(value: Any) -> str | None:
    return value.strip() or None if isinstance(value, str) and _PLAIN.fullmatch(value) else None


def _hints(
    browser: tuple[str, str] | None, mobile: bool | None, system: str | None, version: str | None, model: str | None
) -> Hints:
    return Hints(
        browser=browser[0] if browser else None,
        version=browser[1] if browser else None,
        mobile=mobile,
        os=_SYSTEMS.get(system, system) if system else None,
        os_version=_os_version(system, version),
        model=model,
    )


def _browser(brands: Iterable[tuple[str, str]]) -> tuple[str, str] | None:
    """The one brand of a list that is no engine and not made up, and its version."""
    for brand, version in brands:
        if brand not in _ENGINES and not _MADE_UP.search(brand):
            return _BROWSERS.get(brand, brand), version
    return None


def _os_version(system: str | None, version: str | None) -> str | None:
    if not version or not re.fullmatch(r"[0-9]{1,9}(?:\.[0-9]{1,9}){0,3}", version):
        return None
    major = int(version.partition(".")[0])
    if system == "Windows":
        return "11" if major >= _WINDOWS_11 else "10" if major else None  # 0 is anything before
    return version.removesuffix(".0").removesuffix(".0")


def _text(value: str) -> str | None:
    match = _TEXT.match(value.strip())
    return match[1].strip() or None if match else None
