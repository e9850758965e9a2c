"""Repairs JSON that contains lone surrogates, the halves of characters.

JavaScript, Java and Windows write a character beyond U+FFFF, such as an emoji, as a pair of surrogates. Cut between the
two, as by JavaScript's `slice`, a text holds half a character, which UTF-8 cannot represent: it becomes U+FFFD. CESU-8
encoders write each half as three bytes: such a pair becomes the character it stands for.
"""

from __future__ import annotations

import re

MOST = 50_000  # of each kind in one text; each takes 0.1 to 0.4 µs

_HEX = rb"[0-9a-fA-F]{2}"
_HIGH, _LOW = rb"\\u[dD][89abAB]" + _HEX, rb"\\u[dD][c-fC-F]" + _HEX
# Both begin with `\u`, which is found fast. The lookbehind skips the six bytes of the low half itself.
_HALF_ESCAPED = re.compile(
    rb"\\u(?:[dD][89abAB]%b(?!%b)|[dD][c-fC-F]%b(?<!%b.{6}))" % (_HEX, _LOW, _HEX, _HIGH), re.DOTALL
)
_PAIR = re.compile(rb"\xed[\xa0-\xaf][\x80-\xbf]\xed[\xb0-\xbf][\x80-\xbf]")
_HALF = re.compile(rb"\xed[\xa0-\xbf][\x80-\xbf]")
_TWO_BACKSLASHES, _STAND_IN = rb"\\", b"\xff\xff"


class TooMany(Exception):
    """There is more to repair than is allowed."""


def replace_escaped(text: bytes) -> bytes:
    r"""The text, which is UTF-8, with `\ufffd` for each escaped half of a pair (`\ud83d`): as long as before.

    Raises TooMany.
    """
    if b"\\" not in text or (rb"\ud" not in text and rb"\uD" not in text):
        return text
    # With escaped backslashes out of the way, every backslash begins an escape. UTF-8 never contains the byte 0xFF.
    text = text.replace(_TWO_BACKSLASHES, _STAND_IN)
    text, found = _HALF_ESCAPED.subn(rb"\\ufffd", text, MOST)
    if found == MOST and _HALF_ESCAPED.search(text):
        raise TooMany(f"over {MOST} characters are cut in half")
    return text.replace(_STAND_IN, _TWO_BACKSLASHES)


def join_encoded(text: bytes) -> bytes:
    """The text with each encoded pair as its character, and U+FFFD for each remaining half. Raises TooMany."""
    if b"\xed" not in text:
        return text
    for encoded, repaired in ((_PAIR, _joined), (_HALF, "\ufffd".encode())):
        text, found = encoded.subn(repaired, text, MOST)
        if found == MOST and encoded.search(text):
            raise TooMany(f"over {MOST} characters are written as surrogates (CESU-8)")
    return text


def _joined(pair: re.Match[bytes]) -> bytes:
    _, high, high_end, _, low, low_end = pair[0]
    return chr(0x10000 + ((high & 15) << 16 | (high_end & 63) << 10 | (low & 15) << 6 | low_end & 63)).encode()
