"""Where a visitor came from: `referrer.*`, from the parameter `referrer`, the page before the event's.

The header Referer is not asked: on a pixel it names the page the pixel is on. It only says which pages are the
site's own, where the parameter `url` does not.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from services.processor import query, url

MAX_TERM = 256  # characters of a search term
REMEMBERED = 4_096  # pairs of hosts

SEARCH, SOCIAL, EMAIL, CHATBOT = "search", "social", "email", "chatbot"
INTERNAL, DIRECT, OTHER = "internal", "direct", "other"

# A site and all hosts below it, the longest name first: mail.yahoo.com is found before yahoo.com.
_SITES = {
    "bing.com": (SEARCH, "Bing"),
    "duckduckgo.com": (SEARCH, "DuckDuckGo"),
    "ecosia.org": (SEARCH, "Ecosia"),
    "qwant.com": (SEARCH, "Qwant"),
    "startpage.com": (SEARCH, "Startpage"),
    "search.brave.com": (SEARCH, "Brave"),
    "kagi.com": (SEARCH, "Kagi"),
    "baidu.com": (SEARCH, "Baidu"),
    "yandex.ru": (SEARCH, "Yandex"),
    "yandex.com": (SEARCH, "Yandex"),
    "ya.ru": (SEARCH, "Yandex"),
    "search.naver.com": (SEARCH, "Naver"),
    "search.seznam.cz": (SEARCH, "Seznam"),
    "search.yahoo.com": (SEARCH, "Yahoo"),
    "search.yahoo.co.jp": (SEARCH, "Yahoo"),
    "search.aol.com": (SEARCH, "AOL"),
    "com.google.android.googlequicksearchbox": (SEARCH, "Google"),
    "facebook.com": (SOCIAL, "Facebook"),
    "fb.com": (SOCIAL, "Facebook"),
    "fb.me": (SOCIAL, "Facebook"),
    "messenger.com": (SOCIAL, "Messenger"),
    "instagram.com": (SOCIAL, "Instagram"),
    "threads.net": (SOCIAL, "Threads"),
    "threads.com": (SOCIAL, "Threads"),
    "whatsapp.com": (SOCIAL, "WhatsApp"),
    "wa.me": (SOCIAL, "WhatsApp"),
    "t.co": (SOCIAL, "X"),
    "x.com": (SOCIAL, "X"),
    "twitter.com": (SOCIAL, "X"),
    "linkedin.com": (SOCIAL, "LinkedIn"),
    "lnkd.in": (SOCIAL, "LinkedIn"),
    "com.linkedin.android": (SOCIAL, "LinkedIn"),
    "reddit.com": (SOCIAL, "Reddit"),
    "pinterest.com": (SOCIAL, "Pinterest"),
    "pin.it": (SOCIAL, "Pinterest"),
    "tiktok.com": (SOCIAL, "TikTok"),
    "snapchat.com": (SOCIAL, "Snapchat"),
    "youtube.com": (SOCIAL, "YouTube"),
    "youtu.be": (SOCIAL, "YouTube"),
    "vk.com": (SOCIAL, "VK"),
    "weibo.com": (SOCIAL, "Weibo"),
    "t.me": (SOCIAL, "Telegram"),
    "telegram.org": (SOCIAL, "Telegram"),
    "org.telegram.messenger": (SOCIAL, "Telegram"),
    "discord.com": (SOCIAL, "Discord"),
    "mastodon.social": (SOCIAL, "Mastodon"),
    "bsky.app": (SOCIAL, "Bluesky"),
    "news.ycombinator.com": (SOCIAL, "Hacker News"),
    "xing.com": (SOCIAL, "Xing"),
    "mail.google.com": (EMAIL, "Gmail"),
    "com.google.android.gm": (EMAIL, "Gmail"),
    "outlook.live.com": (EMAIL, "Outlook"),
    "outlook.office.com": (EMAIL, "Outlook"),
    "outlook.office365.com": (EMAIL, "Outlook"),
    "mail.yahoo.com": (EMAIL, "Yahoo Mail"),
    "mail.aol.com": (EMAIL, "AOL Mail"),
    "mail.yandex.ru": (EMAIL, "Yandex Mail"),
    "mail.proton.me": (EMAIL, "Proton Mail"),
    "mail.ru": (EMAIL, "Mail.ru"),
    "chatgpt.com": (CHATBOT, "ChatGPT"),
    "chat.openai.com": (CHATBOT, "ChatGPT"),
    "perplexity.ai": (CHATBOT, "Perplexity"),
    "gemini.google.com": (CHATBOT, "Gemini"),
    "copilot.microsoft.com": (CHATBOT, "Copilot"),
    "claude.ai": (CHATBOT, "Claude"),
}
# Google Search has a domain in each country; other hosts below google.com are not search.
_GOOGLE = re.compile(r"(?:www\.|images\.|news\.)?google\.(?:com?\.)?[a-z]{2,3}")
_TERMS = ("q", "query", "p", "text", "wd", "word")


class Referrer(NamedTuple):
    """`medium` is search, social, email, chatbot, internal, direct or other; `source` the name of a well-known site."""

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


def _site(host: str) -> tuple[str, str | None]:
    if _GOOGLE.fullmatch(host):
        return SEARCH, "Google"
    labels = host.split(".")[-4:]  # no name in the table has more
    for first in range(len(labels)):
        found = _SITES.get(".".join(labels[first:]))
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
