"""Who sends a request: a person, or one of the kinds of machines that say so. Nothing is dropped for it.

What a user agent is comes from agents.yaml, and for all others from the package crawler-user-agents. All patterns are
searched for at once by RE2, in time linear in the text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, NamedTuple

import re2

from services.processor.enrich import data_file

HUMAN, BOT, HEADLESS, PREFETCH, MAIL_PROXY = "human", "bot", "headless", "prefetch", "mail_proxy"
CLASSES = (
    HUMAN, BOT, "ai_crawler", "ai_search", "ai_assistant", MAIL_PROXY, PREFETCH, "preview", "monitor", HEADLESS,
)  # fmt: skip
FOR_PEOPLE = (HUMAN, MAIL_PROXY, PREFETCH)  # behind these stands a person, or may
# What told it.
USER_AGENT, CLIENT_HINTS, SIGNATURE_AGENT, PURPOSE = "user_agent", "client_hints", "signature_agent", "purpose"
ADDRESS = "address"  # of a list that is mounted
HEADLESS_BRAND = "HeadlessChrome"  # as the hints of a driven browser name it, also where its user agent does not
FILE = "agents.yaml"

_PURPOSES = ("sec-purpose", "purpose", "x-purpose", "x-moz")
_PREFETCH = re.compile(r"\b(?:prefetch|prerender|preview)\b", re.IGNORECASE)
_MOST = 256  # characters read of a header that is not the user agent
_REMEMBERED = 1_024
_SIGNATURE_HOST = re.compile(r"https://([a-z0-9.-]{1,253})", re.IGNORECASE)
_LIBRARY = "http-library"


class Kind(NamedTuple):
    """A class of CLASSES and the name; `vague` where it is only the tool, which others drive."""

    kind: str
    name: str | None = None
    vague: bool = False


@dataclass(frozen=True)
class _Entry:
    """A pattern, and what a text that has it is; `name` None for one of the package, which has none."""

    pattern: str
    kind: str
    name: str | None = None
    instance: str = ""
    vague: bool = False


class _Known:
    """The patterns in the order in which they count, and all of them as one."""

    def __init__(self, file: Mapping[str, Any]) -> None:
        # Half a megabyte of JSON, read on import: only where a column asks for it.
        from crawleruseragents import CRAWLER_USER_AGENTS_DATA

        ours = [
            _Entry(rf"(?i)\b{re.escape(word)}\b", kind, name, vague=kind == HEADLESS)
            for kind, words in file["words"].items()
            for word, name in words.items()
        ]
        theirs = [_of_package(entry, file["tags"]) for entry in CRAWLER_USER_AGENTS_DATA]
        theirs = [entry for entry in theirs if entry.pattern not in file["people"]]
        self.entries = sorted([*ours, *theirs], key=lambda entry: entry.vague)  # stable
        self.whole = {text: Kind(found["class"], found["name"]) for text, found in file["whole"].items()}
        self.hosts = {host: Kind(found["class"], found["name"]) for host, found in file["signature_agents"].items()}
        self.kinds = {entry.name: entry.kind for entry in reversed(ours)}
        self._set = re2.Set.SearchSet()
        for entry in self.entries:
            self._set.Add(entry.pattern)
        self._set.Compile()

    def find(self, text: str) -> int | None:
        found = self._set.Match(text)
        return min(found) if found else None


def _of_package(entry: Mapping[str, Any], tags: Mapping[str, str]) -> _Entry:
    given = entry["tags"]
    kind = next((kind for tag, kind in tags.items() if tag in given), BOT)
    instance = next(iter(entry["instances"]), "")
    return _Entry(entry["pattern"], kind, instance=instance, vague=kind == HEADLESS or _LIBRARY in given)


@cache
def _known() -> _Known:
    return _Known(data_file.load(FILE))


def load() -> None:
    """Read the lists now, in a tenth of a second, so that no event waits for it."""
    _known()


def of_user_agent(text: str) -> Kind | None:
    """What a user agent that is in no list of browsers is; None if it is in none of machines."""
    known = _known()
    if (kind := known.whole.get(text)) is not None:
        return kind
    index = known.find(text)
    if index is None:
        return None
    entry = known.entries[index]
    return Kind(entry.kind, entry.name or _name(index), entry.vague)


@lru_cache(_REMEMBERED)
def _name(index: int) -> str:
    """A name for an entry of the package: what its pattern finds in its own first example."""
    entry = _known().entries[index]
    found = re2.search(entry.pattern, entry.instance)
    text: str = found[0] if found else re.sub(r"\\(.)", r"\1", entry.pattern)
    text = text.strip(" /^$;()").removeprefix("https://")
    return re.split(r"[/;(]", text, maxsplit=1)[0].strip(" .+-") or text


def kind_of_name(name: str) -> str:
    """The class of who has that name in agents.yaml; a bot, if nobody has."""
    return _known().kinds.get(name, BOT)


def of_headers(headers: Mapping[str, str], by_user_agent: Kind | None) -> tuple[Kind, str] | None:
    """What the other headers say of the sender and which kind of them did; None if the user agent has the last word.

    A `Signature-Agent` is a claim: its signature is not checked.
    """
    named = by_user_agent is not None and by_user_agent.kind != HUMAN and not by_user_agent.vague
    if named:
        return None
    claim = headers.get("signature-agent")
    if claim and (kind := _signature(claim[:_MOST])) is not None:
        return kind, SIGNATURE_AGENT
    if by_user_agent is None or by_user_agent.kind == HUMAN:
        for name in _PURPOSES:
            if (value := headers.get(name)) and _PREFETCH.search(value[:_MOST]):
                return Kind(PREFETCH), PURPOSE
    return None


@lru_cache(_REMEMBERED)
def _signature(claim: str) -> Kind | None:
    """A string or a member of a dictionary: `"https://agent.example"`, `sig1="https://agent.example"`."""
    match = _SIGNATURE_HOST.search(claim)
    if match is None:
        return None
    host = match[1].lower().strip(".")
    labels = host.split(".")
    for first in range(max(len(labels) - 4, 0), len(labels)):  # no host in the file has more labels
        if (kind := _known().hosts.get(".".join(labels[first:]))) is not None:
            return kind
    return Kind(BOT, host) if host else None
