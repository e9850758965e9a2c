"""Edits of a text, and the way back from what a text encodes to the text itself.

What is decoded, percent-encoding or the escapes of a JSON string, is edited where it stands: places in the decoded text
are mapped to places in the encoded one, so that all else stays as it was sent.

Texts are bytes read as Latin-1, so that a character is a byte and nothing is lost.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from codecs import unicode_escape_decode
from collections.abc import Callable, Iterable
from json.decoder import JSONDecoder
from typing import NamedTuple
from urllib.parse import quote

PERCENT = re.compile(r"%[0-9a-fA-F]{2}")
ESCAPE = re.compile(r"\\(?:u[0-9a-fA-F]{4}|.)", re.DOTALL)
_decoder = JSONDecoder(strict=False)
_STRAY = re.compile(r"%(?![0-9a-fA-F]{2})")
_PLAIN = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}


class Edit(NamedTuple):
    """What is between two places becomes `new`."""

    start: int
    end: int
    new: str = ""


def apply(text: str, edits: Iterable[Edit]) -> str:
    """The text after its edits, which are in order and apart."""
    parts: list[str] = []
    at = 0
    for start, end, new in edits:
        parts += (text[at:start], new)
        at = end
    return "".join((*parts, text[at:]))


def merged(edits: list[Edit]) -> list[Edit]:
    """The edits in order and apart; of two that overlap the first is extended."""
    found: list[Edit] = []
    for one in sorted(edits):
        if found and one.start < found[-1].end:
            before = found.pop()
            one = Edit(before.start, max(before.end, one.end), before.new)
        found.append(one)
    return found


def moved(edits: Iterable[Edit], offset: int) -> list[Edit]:
    """The edits of a part of a text, as edits of that text."""
    return [Edit(start + offset, end + offset, new) for start, end, new in edits]


def percent_decode(text: str) -> str:
    """The text with its percent-encoding undone, once; a `%` that begins no escape stays."""
    if "%" not in text:
        return text
    # %41 is what \x41 is to Python, whose decoder for that is written in C.
    plain = text.replace("\\", "%5C")
    try:
        return unicode_escape_decode(plain.replace("%", r"\x").encode("latin-1"))[0]
    except UnicodeDecodeError:
        return unicode_escape_decode(_STRAY.sub("%25", plain).replace("%", r"\x").encode("latin-1"))[0]


def percent_encoded(new: str) -> str:
    return quote(new.encode("latin-1"), safe="")


def unescape_at_once(text: str) -> str | None:
    """The same as `unescape` by Python's decoder in C; None for what that reads in another way."""
    if "\\" not in text:
        return text
    ascii_only = text.isascii()
    if not ascii_only and "\\u" in text:
        return None
    try:
        plain = str(_decoder.raw_decode(f'"{text}"')[0])
    except ValueError:
        return None
    if not ascii_only or plain.isascii():
        return plain
    # A pair of surrogates has become one character.
    return plain.encode("utf-8", "surrogatepass").decode("latin-1") if max(plain) <= "\uffff" else None


def unescape(text: str) -> str:
    """The content of a JSON string without its escapes; half a character is written as CESU-8 does."""
    return ESCAPE.sub(_unescaped, text) if "\\" in text else text


def _unescaped(match: re.Match[str]) -> str:
    escape = match[0]
    if len(escape) > 2:
        code = int(escape[2:], 16)
        return chr(code) if code < 128 else chr(code).encode("utf-8", "surrogatepass").decode("latin-1")
    return _PLAIN.get(escape[1], escape[1])


def escaped(new: str) -> str:
    return new.replace("\\", r"\\").replace('"', r"\"")


def _encoded(
    text: str,
    edits: list[Edit],
    offset: int,
    *,
    escape: re.Pattern[str],
    decode: Callable[[re.Match[str]], str],
    encode: Callable[[str], str],
) -> list[Edit]:
    decoded, raw, shift = [0], [0], 0
    for match in escape.finditer(text):
        shift += len(match[0]) - len(decode(match))
        decoded.append(match.end() - shift)
        raw.append(match.end())

    def place(at: int) -> int:
        found = bisect_right(decoded, at) - 1
        return raw[found] + at - decoded[found] + offset

    return [Edit(place(start), place(end), encode(new)) for start, end, new in edits]


def percent_encoded_edits(text: str, edits: list[Edit], offset: int) -> list[Edit]:
    """The edits of what a percent-encoded text decodes to, as edits of a text in which it begins at `offset`."""
    if not edits:
        return []
    return _encoded(text, edits, offset, escape=PERCENT, decode=lambda _: "x", encode=percent_encoded)


def escaped_edits(text: str, edits: list[Edit], offset: int) -> list[Edit]:
    """The same for the content of a JSON string."""
    if not edits:
        return []
    return _encoded(text, edits, offset, escape=ESCAPE, decode=_unescaped, encode=escaped)
