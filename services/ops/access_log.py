"""Access logs as hits: nginx's and Apache's combined format, CloudFront's standard logs, and Cloud Logging's entries.

Pure: lines in, hits or a reason out. An id is made of what a line says, so the same line of a file always has the same.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from urllib.parse import unquote

from services.processor import log_entry
from services.shared import address, identity
from services.shared.errors import Poison
from services.shared.hit import Hit

LOAD_BALANCER, COMBINED, CLOUDFRONT = "load-balancer", "combined", "cloudfront"
FORMATS = (LOAD_BALANCER, COMBINED, CLOUDFRONT)
# Why a line is not a hit, beside log_entry.IGNORED.
PATH, UNREADABLE = "path", "unreadable"
MAX_LINE = 1_048_576  # bytes; no server writes a longer request

_ERROR_STATUS = 400
_REMEMBERED = 100_000  # lines of which it is known how often they came; identical ones stand close together
# nginx writes \x22 for a quote, Apache \"; neither leaves a bare quote inside a field.
_COMBINED = re.compile(
    rb'(?P<ip>\S+) [^\[]{1,200}\[(?P<time>[^\]]{1,40})\] "(?P<request>(?:[^"\\]|\\.)*)" (?P<status>[0-9]{3}) \S+'
    rb'(?: "(?P<referer>(?:[^"\\]|\\.)*)" "(?P<agent>(?:[^"\\]|\\.)*)")?.*'
)
_ESCAPE = re.compile(rb"\\(x[0-9A-Fa-f]{2}|.)", re.DOTALL)
_PLAIN: Final = {b"n": b"\n", b"t": b"\t", b"r": b"\r"}
_CLOUDFRONT = ("date", "time", "cs-method", "cs-uri-stem", "cs-uri-query", "c-ip", "sc-status")

Line = Hit | str


@dataclass
class Reading:
    """How a file is read: a `format` of None is known by the first line; `unreadable` counts from 1."""

    format: str | None
    unreadable: int | None = None


def read(lines: Iterable[bytes], reading: Reading, paths: frozenset[str]) -> Iterator[Line]:
    """For each line that says anything: its hit, or the reason why it is none.

    `paths` are those of the pixel; empty takes all.
    """
    reader: Callable[[bytes], Line | None] | None = _READERS[reading.format]() if reading.format else None
    for number, line in enumerate(lines, 1):
        line = line.strip(b" \t\r\n\xef\xbb\xbf")
        if not line:
            continue
        if reader is None:
            reading.format = detect(line)
            reader = _READERS[reading.format]()
        found = UNREADABLE if len(line) > MAX_LINE else reader(line)
        if isinstance(found, Hit) and paths and found.path not in paths:
            found = PATH
        if found == UNREADABLE and reading.unreadable is None:
            reading.unreadable = number
        if found is not None:
            yield found


def detect(line: bytes) -> str:
    """The format of a file by its first line."""
    if line.startswith((b"{", b"[")):
        return LOAD_BALANCER
    return CLOUDFRONT if line.startswith((b"#Version", b"#Fields")) else COMBINED


class _LoadBalancer:
    """Cloud Logging's entries, one a line: ids as the processor makes them where a sink sends the same entries."""

    def __call__(self, line: bytes) -> Line | None:
        try:
            found = log_entry.decode(line, hashlib.sha256(line).hexdigest(), 0)
        except Poison:
            return UNREADABLE
        if found.hits:
            return found.hits[0]
        return next(iter(found.ignored), UNREADABLE)


class _Combined:
    def __init__(self) -> None:
        self._ids = _Ids()

    def __call__(self, line: bytes) -> Line | None:
        match = _COMBINED.fullmatch(line)
        if match is None:
            return UNREADABLE
        try:
            moment = datetime.strptime(match["time"].decode(), "%d/%b/%Y:%H:%M:%S %z")
        except ValueError:
            return UNREADABLE
        method, _, rest = _text(match["request"]).partition(" ")
        target, _, protocol = rest.rpartition(" ")
        if not protocol.startswith("HTTP/"):
            return UNREADABLE
        headers = {"referer": _text(match["referer"]), "user-agent": _text(match["agent"])}
        return _hit(
            line, self._ids, moment, method, target, headers, match["ip"].decode("latin-1"), int(match["status"])
        )


class _CloudFront:
    """Standard logs: columns are named by a line of their own; values are percent-encoded, the query once more."""

    def __init__(self) -> None:
        self._columns: list[str] = []
        self._ids = _Ids()

    def __call__(self, line: bytes) -> Line | None:
        text = line.decode("utf-8", "replace")
        if text.startswith("#"):
            if text.startswith("#Fields:"):
                self._columns = text.removeprefix("#Fields:").split()
            return None
        values = dict(zip(self._columns, text.split("\t"), strict=False))
        if any(name not in values for name in _CLOUDFRONT):
            return UNREADABLE
        try:
            moment = datetime.fromisoformat(f"{values['date']}T{values['time']}+00:00")
            status = int(values["sc-status"])
        except ValueError:
            return UNREADABLE
        query = "" if values["cs-uri-query"] == "-" else values["cs-uri-query"]
        target = values["cs-uri-stem"] + (f"?{query}" if query else "")
        names = {"referer": "cs(Referer)", "user-agent": "cs(User-Agent)", "host": "cs(Host)"}
        headers = {name: unquote(values.get(column, "-")) for name, column in names.items()}
        return _hit(line, self._ids, moment, values["cs-method"], target, headers, values["c-ip"], status)


_READERS: dict[str, Callable[[], Callable[[bytes], Line | None]]] = {
    LOAD_BALANCER: _LoadBalancer,
    COMBINED: _Combined,
    CLOUDFRONT: _CloudFront,
}


class _Ids:
    """Ids of lines: the second of two identical ones is another event, and has the same id each time it is read."""

    def __init__(self) -> None:
        self._seen: Counter[bytes] = Counter()

    def of(self, line: bytes, at: int) -> str:
        digest = hashlib.sha256(line).digest()
        if len(self._seen) >= _REMEMBERED:
            self._seen.clear()
        self._seen[digest] += 1
        name = digest + self._seen[digest].to_bytes(8, "big")
        return identity.uuid7(at, hashlib.sha256(name).digest()[:10])


def _hit(
    line: bytes, ids: _Ids, moment: datetime, method: str, target: str, headers: dict[str, str], ip: str, status: int
) -> Line:
    if method not in log_entry.METHODS:
        return log_entry.METHOD
    if status >= _ERROR_STATUS:
        return log_entry.STATUS
    at = int(moment.astimezone(UTC).timestamp()) * 1_000_000
    path, _, query = target.partition("?")
    return Hit(
        id=ids.of(line, at),
        at=at,
        method=method,
        path=path,
        query=query.partition("#")[0],
        headers={name: value for name, value in headers.items() if value not in ("", "-")},
        ip=address.normalize(ip),
        status=status,
    )


def _text(field: bytes | None) -> str:
    """A field of a combined log without its escapes; bytes that are not UTF-8 are read as Latin-1."""
    if not field:
        return ""
    data = _ESCAPE.sub(_unescaped, field) if b"\\" in field else field
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _unescaped(match: re.Match[bytes]) -> bytes:
    what = match[1]
    return bytes.fromhex(what[1:].decode()) if len(what) == 3 else _PLAIN.get(what, what)
