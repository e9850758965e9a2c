"""Parses the most common request, a complete pixel GET over HTTP/1.1 that arrives in one piece.

Parses only unambiguous requests: one Host, no body, no header about the connection, a target of plain URL characters,
and a small, complete head. Everything else falls back to aiohttp. A test checks that aiohttp parses the same requests
to the same values.

Nearly all header lines have been seen before, in other requests. So each parsed line is cached as the JSON it becomes
in a hit, and most headers are not split, decoded, cleaned and encoded again for each request.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from functools import lru_cache
from typing import NamedTuple

from services.collector import reply
from services.collector.privacy import Protection, Treatment
from services.shared import hit, signals

LARGEST = 8_000  # bytes of a head; aiohttp refuses a header line over 8,190
_CACHED_LINES, _LONG_LINE = 4_096, 400  # cached lines, 3 MB at most; lines of this many bytes are not cached

_TARGET = b"-.~:/?[]@!$&'()*+,;=%_0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_LINE = re.compile(rb"([\w!#$%&'*+.^`|~-]+):([\t -~\x80-\xff]*)", re.ASCII)
# Headers that change how a request or its reply is framed.
_UNSUPPORTED = frozenset({"content-length", "transfer-encoding", "expect", "upgrade", "te", "trailer"})
_FORWARDED, _ORIGIN = "x-forwarded-for", "origin"


class _Line(NamedTuple):
    """A parsed header line. No two lines of an accepted request share a bit of `marks`."""

    marks: int = 0  # 0: the line is ignored
    member: bytes = b""  # a kept header, as a member of the hit's JSON
    other: tuple[str, bytes, str] | None = None  # X-Forwarded-For, an Origin as it may be echoed, an opt-out signal


_START, _HOST = 1, 2
_IGNORED, _REFUSED = _Line(), _Line(_START)


class FastParser:
    """`names` are the headers to keep, in lower case; a request that has one of `others` falls back to aiohttp.

    What is kept is cleaned by `protection`, which also says which header is an opt-out signal.
    """

    def __init__(self, names: Collection[str], protection: Protection, others: Collection[str] = ()) -> None:
        self._protection = protection
        self._is_plain, self._passes = protection.is_plain, protection.passes
        self._names = {name: b"%b:" % hit.text(name) for name in names}
        self._others = _UNSUPPORTED | frozenset(others)
        self._marks = {"host": _HOST}
        for name in (_FORWARDED, _ORIGIN, *signals.HEADERS, *names):
            self._marks.setdefault(name, _HOST << len(self._marks))
        self._cached_line = lru_cache(_CACHED_LINES)(self._parse_line)
        self._cached_anonymous = lru_cache(_CACHED_LINES)(self._anonymous)

    def parse(self, data: bytes) -> tuple[bytes, bytes, bytes, str, bytes, str, list[bytes], bool] | None:
        """Path, query, the headers to keep, X-Forwarded-For, Origin, how the headers opt out or "", and their lines.

        The last says whether certainly nothing of the query is to be removed, and it is no opt-out either.

        None for a request left to aiohttp. `data` is the result of one read of an idle connection. Headers are the
        members of a JSON object; path and query need no escaping in JSON.
        """
        if data[:5] != b"GET /" or len(data) > LARGEST:
            return None
        first, *lines = data.split(b"\r\n")
        if len(lines) < 3 or lines.pop() or lines.pop():
            return None
        if first[-9:] != b" HTTP/1.1":
            return None
        target = first[4:-9]
        path, _, query = target.partition(b"?")
        if not (passes := self._is_plain(target)):
            if target.translate(None, _TARGET):
                return None
            passes = self._passes(query)
        seen, forwarded, origin, signal, members = _START, "", b"", "", []
        cached = self._cached_line
        for line in lines:
            marks, member, other = cached(line) if len(line) < _LONG_LINE else self._parse_line(line)
            if seen & marks:
                return None
            if marks:
                seen |= marks
                if member:
                    members.append(member)
                if other is not None:
                    forwarded, origin = other[0] or forwarded, other[1] or origin
                    if other[2]:
                        signal = self._protection.strongest(signal, other[2])
        if not seen & _HOST:
            return None
        return path, query, b",".join(members), forwarded, origin, signal, lines, passes

    def anonymized(self, lines: list[bytes]) -> bytes:
        """The headers to keep of a parsed request, without what identifies people."""
        kept = [self._cached_anonymous(line) if len(line) < _LONG_LINE else self._anonymous(line) for line in lines]
        return b",".join(filter(None, kept))

    def _parse_line(self, line: bytes) -> _Line:
        name, value = _split(line)
        if not name:
            return _REFUSED
        if name in self._others or (name == "connection" and value.lower() != "keep-alive"):
            return _REFUSED
        if name not in self._marks:
            return _IGNORED
        other = None
        if name == _FORWARDED:
            other = value, b"", ""
        elif name == _ORIGIN:
            other = "", reply.origin(value), ""
        elif signal := signals.of_header(name, value):
            other = "", b"", signal
        return _Line(self._marks[name], self._member(name, value, anonymize=False), other)

    def _anonymous(self, line: bytes) -> bytes:
        """The member of a line that was parsed, as `_Line` has it, without what identifies people."""
        return self._member(*_split(line), anonymize=True)

    def _member(self, name: str, value: str, *, anonymize: bool) -> bytes:
        if name not in self._names:
            return b""
        kept = self._protection.clean_header(name, value, anonymize=anonymize)
        return b"" if kept is None else self._names[name] + hit.text(kept)


def _split(line: bytes) -> tuple[str, str]:
    """Name in lower case, and value; no name where a line is not a header."""
    match = _LINE.fullmatch(line)
    return (match[1].decode().lower(), match[2].decode("utf-8", "surrogateescape").strip(" \t")) if match else ("", "")


def encode(id: str, at: int, path: bytes, query: bytes, headers: bytes, ip: bytes, more: bytes = b"") -> bytes:
    """The pack's line for a parsed request; it decodes to the same hit as a line made by `hit.encode`.

    `ip` is JSON; `more` are further members, as `members` makes them.
    """
    return b'{"id":"%b","at":%d,"method":"GET","path":"%b","query":"%b","headers":{%b},"ip":%b%b}' % (
        id.encode(), at, path, query, headers, ip, more
    )  # fmt: skip


@lru_cache(64)
def members(treatment: Treatment) -> bytes:
    """What a hit says of how it was treated, for `encode`."""
    if not treatment.signal:
        return b""
    return b',"opt_out":"%b"%b' % (treatment.signal.encode(), b',"anonymized":true' if treatment.anonymize else b"")
