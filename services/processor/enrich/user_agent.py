"""What the sender says of itself: `agent.*`, from the User-Agent header and what browsers and agents send beside it.

The patterns of browsers and devices are those of the ua-parser project; the matcher is its Rust one, which takes time
linear in the length of the text, so no header can stall it. agent_class.py knows who is not a person.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache, lru_cache
from typing import Any, NamedTuple

from ua_parser import Domain, load_builtins
from ua_parser.core import OS, UserAgent
from ua_parser.regex import Resolver

from services.processor.enrich import agent_class, client_hints
from services.processor.enrich.agent_class import BOT, FOR_PEOPLE, HUMAN, MAIL_PROXY, Kind
from services.processor.enrich.client_hints import Hints
from services.shared.user_agent_class import CLASSES

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
    """`device` is desktop, mobile, tablet, bot or other, `class_` one of agent_class.CLASSES; what is not said is None.

    `name` is whose machine it is, `reason` what told it.
    """

    browser: str | None = None
    browser_version: str | None = None
    os: str | None = None
    os_version: str | None = None
    device: str | None = None
    brand: str | None = None
    model: str | None = None
    is_bot: bool | None = None
    class_: str | None = None
    name: str | None = None
    reason: str | None = None


NOTHING = Agent()


def load() -> None:
    """Build the matcher now: it takes half a second and 35 MB, and no event should wait for it."""
    _matcher()
    agent_class.load()


def read(headers: Mapping[str, str], parameters: Mapping[str, Any]) -> Agent:
    """What the header `user-agent` says, and where it names nobody what the others do."""
    text = headers.get("user-agent", "")[:MAX_LENGTH]
    agent, kind = parse(text) if text else (NOTHING, None)
    if kind is not None and kind.kind == HUMAN and (hints := client_hints.read(headers, parameters)) is not None:
        agent, kind = _hinted(text, hints)
    found = agent_class.of_headers(headers, kind)
    return agent if found is None else _told(agent, *found)


@lru_cache(REMEMBERED)
def _hinted(text: str, hints: Hints) -> tuple[Agent, Kind]:
    """What `parse` makes of the text, as the hints have it: theirs are the browser, and what the user agent leaves out.

    A user agent that names the same browser is as good, and often knows more of its version.
    """
    agent, kind = parse(text)
    if hints.browser == agent_class.HEADLESS_BRAND:
        kind = Kind(agent_class.HEADLESS, hints.browser, vague=True)
        agent = _told(agent, kind, agent_class.CLIENT_HINTS)
    if hints.browser and not (agent.browser or "").startswith(hints.browser):
        agent = agent._replace(browser=hints.browser, browser_version=hints.version)
    if agent.os is None and hints.os is not None:
        agent = agent._replace(os=hints.os, device=agent.device if agent.device != "other" else _hinted_device(hints))
    if hints.os_version is not None and agent.os == hints.os:
        agent = agent._replace(os_version=hints.os_version)
    if hints.model is not None and agent.model is None:
        agent = agent._replace(model=hints.model)
    return agent, kind


def _hinted_device(hints: Hints) -> str:
    if hints.mobile:
        return "mobile"
    if hints.os in ("Android", "iOS"):
        return "tablet"
    return "desktop" if hints.os is not None and hints.os.startswith(_DESKTOPS) else "other"


def by_address(agent: Agent, kind: Kind | None) -> Agent:
    """The agent, as a list of addresses has it, where nothing else tells that it is a machine."""
    if kind is None or agent.class_ not in (None, HUMAN):
        return agent
    return _told(agent, kind, agent_class.ADDRESS)


def _told(agent: Agent, kind: Kind, reason: str) -> Agent:
    """The agent, now that another header has told who it is."""
    is_bot = kind.kind not in FOR_PEOPLE
    device = "bot" if is_bot else agent.device
    return agent._replace(device=device, is_bot=is_bot, class_=kind.kind, name=kind.name, reason=reason)


@cache
def _matcher() -> Resolver:
    return Resolver(load_builtins())


@lru_cache(REMEMBERED)
def parse(text: str) -> tuple[Agent, Kind]:
    """What the first MAX_LENGTH characters of the header `user-agent` say, and of whom, remembered."""
    if text in CLASSES:  # all that is left of the header of someone who opted out
        kind = Kind(BOT if text == "bot" else HUMAN)
        return Agent(device=text, is_bot=text == "bot", class_=kind.kind, reason=_reason(kind)), kind
    if not text.isascii():  # the matchers take UTF-8, which cannot hold a lone surrogate
        text = text.encode("utf-8", "replace").decode()
    found = _matcher()(text, Domain.ALL)
    browser, os, device = found.user_agent, found.os, found.device
    kind = agent_class.of_user_agent(text) or Kind(HUMAN)
    if kind.kind == HUMAN and ((device is not None and device.family == "Spider") or _BOT.search(text) is not None):
        kind = Kind(BOT, browser.family if browser else None)
    is_bot = kind.kind not in FOR_PEOPLE
    if device is not None and (is_bot or (device.brand or "").startswith("Generic")):
        device = None  # a guess of ua-parser's, not a maker's name
    if kind.kind == MAIL_PROXY:  # the reader's system and device are not told
        os = device = None
    agent = Agent(
        browser=browser.family if browser else None,
        browser_version=_version(browser),
        os=os.family if os else None,
        os_version=_version(os),
        device="bot" if is_bot else "other" if kind.kind == MAIL_PROXY else _kind(text, os),
        brand=device.brand if device else None,
        model=device.model if device else None,
        is_bot=is_bot,
        class_=kind.kind,
        name=kind.name,
        reason=_reason(kind),
    )
    return agent, kind


def _reason(kind: Kind) -> str | None:
    """A person is who nothing tells to be something else."""
    return None if kind.kind == HUMAN else agent_class.USER_AGENT


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
