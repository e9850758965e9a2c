"""What is done with a parameter, by its name: pure, and remembered for the names that come again and again."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import NamedTuple

from services.shared import privacy_names
from services.shared.privacy import FULL, SECRETS, Privacy

REMOVE, ADDRESS, HASH = "remove", "address", "hash"
_REMEMBERED, LONG = 8_192, 100  # names, and characters of one that is not remembered; 3 MB at most
_IGNORED = str.maketrans("", "", "-_. ")
_PART = re.compile(r"[^\w\-. $]+")
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+|[^\0-\x7f]+")
# Control characters, and those without any width (Unicode's categories Cc and Cf, without what few scripts use).
_UNSEEN = re.compile("[\0-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]")
_MOST_WORDS = 8  # of the end of a name
_TAIL = 400  # characters of it
_NO_LETTERS = "0123456789-_. $"


class Rule(NamedTuple):
    """What is done, and the entry of the list that says so; of a hash, what is done first."""

    kind: str
    entry: str
    secret: bool = False
    first: tuple[str, ...] = ()


def compact(name: str) -> str:
    """A name as it is compared: without case and without what separates its words."""
    return name.lstrip("$").translate(_IGNORED).casefold()


def readable(name: str) -> str:
    """A name as people read it: without characters that are not seen, and with wide letters as usual ones.

    One that would grow by that, or is longer than any parameter's, stays.
    """
    if len(name) > LONG:
        return name
    text = unicodedata.normalize("NFKC", name)
    return _UNSEEN.sub("", text if len(text) <= len(name) else name)


def parts(name: str) -> int:
    """About how many parts a name has, each of which is looked up."""
    return len(_PART.findall(name))


class NameRules:
    """The rules of a policy, under an opt-out or not, for one protocol or for none in particular."""

    def __init__(self, privacy: Privacy, *, anonymize: bool, protocol: str = "") -> None:
        self._names: list[str] = []
        self._exact: dict[str, Rule] = {}  # by the name as it is written, without case
        self._whole: dict[str, Rule] = {}
        self._ends: dict[str, Rule] = {}
        self._groups: dict[str, Rule] = {}  # by what is before the first dot
        # What comes first wins: a secret goes, even where its name is also one that is hashed.
        for name in (*SECRETS, *privacy.secrets):
            rule = Rule(REMOVE, name, secret=True)
            self._add(name, rule, end=compact(name) not in privacy_names.WHOLE_SECRETS)
        if anonymize:
            self._add_ids(privacy, protocol)
        for name in (*privacy_names.ADDRESSES, *privacy_names.WHOLE_ADDRESSES):
            if anonymize or privacy.ip != FULL:
                self._add(name, Rule(ADDRESS, name), end=name in privacy_names.ADDRESSES)
        spellings = privacy_names.SPELLINGS_OF.get(protocol, {})
        for name, first in privacy.hash.items():
            key = compact(name)
            for one in (name, *privacy_names.SPELLINGS.get(key, ()), *spellings.get(key, ())):
                self._add(one, Rule(HASH, name, first=first), end=one == name and len(key) > 3)
        self._longest = max(map(len, self._ends))
        self.of = lru_cache(_REMEMBERED)(self._of)

    def _add_ids(self, privacy: Privacy, protocol: str) -> None:
        for name in (*privacy_names.IDS, *privacy.ids):
            self._add(name, Rule(REMOVE, name), end=True)
        for name in (*privacy_names.WHOLE_IDS, *privacy_names.IDS_OF.get(protocol, ())):
            self._add(name, Rule(REMOVE, name), end=False)

        for name in privacy_names.GROUPS_OF.get(protocol, ()):
            self._groups[name] = Rule(REMOVE, name)

    def _add(self, name: str, rule: Rule, *, end: bool) -> None:
        self._names.append(name)
        name = readable(name)
        if name.startswith(("_", "$")):
            self._exact.setdefault(name.lower(), rule)
            return
        self._whole.setdefault(compact(name), rule)
        if end:
            self._ends.setdefault(compact(name), rule)

    def find(self, name: str) -> Rule | None:
        """The rule for a name as it was sent, decoded; None where nothing is to be done."""
        return self.of(name) if len(name) <= LONG else self._of(name)

    def _of(self, name: str) -> Rule | None:
        if "=" in name:  # a query or a URL, which has names of its own
            return None
        rule = self._of_parts(name)
        if rule is None and not (name.isascii() and name.isprintable()) and (read := readable(name)) != name:
            return self._of_parts(read)
        return rule

    def _of_parts(self, name: str) -> Rule | None:
        for part in _PART.split(name):
            if part and (rule := self._exact.get(part.lower()) or self._part(part)) is not None:
                return rule
            if "." in part:
                first, last = part.partition(".")[0], part.rpartition(".")[2]
                if (rule := self._groups.get(first) or self._exact.get(last.lower()) or self._part(last)) is not None:
                    return rule
        return None

    @property
    def endings(self) -> tuple[str, ...]:
        """What every name that has a rule ends with, its words apart, but for digits and for privacy_names.WITHIN."""
        found: dict[str, str] = {}
        for name in sorted(self._names, key=lambda name: len(compact(name))):
            key = compact(name).lstrip("_")
            if not key.endswith(tuple(found)):
                found[key] = re.sub(r"[-_. $]+", " ", name.lower()).strip()
        return tuple(found.values())

    def _part(self, part: str) -> Rule | None:
        key = compact(part).rstrip("0123456789") or compact(part)
        if (rule := self._whole.get(key)) is not None:
            return rule
        for within in privacy_names.WITHIN:
            if within in key:
                return self._whole[within]
        words = _WORD.findall(part[-_TAIL:] if len(part) <= _TAIL else part.rstrip(_NO_LETTERS)[-_TAIL:])
        while words and words[-1].isdigit():
            words.pop()
        end = ""
        for word in reversed(words[-_MOST_WORDS:]):
            end = word.casefold() + end
            if len(end) > self._longest:
                return None
            if (rule := self._ends.get(end)) is not None:
                return rule
        return None
