"""Finds in a text what the policy removes or changes: parameters of queries, forms and URLs, at any depth.

A text is anything that a value can be: a URL, a query string, JSON, base64 of JSON, or one of them percent-encoded, as
URLs are inside of URLs. Time is linear in the text; and what takes many steps, each a few microseconds of Python,
raises TooMuch, so that no item holds up a service for long.
"""

from __future__ import annotations

import re
from binascii import a2b_base64, b2a_base64
from collections.abc import Callable, Iterator

from services.shared import address, edits, redact_json
from services.shared.edits import Edit, percent_decode, percent_encoded_edits
from services.shared.hash_keys import HashKeys
from services.shared.name_rules import ADDRESS, HASH, LONG, NameRules, Rule, parts
from services.shared.privacy import FULL, NONE

DEEPEST = 8  # levels: of percent-encoding, of JSON in strings, of base64
NAME_LEVELS = 6  # of percent-encoding of one name
PREVIOUS = "_previous"
# Characters read for each that is sent: all levels of what people and trackers send take fewer. What would take more
# was made to, and goes as a whole.
_WORK, _LEAST_WORK, _MOST_WORK = 16, 4_096, 4_194_304
STEPS = 16_000  # names, values and edits of one item that are looked into one by one; each takes 1 to 5 µs
_CHEAP = 16  # what takes so much less than a step: a pair of a query, an escape that is counted
_LONGEST_ADDRESSES = 400  # characters of a list of them

_PAIR, _NAME = re.compile(r"([^&;?#/=]++)(=)?"), re.compile(r"[^&;?#/=]++=?")
_SEPARATOR = re.compile(r"%(?:25)*(?:2[36fF]|3[bBdDfF])")
_CHUNK, _URL_CHUNK = re.compile(r"[^&]++"), re.compile(r"[^&#]++")
_EQUALS = re.compile(r"%(?:25)*3[dD]")
_NEXT_PAIR = re.compile(r";[^;=&]++=")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,30}://|/|[^=&#?]{0,4096}\?")
_USER = re.compile(r"//(?:(?<=[:=\s\"']//)|(?<=\A//))(?:[^/?#\s\"'<>@&]*+@)++")  # a password may have an @
# What may be a user whose `@` is cut off: of `//me:1234`, and of `//me`, nobody knows whether it is a host.
_CUT_USER = re.compile(r"//(?:(?<=[:=\s\"']//)|(?<=\A//))[^/?#\s\"'<>&]++")
_CUT_ESCAPE = re.compile(r"%[0-9a-fA-F]?\Z")
_LEVELS = re.compile("%(?:25)+")
_HIDES = re.compile(r"[=%{\[\"]")
_BASE64 = re.compile(r"(?:e[yw]|W)[A-Za-z0-9+/_ -]{6,}+={0,2}")
_ENCODES = re.compile(r"[%{\[\"]|e[yw]|W")
_TO_BASE64 = str.maketrans("-_ ", "+/+")
_BRACKETS = ("{", "[")
_OPENS = (*_BRACKETS, '"')


class TooMuch(Exception):
    """An item takes over STEPS steps: it was made to, and must not be kept."""


class Redactor:
    """Finds the edits of one item. `removed` gets the list's entry of each secret that is found.

    All methods may raise TooMuch.
    """

    __slots__ = ("_ip", "_keys", "_left", "_removed", "_rules", "_steps")

    def __init__(
        self, rules: NameRules, ip: str, keys: HashKeys | None, removed: Callable[[str], None], size: int
    ) -> None:
        self._rules, self._ip, self._keys, self._removed = rules, ip, keys, removed
        self._left = min(_WORK * size, _MOST_WORK) + _LEAST_WORK
        self._steps = STEPS

    def spend(self, steps: int = 1, cheap: int = 0) -> None:
        """Count steps that are about to be taken, and cheap ones."""
        self._steps -= steps + cheap // _CHEAP
        if self._steps < 0:
            raise TooMuch

    def text(self, text: str, depth: int = DEEPEST, *, cut_off: bool = False) -> list[Edit]:
        """The edits of a text, in order and apart; `cut_off` says that more may have followed it."""
        self.spend()
        if len(text) < 3:
            return []
        self._left -= len(text)
        if self._left < 0 or (depth < 0 and _HIDES.search(text) is not None):
            return [Edit(0, len(text))]
        if '"' in text:
            first = text.lstrip(" \t\r\n")[:1]
            if first in _OPENS and redact_json.is_json(text):
                return redact_json.find(self, text, depth)
            found = redact_json.find(self, text, depth, cut_off=cut_off or first in _BRACKETS)
            return edits.merged([*found, *self._pairs(text, depth, cut_off=cut_off)])
        if text[0] in "eW" and (encoded := self._base64(text, depth)) is not None:
            return encoded
        return self._pairs(text, depth, cut_off=cut_off)

    def query(self, text: str) -> list[Edit]:
        """The edits of a query string or a form."""
        found = self._pairs(text, DEEPEST, url=False)
        return edits.merged([*found, *redact_json.find(self, text, DEEPEST)]) if '"' in text else found

    def rule(self, name: str) -> Rule | None:
        """The rule for a name, percent-encoded any number of times."""
        self.spend(cheap=name.count("%"))
        if "%" in name or "+" in name:
            name = _LEVELS.sub("%", name.replace("+", " "))
            for _ in range(NAME_LEVELS):
                if "%" not in name:
                    break
                name = percent_decode(name)
        if len(name) > LONG:
            self.spend(cheap=4 * parts(name))
        return self._rules.find(name if name.isascii() else _characters(name))

    def note(self, rule: Rule) -> None:
        if rule.secret:
            self._removed(rule.entry)

    def values(self, rule: Rule, sent: str) -> list[str] | None:
        """What becomes of a value: new ones, the first of which replaces it; [] if it goes, None if it stays."""
        self.spend()
        if rule.kind == ADDRESS:
            return self._address(sent)
        text = _characters(sent)
        for step in rule.first:
            text = text.strip() if step == "trim" else text.lower()
        if not text or self._keys is None or (sent.startswith("$device:") and len(sent) < 100):
            return None
        return [key.hash(text) for key in (self._keys.current, self._keys.previous) if key is not None]

    def _address(self, sent: str) -> list[str] | None:
        members = [address.normalize(one) for one in sent.split(",")] if len(sent) <= _LONGEST_ADDRESSES else []
        if not any(members) or self._ip == FULL:
            return None
        return [] if self._ip == NONE else [", ".join(address.truncate(member) for member in members if member)]

    def _pairs(self, text: str, depth: int, *, url: bool | None = None, cut_off: bool = False) -> list[Edit]:
        url = _URL.match(text) is not None if url is None else url
        found = []
        for match in _USER.finditer(text) if "@" in text else ():
            self.spend()
            found.append(Edit(match.start() + 2, match.end()))
            self._removed("password")
        if cut_off and (user := _CUT_USER.fullmatch(text, max(text.rfind("//"), 0))) is not None:
            found = edits.merged([*found, Edit(user.start() + 2, user.end())])
            self._removed("password")
        self.spend(cheap=text.count("=") + text.count("&"))
        if "=" in text:
            found = edits.merged([*found, *self._listed(text, url)])
        if _ENCODES.search(text) is None:
            return found
        return edits.merged([*found, *self._nested(text, found, depth, url, cut_off)])

    def _listed(self, text: str, url: bool) -> list[Edit]:
        """The edits of the pairs whose names have rules."""
        rules = {
            name[:-1]: named
            for name in set(_NAME.findall(text))
            if name[-1] == "=" and (named := self._name(name[:-1]))
        }
        if not rules:
            return []
        found: list[Edit] = []
        done, ampersand, fragment = 0, -1, -1
        for match in _PAIR.finditer(text):
            start, value = match.span()
            if start < done or match[2] is None or match[1] not in rules:
                continue
            rule, offset = rules[match[1]]
            start += offset
            if ampersand < value:
                ampersand = _find(text, "&", value)
            if fragment < value:
                fragment = _find(text, "#", value)
            before, end = text[start - 1 : start], ampersand
            if url or before == "#":
                end = min(end, fragment)
            if before == ";" and (following := _NEXT_PAIR.search(text, value, end)) is not None:
                end = following.start()
            first = start == 0 or before in "&;" or (url and before == "?")  # in its list, if another was removed
            edit = self._pair(rule, text, (start, value, end), done, first)
            if edit is not None:
                self.spend()
                found.append(edit)
                done = edit.end
        return found

    def _name(self, raw: str) -> tuple[Rule, int] | None:
        """The rule of what is before a `=`, and where in it the name begins: what is before may be a value's end."""
        self.spend()
        offset = 0
        if "%" in raw:
            self.spend(cheap=raw.count("%"))
            for match in _SEPARATOR.finditer(raw):
                offset = match.end()
        rule = self.rule(raw[offset:])
        return None if rule is None else (rule, offset)

    def _pair(self, rule: Rule, text: str, places: tuple[int, int, int], done: int, first: bool) -> Edit | None:
        start, value, end = places
        if rule.kind == HASH or rule.kind == ADDRESS:
            if rule.kind == ADDRESS and end - value > 3 * _LONGEST_ADDRESSES:
                return None
            new = self.values(rule, percent_decode(text[value:end].replace("+", " ")))
            if new is None:
                return None
            if new:
                more = (f"&{_previous(text[start : value - 1])}={_of_query(one)}" for one in new[1:])
                return Edit(value, end, _of_query(new[0]) + "".join(more))
        else:
            self.note(rule)
        # One of the separators goes too: the one before, or, of the first pair of a list, the one after it.
        if start > done and text[start - 1] in "&;":
            return Edit(start - 1, end)
        return Edit(start, end + 1 if first and text[end : end + 1] in ("&", ";") else end)

    def _nested(self, text: str, done: list[Edit], depth: int, url: bool, cut_off: bool) -> Iterator[Edit]:
        """The edits of what values encode, beside those that are done."""
        for start, end in _beside(_values(text, url), done):
            value = text[start:end]
            cut = cut_off and end == len(text)
            if cut:
                value = _CUT_ESCAPE.sub("", value)
            if "%" in value:
                decoded = percent_decode(value.replace("+", " "))
                if len(decoded) < len(value) and (inner := self.text(decoded, depth - 1, cut_off=cut)):
                    self.spend(len(inner), cheap=value.count("%"))
                    yield from percent_encoded_edits(value, inner, start)
            elif len(value) < len(text):
                yield from edits.moved(self.text(value, depth - 1, cut_off=cut), start)

    def _base64(self, text: str, depth: int) -> list[Edit] | None:
        """The edits of what a text encodes; None where it is not base64."""
        if not _BASE64.fullmatch(text):
            return None
        plain = text.translate(_TO_BASE64).rstrip("=")
        if len(plain) % 4 == 1:  # it is cut off: the last of its characters says nothing
            plain = plain[:-1]
        try:
            inner = a2b_base64(plain + "=" * (-len(plain) % 4), strict_mode=True).decode("latin-1")
        except ValueError:
            return None
        found = self.text(inner, depth - 1)
        if not found:
            return []
        new = b2a_base64(edits.apply(inner, found).encode("latin-1"), newline=False).decode()
        if not text.endswith("="):
            new = new.rstrip("=")
        return [Edit(0, len(text), new if set("+/ ") & set(text) else new.replace("+", "-").replace("/", "_"))]


def _find(text: str, character: str, start: int) -> int:
    found = text.find(character, start)
    return len(text) if found < 0 else found


def _values(text: str, url: bool) -> Iterator[tuple[int, int]]:
    """Where each part is that may encode something: the value of a pair, or all of it where its `=` is encoded too."""
    for match in (_URL_CHUNK if url else _CHUNK).finditer(text):
        chunk, start = match[0], match.start()
        if _ENCODES.search(chunk) is None:
            continue
        name, equals, _ = chunk.partition("=")
        if chunk[0] in "eW" and _BASE64.fullmatch(chunk) is not None:
            equals = ""  # it is padding
        if equals and not ("%" in name and _EQUALS.search(name)):
            start += len(name) + 1
        yield start, match.end()


def _beside(values: Iterator[tuple[int, int]], done: list[Edit]) -> Iterator[tuple[int, int]]:
    """What is left of the values without what is edited already."""
    at = 0
    for start, end in values:
        while at < len(done) and done[at].end <= start:
            at += 1
        while at < len(done) and done[at].start < end:
            if start < done[at].start:
                yield start, done[at].start
            start = done[at].end
            if start >= end:
                break
            at += 1
        if start < end:
            yield start, end


def _previous(name: str) -> str:
    return f"{name[:-1]}{PREVIOUS}]" if name.endswith("]") else name + PREVIOUS


def _of_query(value: str) -> str:
    return edits.percent_encoded(value).replace("%3A", ":")


def _characters(sent: str) -> str:
    """A value's characters, of UTF-8 or CESU-8; else it is Latin-1."""
    try:
        text = sent.encode("latin-1").decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return sent
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
