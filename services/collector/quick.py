"""Reads the one kind of request that nearly all are: a whole GET over HTTP/1.1, nothing before it and nothing after it.

Only what can mean one thing is read here: one Host, no body, no word about the connection, a target of plain URL
characters, and a head that is small and complete. Whatever else there is in it, the answer is None, and the request
goes the way of any other, through aiohttp. What is read here, aiohttp would read the same: a test compares the two.

This and the reply of reply.py are what a pixel costs, without aiohttp's parser, request, two tasks and their waits: a
third less CPU a request in interleaved runs on a busy machine.
"""

from __future__ import annotations

import re
from collections.abc import Collection

LARGEST = 8_000  # bytes of a head; aiohttp refuses a single header of more than 8,190

_HEAD = re.compile(
    rb"GET (/[\w\-.~:/?\[\]@!$&'()*+,;=%]*) HTTP/1\.1\r\n"
    rb"((?:[\w!#$%&'*+.^`|~-]+:[\t -~\x80-\xff]*\r\n)+)\r\n",
    re.ASCII,
)
# Headers that change what a request is or what its reply must be.
_OTHER = frozenset({"content-length", "transfer-encoding", "expect", "upgrade", "te", "trailer"})
_FORWARDED = "x-forwarded-for"


class Reader:
    """`names` are the headers to keep, in lower case; a request with one of `others` is left to aiohttp."""

    def __init__(self, names: Collection[str], others: Collection[str] = ()) -> None:
        self._names = tuple(names)
        self._others = _OTHER | frozenset(others)
        self._wanted = frozenset(names) | self._others | {"host", "connection", _FORWARDED}

    def read(self, data: bytes) -> tuple[str, dict[str, str], str] | None:
        """The target, the headers to keep in the order of `names`, and X-Forwarded-For; None for any other request.

        `data` is what one read of an idle connection gave.
        """
        if len(data) > LARGEST or (match := _HEAD.fullmatch(data)) is None:
            return None
        found: dict[str, str] = {}
        wanted = self._wanted
        for line in match[2].decode("utf-8", "surrogateescape").split("\r\n"):
            name, _, value = line.partition(":")
            name = name.lower()
            if name not in wanted:
                continue
            value = value.strip(" \t")
            if name in self._others or (name == "connection" and value.lower() != "keep-alive"):
                return None
            if name in found:
                if name != _FORWARDED:
                    return None
                value = f"{found[name]},{value}"
            found[name] = value
        if "host" not in found:
            return None
        kept = {name: found[name] for name in self._names if name in found}
        return match[1].decode(), kept, found.get(_FORWARDED, "")
