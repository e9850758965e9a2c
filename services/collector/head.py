"""Repairs a request's head so that aiohttp's parser accepts it, or rejects it with a status.

Takes time linear in its input, whatever that is.
"""

from __future__ import annotations

import re
from collections.abc import Collection

MAX_LINE = 131_072  # bytes of a request line, raw ones percent-encoded; long enough for a pixel URL of 100 kB
MAX_FIELD = 8_192  # bytes of a header line, except a Cookie
MAX_FIELDS = 65_536  # bytes of all header lines, Cookies included
MAX_COUNT = 128  # header lines

_PLAIN = re.compile(rb"[A-Z]+ [/*][!-~]* HTTP/1\.[01]")
_METHOD = re.compile(rb"[A-Z-]{1,24}")
_VERSION = re.compile(rb" HTTP/\d\.\d")
_AUTHORITY = re.compile(rb"https?://[^/?#]*", re.IGNORECASE)
_ORIGIN = re.compile(rb"\r\norigin:[ \t]*([!-~]{1,512})[ \t]*\r\n", re.IGNORECASE)
_VISIBLE = bytes(range(0x21, 0x7F))
_ENCODED = [bytes([byte]) if byte in _VISIBLE else b"%%%02X" % byte for byte in range(256)]
# The parser allows each of these only once. A second one is harmless here, so it is dropped.
_ONCE = frozenset(
    {b"content-location", b"content-range", b"content-type", b"etag", b"max-forwards", b"server", b"user-agent"}
)


# Headers that may have to be dropped, and folded lines.
_NOTED = re.compile(rb"\r\n(?:(%b):|[ \t])" % b"|".join(sorted(_ONCE | {b"cookie", b"upgrade"})))


class MalformedRequest(Exception):
    """The request is not acceptable HTTP; `status` is what to answer."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class Repairer:
    """`needed` are the headers that something reads, in lower case: a Cookie that is not among them is dropped."""

    def __init__(self, needed: Collection[str]) -> None:
        # Nothing is ever upgraded here, and a parser that sees an upgrade stops reading requests.
        self._dropped = frozenset({b"upgrade"} if "cookie" in needed else {b"upgrade", b"cookie"})

    def repair(self, head: bytes) -> tuple[bytes, bool]:
        """The head for the parser, and whether raw bytes of its target were percent-encoded.

        `head` ends with an empty line. The target is converted to origin form without raw bytes; a Cookie, an Upgrade
        and repeated lines of harmless headers are dropped. Raises MalformedRequest.
        """
        end = head.find(b"\r\n")
        line, raw = request_line(head[:end])
        count = head.count(b"\n")
        if count - 2 > MAX_COUNT:
            raise MalformedRequest(431)
        if count != head.count(b"\r\n"):
            raise MalformedRequest(400)
        names = _NOTED.findall(head.lower(), end)
        plain = len(set(names)) == len(names) and b"" not in names and self._dropped.isdisjoint(names)
        if plain and len(head) - end <= MAX_FIELD:
            return (line + head[end:] if len(line) != end else head), raw
        return b"\r\n".join([line, *self._fields(head[end + 2 : -4].split(b"\r\n")), b"", b""]), raw

    def _fields(self, fields: list[bytes]) -> list[bytes]:
        found = []
        seen = set()
        for field in fields:
            if field[:1] in (b" ", b"\t"):  # a folded line; if the line before it is dropped, it would continue another
                raise MalformedRequest(400)
            name = field.partition(b":")[0].lower()
            if name in self._dropped or name in seen:
                continue
            if len(field) > MAX_FIELD and name != b"cookie":
                raise MalformedRequest(431)
            if name in _ONCE:
                seen.add(name)
            found.append(field)
        return found


def request_line(line: bytes) -> tuple[bytes, bool]:
    """The request line with a target in origin form, and whether raw bytes of it were percent-encoded.

    Raises MalformedRequest: 400 for anything that is not a request line, 405 for CONNECT, 414 for one that is too long,
    505 for another HTTP version.
    """
    if len(line) > MAX_LINE:
        raise MalformedRequest(414)
    if _PLAIN.fullmatch(line) and not line.startswith(b"CONNECT "):
        return line, False
    if b"\n" in line or b"\r" in line:  # some would read this as two lines
        raise MalformedRequest(400)
    method, _, rest = line.partition(b" ")
    target, version = rest[:-9].strip(b" "), rest[-9:]
    if not _METHOD.fullmatch(method) or not _VERSION.fullmatch(version) or not target:
        raise MalformedRequest(400)
    if version not in (b" HTTP/1.0", b" HTTP/1.1"):
        raise MalformedRequest(505)
    if method == b"CONNECT":
        raise MalformedRequest(405)
    if (authority := _AUTHORITY.match(target)) is not None:
        target = target[authority.end() :]
        if not target.startswith(b"/"):
            target = b"/" + target
    raw = bool(target.translate(None, _VISIBLE))
    if raw:
        target = b"".join(map(_ENCODED.__getitem__, target))
    line = b"%b %b%b" % (method, target, version)
    if len(line) > MAX_LINE:
        raise MalformedRequest(414)
    return line, raw


def may_begin(start: bytes) -> bool:
    """Whether a request line can begin with these bytes: a method, or the start of one."""
    return _METHOD.fullmatch(start.partition(b" ")[0]) is not None


def origin(data: bytes) -> bytes:
    """The Origin in the head, possibly incomplete, that `data` begins with; empty if there is none."""
    match = _ORIGIN.search(data.partition(b"\r\n\r\n")[0] + b"\r\n")
    return match[1] if match else b""
