"""Reads the body of a POST: one JSON object, an array of objects, or one per line. Events keep their bytes.

JSON is validated and cut without decoding its content, which strangers choose: a megabyte takes 2 to 16 ms.
"""

from __future__ import annotations

import re
from typing import ClassVar, TypeVar

import msgspec

from services.shared import json_depth, surrogates

T = TypeVar("T")

MAX_EVENTS = 1_000  # in one request; as many as fit into one pack
MAX_LINES = 10_000  # in one request, including empty ones
_LINES = {"application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines"}
_JSON = {"", "application/json", "text/plain", "application/octet-stream"}
_NO_OBJECT = "an event is a JSON object, this is not one"
_TOO_DEEP = f"nested too deeply, over {json_depth.DEEPEST} levels"
_TOO_MANY = f"over {MAX_EVENTS} events in one request"
_SHORT = 65_536  # bytes of an array small enough to build all its elements
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_SPACE = b" \t\r\n"  # as JSON defines it
_GAP = re.compile(rb"[ \t\r\n,]*")
_BYTE = re.compile(r"(?:JSON is malformed: )?(.*) \(byte ([0-9]+)\)")  # the text of msgspec's errors
_BYTE_BEFORE = {"trailing characters", "invalid character in unicode escape"}  # errors for which it names the next byte
_NOTHING = msgspec.Raw()


class _Object(msgspec.Struct):
    """An object whose members are validated and skipped; only complete objects are counted."""

    complete: ClassVar[int] = 0

    def __post_init__(self) -> None:
        _Object.complete += 1


def _elements_of(kind: type) -> type[msgspec.Struct]:
    """An array type that keeps one element more than allowed, and validates and skips the others."""
    fields = [(f"_{number}", kind, _NOTHING) for number in range(MAX_EVENTS + 1)]
    return msgspec.defstruct("Elements", fields, array_like=True)


_one = msgspec.json.Decoder(msgspec.Raw)
_few = msgspec.json.Decoder(list[msgspec.Raw])
_many = msgspec.json.Decoder(_elements_of(msgspec.Raw))
_objects = msgspec.json.Decoder(_elements_of(_Object))


class BadBody(Exception):
    """The body is not acceptable: the HTTP status to answer, what is wrong, and where, if known."""

    def __init__(self, status: int, error: str, where: str = "") -> None:
        super().__init__(error)
        self.status, self.error, self.where = status, error, where


class _Fault(Exception):
    """What is wrong, and at which byte of the text."""

    def __init__(self, status: int, error: str, at: int) -> None:
        super().__init__(error)
        self.status, self.error, self.at = status, error, at


def check_type(content_type: str) -> str:
    """The media type of a Content-Type header, in lower case. Raises BadBody 415 for one that is not JSON."""
    media = content_type.partition(";")[0].strip().lower()
    if media not in _JSON and media not in _LINES:
        raise BadBody(415, f"content type {media[:100]!r} is not supported", "send application/json or text/plain")
    return media


def events(data: bytes, media: str) -> list[bytes]:
    """The JSON objects of a body, each as one line, otherwise as sent. Raises BadBody 400 or 413 with the position.

    Only lone surrogates are changed (surrogates.py).
    """
    text = data.removeprefix(_BYTE_ORDER_MARK)
    if not text.strip(_SPACE):
        raise BadBody(400, "the body is empty")
    array = media not in _LINES and text.lstrip(_SPACE).startswith(b"[")
    text = _utf8(text, array=array)
    try:
        try:
            found = _cut(text, media, array=array)
        except _Fault:  # msgspec rejects lone surrogates, so only now can there be any
            repaired = _repaired(text)
            if repaired == text:
                raise
            text = repaired
            found = _cut(text, media, array=array)
    except _Fault as fault:
        raise BadBody(fault.status, fault.error, _where(text[: fault.at], array=array)) from fault
    if not found:
        raise BadBody(400, "there is no event in the body")
    # A line end in JSON is either insignificant, outside a string, or escaped; a hit must be one line.
    for end in (b"\n", b"\r"):
        if end in text:
            found = [event.replace(end, b" ") for event in found]
    return found


def _cut(text: bytes, media: str, *, array: bool) -> list[bytes]:
    return _array(text) if array else _lines(text) if media in _LINES else _object_or_lines(text)


def _repaired(text: bytes) -> bytes:
    try:
        return surrogates.replace_escaped(text)
    except surrogates.TooMany as error:
        raise BadBody(413, str(error)) from error


def _utf8(text: bytes, *, array: bool) -> bytes:
    try:
        text.decode()
    except UnicodeDecodeError:
        try:
            text = surrogates.join_encoded(text)
            text.decode()
        except surrogates.TooMany as error:
            raise BadBody(413, str(error)) from error
        except UnicodeDecodeError as error:
            before = _repaired(text[: error.start])
            raise BadBody(400, "the body is not UTF-8", _where(before, array=array)) from error
    return text


def _object_or_lines(text: bytes) -> list[bytes]:
    """One object, or one per line if the first line is JSON by itself, which the start of a broken object is not."""
    start = len(text) - len(text.lstrip(_SPACE))
    try:
        event = _decode(_one, text)
    except _Fault:
        first, more, _ = text[start:].partition(b"\n")
        if not more or not _is_json(first):
            raise
        return _lines(text)
    if not text.startswith(b"{", start):
        raise _Fault(400, _NO_OBJECT, start)
    return [_shallow(bytes(event), start)]


def _lines(text: bytes) -> list[bytes]:
    found: list[bytes] = []
    lines = text.split(b"\n", MAX_LINES)
    for number, line in enumerate(lines):
        event = line.strip()
        if not event:
            continue
        try:
            if number == MAX_LINES:  # this is all the rest
                raise _Fault(413, f"over {MAX_LINES} lines in one request", 0)
            _one.decode(event)  # not _decode: its call, and the position's text, would be a third of this loop
            if not event.startswith(b"{"):
                raise _Fault(400, _NO_OBJECT, 0)
            if len(found) == MAX_EVENTS:
                raise _Fault(413, _TOO_MANY, 0)
            if len(event) > json_depth.DEEPEST:
                _shallow(event, 0)
        except (msgspec.MsgspecError, RecursionError, _Fault) as error:
            fault = error if isinstance(error, _Fault) else _fault(error, event)
            start = sum(map(len, lines[:number])) + number + line.index(event[:1])
            raise _Fault(fault.status, fault.error, start + fault.at) from error
        found.append(event)
    return found


def _array(text: bytes) -> list[bytes]:
    if len(text) < _SHORT:
        found = [bytes(raw) for raw in _decode(_few, text)]
    else:  # it may have any number of elements; do not build them all
        found = [bytes(raw) for raw in msgspec.structs.astuple(_decode(_many, text)) if raw is not _NOTHING]
    for index, event in enumerate(found):
        if not event.startswith(b"{"):
            raise _Fault(400, _NO_OBJECT, _start(text, found, index))
        if index == MAX_EVENTS:
            raise _Fault(413, _TOO_MANY, _start(text, found, index))
        if len(event) > json_depth.DEEPEST and json_depth.too_deep(event):
            _shallow(event, _start(text, found, index))
    return found


def _start(text: bytes, found: list[bytes], index: int) -> int:
    """The offset of an element of an array."""
    at = text.index(b"[") + 1
    for event in found[:index]:
        at = _after_gap(text, at) + len(event)
    return _after_gap(text, at)


def _after_gap(text: bytes, at: int) -> int:
    return _GAP.match(text, at).end()  # type: ignore[union-attr]  # it always matches


def _shallow(event: bytes, start: int) -> bytes:
    """The event, which begins at `start`. Raises _Fault if it is nested too deeply."""
    if (deep := json_depth.first_too_deep(event)) is not None:
        raise _Fault(400, _TOO_DEEP, start + deep)
    return event


def _is_json(text: bytes) -> bool:
    try:
        _decode(_one, text)
    except _Fault:
        return False
    return True


def _decode(decoder: msgspec.json.Decoder[T], text: bytes) -> T:
    """Decode the text. Raises _Fault."""
    try:
        return decoder.decode(text)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise _fault(error, text, json_depth.DEEPEST + (decoder is not _one)) from error


def _fault(error: msgspec.MsgspecError | RecursionError, text: bytes, levels: int = json_depth.DEEPEST) -> _Fault:
    """What is wrong with a text that is not JSON, or that is nested far deeper than `levels`."""
    if isinstance(error, RecursionError):
        return _Fault(400, _TOO_DEEP, json_depth.first_too_deep(text, levels) or 0)
    if said := _BYTE.fullmatch(str(error)):
        return _Fault(400, f"not JSON: {said[1]}", int(said[2]) - (said[1] in _BYTE_BEFORE))
    # "Input data was truncated"; msgspec also says that of lone surrogates, but there are none left.
    return _Fault(400, "not JSON: the end is missing", len(text.rstrip(_SPACE)))


def _where(before: bytes, *, array: bool) -> str:
    """The position after this part of a body: the array's element, from 0, the line, and the column in characters."""
    line = before.count(b"\n") + 1
    column = len(before[before.rfind(b"\n") + 1 :].decode(errors="replace")) + 1
    element = _element(before) if array else None
    return f"{'' if element is None else f'element {element}, '}line {line}, column {column}"


def _element(before: bytes) -> int | None:
    """How many objects of an array are complete so far; None after its end, or if an element is not an object."""
    _Object.complete = 0
    try:
        _objects.decode(before)
    except (msgspec.ValidationError, RecursionError):  # an earlier element is not an object, or far too deep
        return None
    except msgspec.DecodeError:
        return _Object.complete if _Object.complete <= MAX_EVENTS else None
    return None
