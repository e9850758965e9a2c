"""Says of most queries within a microsecond that no name in them has a rule, without parsing any.

A name ends before a `=`, or in JSON before `":`. So the text is turned round: then each name begins after one of those,
where a pattern looks for few things at few places. What could hide a name, such as an escaped letter, does not pass.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from ahocorasick_rs import BytesAhoCorasick, Implementation

from services.shared.name_rules import NameRules

_LOWER = bytes.maketrans(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ", b"abcdefghijklmnopqrstuvwxyz")
_JOINING = b"-_.+"
_IGNORED = _JOINING + b" "  # what names are compared without
# Percent-encoded: a letter, a hyphen, a dot, an underscore, a quote, a backslash, a bracket, an at, or a percent sign.
_HIDDEN = re.compile(r"%(?:[4567]|2[25de])")
_HIDDEN_LETTER = re.compile(r"%(?:[46][1-9a-f]|[57][0-9a]|2[25de]|5[bcdf])")
_BASE64 = re.compile(rb"[eW](?:(?<=[&;?#=\"36BDFbdf].)|(?<=\A.))(?:y[A-DI-L]|w[k-r0-3]|[13][o-v])")
# Whatever `passes` may stop at, once the text is in lower case and without what is ignored.
_URL = b"-.~:/?[]@!$&'()*+,;=%_0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_NO_URL = [bytes((code,)) for code in range(256) if code not in _URL]
_HIDING = (b"\\", b'"', b"@", b"pass", b"]", b"%4", b"%5", b"%6", b"%7", b"%22", b"%25", b"%2d", b"%2e")
# Control characters and what is not ASCII; a name with one may be read as another, and in JSON an escape is likewise.
_UNUSUAL = (*(b"%%%c" % digit for digit in b"0189abcdef"),)
# Turned round: from the `=` or `":` back through what is usual, and then something that is not.
_UNUSUAL_NAME = re.compile(r"=(?:[^&;?#=%\\\x80-\xff]++|(?<![0189a-f])%|(?<!u)\\)*+[%\\\x80-\xff]")
_UNUSUAL_MEMBER = re.compile(r':"(?:[^"\\\x80-\xff]++|(?<!u)\\)*+[\\\x80-\xff]')
_BEGINNINGS = (b"&", b";", b"?", b"#", b"=", b"%3d", b"%23", b"%26", b"%3b", b"%3f")
_ENCODED = (b"ey", b"ew", b"w1", b"w3", b"wy", b"ww")
_ENDS = (b"=", b"%3d")
_DIGITS = b"0123456789"
_USER = re.compile(r"//[^/?#\s\"'<>@&]*+@")


class Prefilter:
    """Built once, of the rules for values that are no opt-out's."""

    def __init__(self, rules: NameRules, also: Iterable[str] = ()) -> None:
        """A query with one of the names `also` does not pass either."""
        endings = [*rules.endings, *also]
        spelled = {name.replace(" ", space).encode() for name in endings for space in ("", "%20")}
        stops = [name + end for name in sorted(spelled) for end in _ENDS]
        stops += [b"%c" % digit + end for digit in _DIGITS for end in _ENDS]  # of a name that may end in any number
        stops += [begin + value for begin in _BEGINNINGS for value in _ENCODED]
        self._stops = BytesAhoCorasick(
            [*_UNUSUAL, *sorted({*_HIDING, *_NO_URL, *stops})], implementation=Implementation.DFA
        )
        names = _any_turned(endings)
        members = _any_turned(rules.endings)
        self._names = re.compile(f"=[0-9]*{names}")
        self._members = re.compile(f':"[0-9]*{members}')

    def is_plain(self, target: bytes) -> bool:
        """Whether certainly no parameter of a request's target has a rule, and all its characters are those of a URL.

        So it is of nearly all; it takes a third of the time that the patterns of `passes` do.
        """
        return not self._stops.find_matches_as_indexes(target.translate(_LOWER, _JOINING))

    def passes(self, query: bytes) -> bool:
        """Whether certainly no parameter of a query or form has a rule."""
        found = self._stops.find_matches_as_indexes((b"?" + query).translate(_LOWER, _JOINING))
        if not found:
            return True
        plain = query.translate(_LOWER, _IGNORED).decode("latin-1")
        if max([stop for stop, _, _ in found]) < len(_UNUSUAL):  # a title, which need not be English
            return _UNUSUAL_NAME.search(plain.replace("%3d", "=")[::-1]) is None
        if "\\" in plain or '"' in plain or "@" in plain or "=" not in plain or "pass" in plain:
            return not plain
        if "%" in plain:
            if _HIDDEN.search(plain) is not None:
                return False
            plain = plain.replace("%3d", "=")
        turned = plain[::-1]
        if self._names.search(turned) is not None or _UNUSUAL_NAME.search(turned) is not None:
            return False
        return not (("ey" in plain or "ew" in plain or b"W" in query) and _BASE64.search(query) is not None)

    def passes_json(self, item: bytes) -> bool:
        """Whether certainly no member of a JSON item has a rule, and no parameter in a text of it."""
        plain = item.translate(_LOWER, _IGNORED).decode("latin-1")
        if "\\" in plain and ('\\"' in plain or "\\u00" in plain):
            return False
        if (
            "pass" in plain
            or "\t" in plain
            or "\n" in plain
            or "\r" in plain
            or ("@" in plain and ("\\" in plain or _USER.search(plain) is not None))
        ):
            return False
        if "%" in plain:
            if "%40" in plain or _HIDDEN_LETTER.search(plain) is not None:
                return False
            plain = plain.replace("%3d", "=")
        turned = plain[::-1]
        if self._members.search(turned) is not None or ("=" in turned and self._names.search(turned) is not None):
            return False
        may_be_unusual = "%" in plain or "\\u" in plain or not item.isascii()
        if may_be_unusual and (_UNUSUAL_MEMBER.search(turned) or _UNUSUAL_NAME.search(turned)):
            return False
        may_encode = '"ey' in plain or '"ew' in plain or b'"W' in item or _in_url(plain, "e") or _in_url(plain, "w")
        return not (may_encode and _BASE64.search(item) is not None)


def _in_url(plain: str, first: str) -> bool:
    """Whether something in a URL begins with this letter; faster than a pattern."""
    return any([before + first in plain for before in ("=", "&", "?", "#", ";")])  # noqa: C419 - a generator takes longer


def _any_turned(names: Sequence[str]) -> str:
    """A pattern of the names, turned round, that looks at their last letters first; a space may be `%20`."""
    by_letter: dict[str, list[str]] = {}
    for name in names:
        first, *others = (re.escape(letter) for letter in reversed(name))
        by_letter.setdefault(first, []).append("".join(others).replace(r"\ ", "(?:02%)?"))
    groups = "|".join(f"{first}(?:{'|'.join(others)})" for first, others in sorted(by_letter.items()))
    return rf"(?:\]|{groups})"
