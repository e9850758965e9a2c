"""Reads query strings as browsers write them, and as people do."""

from __future__ import annotations

from urllib.parse import unquote_to_bytes

from yarl import URL


def pairs(query: str) -> list[tuple[str, str]]:
    """Names and values in order, percent-decoded, `+` as a space; a name without `=` has the value "".

    It takes any text. Bytes that are not UTF-8 are read as Latin-1, as old clients write it; `%zz` stays as it is.
    """
    if not query:
        return []
    if not query.isascii():  # a lone surrogate cannot come from our collector, and nothing after this could encode it
        query = query.encode("utf-8", "replace").decode()
    # yarl decodes in C, but of bytes that are not UTF-8 it leaves some as %XX and makes U+FFFD of others.
    found = list(URL.build(query_string=query, encoded=True).query.items())
    if not any("%" in item or "\ufffd" in item for pair in found for item in pair):
        return found
    return [_pair(part) for part in query.split("&") if part]


def _pair(part: str) -> tuple[str, str]:
    name, _, value = part.partition("=")
    return _decode(name), _decode(value)


def _decode(part: str) -> str:
    return text(unquote_to_bytes(part.replace("+", " ")))


def text(data: bytes) -> str:
    """Bytes a client sent as text: UTF-8, or else Latin-1, which takes any byte and loses none."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("latin-1")
