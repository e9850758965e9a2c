"""Reads the body of a POST: one JSON object, an array of them, or one a line. Each event stays the bytes it was."""

from __future__ import annotations

import zlib
from typing import TypeVar

import msgspec

from services.shared import nesting

T = TypeVar("T")

MAX_EVENTS = 1_000  # in one request: as many as fit one pack
_LINES = {"application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines"}
_JSON = {"", "application/json", "text/plain", "application/octet-stream"}
_NO_OBJECT = "an event is a JSON object, this is not one"
_TOO_DEEP = f"not usable JSON: nested too deeply, over {nesting.DEEPEST} levels"

_one = msgspec.json.Decoder(msgspec.Raw)
_array = msgspec.json.Decoder(list[msgspec.Raw])


class BadBody(Exception):
    """The body cannot be used: the HTTP status to answer with, what is wrong, and where if that is known."""

    def __init__(self, status: int, error: str, where: str = "") -> None:
        super().__init__(error)
        self.status, self.error, self.where = status, error, where


def check_type(content_type: str) -> str:
    """The media type of a Content-Type header, in lower case. Raises BadBody 415 for one that is not JSON."""
    media = content_type.partition(";")[0].strip().lower()
    if media not in _JSON and media not in _LINES:
        raise BadBody(415, f"content type {media[:100]!r} is not supported", "send application/json or text/plain")
    return media


def decompress(data: bytes, encoding: str, limit: int) -> bytes:
    """The body without its Content-Encoding, at most `limit` bytes. Raises BadBody 400, 413 or 415."""
    if encoding in ("", "identity"):
        return data
    if encoding != "gzip":
        raise BadBody(415, f"content encoding {encoding[:100]!r} is not supported", "send gzip or none")
    stream = zlib.decompressobj(wbits=31)
    try:
        content = stream.decompress(data, limit + 1)
    except zlib.error as error:
        raise BadBody(400, f"the gzip body is damaged: {error}") from error
    if len(content) > limit:
        raise BadBody(413, f"the body is over {limit} bytes when decompressed")
    if not stream.eof:
        raise BadBody(400, "the gzip body is cut off", f"after {len(data)} bytes")
    if stream.unused_data:
        raise BadBody(400, "there is something after the gzip body", f"byte {len(data) - len(stream.unused_data)}")
    return content


def events(data: bytes, media: str) -> list[bytes]:
    """The JSON objects of a body, each as one line of the bytes sent. Raises BadBody 400 or 413, saying where."""
    try:
        data.decode()
    except UnicodeDecodeError as error:
        raise BadBody(400, "the body is not UTF-8", f"byte {error.start}") from error
    text = data.strip()
    if not text:
        raise BadBody(400, "the body is empty")
    if media in _LINES:
        found = _lines(text)
    elif text.startswith(b"["):
        found = _elements(text)
    else:
        try:
            _decode(_one, text)
        except BadBody:
            if b"\n" not in text:
                raise
            found = _lines(text)
        else:
            if not text.startswith(b"{"):
                raise BadBody(400, _NO_OBJECT)
            found = [text]
    if not found:
        raise BadBody(400, "there is no event in the body")
    if any(len(event) > nesting.DEEPEST and nesting.too_deep(event) for event in found):
        raise BadBody(400, _TOO_DEEP)
    # A line end outside a string means nothing to JSON, and inside it must be escaped: a hit stays one line.
    for end in (b"\n", b"\r"):
        if end in text:
            found = [event.replace(end, b" ") for event in found]
    return found


def _lines(text: bytes) -> list[bytes]:
    found = []
    number = 0
    try:
        for number, line in enumerate(text.split(b"\n"), 1):
            event = line.strip()
            if not event:
                continue
            _one.decode(event)  # not by _decode: the call, and a text of where it is, are a third of this loop
            if not event.startswith(b"{"):
                raise BadBody(400, _NO_OBJECT, f"line {number}")
            found.append(event)
            if len(found) > MAX_EVENTS:
                raise BadBody(413, f"over {MAX_EVENTS} events in one request", f"line {number}")
    except (msgspec.MsgspecError, RecursionError) as error:
        raise _no_json(error, f"line {number}") from error
    return found


def _elements(text: bytes) -> list[bytes]:
    raws = _decode(_array, text)
    if len(raws) > MAX_EVENTS:
        raise BadBody(413, f"{len(raws)} events in one request, at most {MAX_EVENTS} are allowed")
    found = [bytes(raw) for raw in raws]
    for index, event in enumerate(found):
        if not event.startswith(b"{"):
            raise BadBody(400, _NO_OBJECT, f"element {index}")
    return found


def _decode(decoder: msgspec.json.Decoder[T], text: bytes) -> T:
    try:
        return decoder.decode(text)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise _no_json(error) from error


def _no_json(error: Exception, where: str = "") -> BadBody:
    return BadBody(400, _TOO_DEEP if isinstance(error, RecursionError) else f"not JSON: {error}", where)
