"""Reads the one kind of request that nearly all are: a whole GET over HTTP/1.1, nothing before it and nothing after it.

Only what can mean one thing is read here: one Host, no body, no word about the connection, a target of plain URL
characters, and a head that is small and complete. Whatever else there is in it, the answer is None, and the request
goes the way of any other, through aiohttp. What is read here, aiohttp would read the same: a test compares the two.

All but one or two header lines of a request were there before, from others. So what a line means is remembered, as the
JSON that it is in a hit: most headers are not taken apart, decoded and encoded again for each request.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from functools import lru_cache
from typing import NamedTuple

from services.collector import reply
from services.shared import hit

LARGEST = 8_000  # bytes of a head; aiohttp refuses a single header of more than 8,190
_LINES, _LONG = 4_096, 400  # lines that are remembered, 3 MB at most; those that have so many bytes are not

_TARGET = b"-.~:/?[]@!$&'()*+,;=%_0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_LINE = re.compile(rb"([\w!#$%&'*+.^`|~-]+):([\t -~\x80-\xff]*)", re.ASCII)
# Headers that change what a request is or what its reply must be.
_OTHER = frozenset({"content-length", "transfer-encoding", "expect", "upgrade", "te", "trailer"})
_FORWARDED, _ORIGIN = "x-forwarded-for", "origin"


class _Line(NamedTuple):
    """What a header line means. Of the lines of a request that is read no two share a bit of `marks`."""

    marks: int = 0  # none: the line does not matter
    member: bytes = b""  # a header to keep, as in a hit's JSON
    other: tuple[str, bytes] | None = None  # X-Forwarded-For, or an Origin as it may be echoed


_START, _HOST = 1, 2
_IGNORED, _REFUSED = _Line(), _Line(_START)


class Reader:
    """`names` are the headers to keep, in lower case; a request with one of `others` is left to aiohttp."""

    def __init__(self, names: Collection[str], others: Collection[str] = ()) -> None:
        self._names = {name: b"%b:" % hit.text(name) for name in names}
        self._others = _OTHER | frozenset(others)
        self._marks = {"host": _HOST}
        for name in (_FORWARDED, _ORIGIN, *names):
            self._marks.setdefault(name, _HOST << len(self._marks))
        self._remembered = lru_cache(_LINES)(self._meaning)

    def read(self, data: bytes) -> tuple[bytes, bytes, bytes, str, bytes] | None:
        """Path, query, the headers to keep, X-Forwarded-For, and Origin; None for any other request.

        `data` is what one read of an idle connection gave. Headers are the members of a JSON object; path and query
        are such that they can stand in JSON as they are.
        """
        if data[:5] != b"GET /" or len(data) > LARGEST:
            return None
        first, *lines = data.split(b"\r\n")
        if len(lines) < 3 or lines.pop() or lines.pop():
            return None
        target = first[4:-9]
        if first[-9:] != b" HTTP/1.1" or target.translate(None, _TARGET):
            return None
        seen, forwarded, origin, members = _START, "", b"", []
        for line in lines:
            marks, member, other = self._remembered(line) if len(line) < _LONG else self._meaning(line)
            if seen & marks:
                return None
            if marks:
                seen |= marks
                if member:
                    members.append(member)
                if other is not None:
                    forwarded, origin = other[0] or forwarded, other[1] or origin
        if not seen & _HOST:
            return None
        path, _, query = target.partition(b"?")
        return path, query, b",".join(members), forwarded, origin

    def _meaning(self, line: bytes) -> _Line:
        match = _LINE.fullmatch(line)
        if match is None:
            return _REFUSED
        name, value = match[1].decode().lower(), match[2].decode("utf-8", "surrogateescape").strip(" \t")
        if name in self._others or (name == "connection" and value.lower() != "keep-alive"):
            return _REFUSED
        if name not in self._marks:
            return _IGNORED
        member = self._names[name] + hit.text(value) if name in self._names else b""
        if name == _FORWARDED:
            return _Line(self._marks[name], member, (value, b""))
        return _Line(self._marks[name], member, ("", reply.origin(value)) if name == _ORIGIN else None)


def line(id: str, at: int, path: bytes, query: bytes, headers: bytes, ip: str) -> bytes:
    """The line of a pack for a request that was read; what `hit.encode` makes of the same hit is read the same."""
    return b'{"id":"%b","at":%d,"method":"GET","path":"%b","query":"%b","headers":{%b},"ip":%b}' % (
        id.encode(), at, path, query, headers, hit.text(ip)
    )  # fmt: skip
