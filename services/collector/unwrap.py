"""Unwraps a body as trackers send it: compressed, as a form, in base64, in not quite UTF-8. What is left is text.

What a body is labelled as says little about what it is, so its first bytes decide.
"""

from __future__ import annotations

import binascii
import re
import zlib
from codecs import unicode_escape_decode
from typing import NamedTuple
from urllib.parse import quote_plus

from services.collector import content_encoding
from services.collector.body import BadBody
from services.shared import surrogates

MAX_FORM_DATA = 65_536  # bytes of multipart/form-data: what a beacon may carry
MAX_FIELDS = 100  # fields of a form that are read beside the one that holds the events
MAX_FIELD = 1_024  # bytes of each of them
MAX_REPAIRS = 50_000  # of `NaN` and the like, and of stray percent signs, in one text; they take 0.3 µs each
MAX_QUOTES = 200_000  # of a text in which `NaN` is repaired; each takes 0.2 µs
MAX_SEEN = 65_536  # bytes that are decompressed of a body that is too large
TOO_LARGE = "too large"

_GZIP, _GZIP_BITS = b"\x1f\x8b", 31
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_SPACE = b" \t\r\n"
_BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_TO_BASE64 = bytes.maketrans(b"-_ ", b"+/+")  # the URL-safe alphabet, and `+` that was read as a space
_STRAY_PERCENT = re.compile(rb"%(?![0-9a-fA-F]{2})")
_NAN = re.compile(rb"-?\b(?:NaN|Infinity)\b")
_BACKSLASHES, _QUOTE = (rb"\\", b"\xff\xff"), (rb"\"", b"\xff\xfe")  # and stand-ins, which UTF-8 never has
_DECODED = re.compile("[^\0-\x7f\udc80-\udcff]")  # a character that UTF-8 gave, not an escaped byte
_BOUNDARY = re.compile(r'boundary="?([^";,\s]{1,100})', re.IGNORECASE)
_PART_NAME = re.compile(rb'[;\s]name="([^"\r\n]{0,1024})"', re.IGNORECASE)
_FILE = re.compile(rb"[;\s]filename\*?=", re.IGNORECASE)


class Uncut(Exception):
    """The body cannot be cut: why, without anything that a stranger wrote, and as much of it as was unwrapped."""

    def __init__(self, reason: str, seen: bytes) -> None:
        super().__init__(reason)
        self.reason, self.seen = reason, seen


class Unwrapped(NamedTuple):
    """UTF-8 text; `form` says whether it was a field of a form, `fields` are the others of that.

    `query` is what is left of the query string where that was the form, else None.
    """

    text: bytes
    fields: dict[str, str]
    form: bool = False
    query: str | None = None


def unwrap(data: bytes, *, query: str, encoding: str, limit: int) -> Unwrapped:
    """The text in a body, or in `data=` of the query where there is no body. Raises Uncut.

    `limit` is in bytes, before and after decompression.
    """
    text = trim(decompress(data, encoding, limit))
    form = text or query.encode("utf-8", "replace")
    fields: dict[str, str] = {}
    left = None
    at = -1 if is_json(text) else _field(form)
    if at >= 0:
        value, _, after = form[at:].partition(b"&")
        others = [part for part in (form[: max(at - len(b"&data="), 0)], after) if part]
        if text:
            fields = {name: value for part in others for name, value in _fields(part).items()}
        else:
            left = b"&".join(others).decode()
        try:
            text = trim(decompress(percent_decode(value), "", limit))
        except Uncut as error:
            raise Uncut(error.reason, form) from error
    if not is_json(text) and (decoded := _from_base64(text)) is not None:
        decoded = trim(decompress(decoded, "", limit))
        if is_json(decoded):
            text = decoded
    return Unwrapped(to_utf8(text, limit), fields, at >= 0, left)


def decompress(data: bytes, encoding: str, limit: int) -> bytes:
    """The body without its Content-Encoding, and without gzip that no header announces. Raises Uncut."""
    if encoding:
        try:
            data = content_encoding.decompress(data, encoding, limit)
        except BadBody as error:
            if error.status != 400 or data[:2] == _GZIP:
                raise _uncut(error, data) from error
            # Something on the way has decompressed it, and left the header.
    if data[:2] == _GZIP:
        try:
            data = content_encoding.decompress(data, "gzip", limit)
        except BadBody as error:
            raise _uncut(error, data) from error
    if len(data) > limit:
        raise Uncut(TOO_LARGE, data)
    return data


def _uncut(error: BadBody, data: bytes) -> Uncut:
    match error.status:
        case 413:
            return Uncut(TOO_LARGE, _beginning(data))
        case 415:
            return Uncut("its content encoding is not supported", data)
    return Uncut("it is compressed, and damaged or cut off", data)


def _beginning(data: bytes) -> bytes:
    """What a body that is too large begins with: it may show which protocol it is, and a reject shows it."""
    try:
        return zlib.decompressobj(_GZIP_BITS).decompress(data, MAX_SEEN) if data[:2] == _GZIP else data
    except zlib.error:
        return data


def trim(text: bytes) -> bytes:
    return text.removeprefix(_BYTE_ORDER_MARK).strip(_SPACE)


def is_json(text: bytes) -> bool:
    """Whether it starts as an object or an array does."""
    return text[:1] in (b"{", b"[")


def to_utf8(text: bytes, limit: int) -> bytes:
    """The text as UTF-8, whatever it is: CESU-8 is joined, and what has no character of UTF-8 is Latin-1.

    In other text each broken byte becomes U+FFFD, so that one bad event changes no other. Raises Uncut.
    """
    if _is_utf8(text):
        return text
    try:
        joined = surrogates.join_encoded(text)
    except surrogates.TooMany as error:
        raise Uncut(str(error), text) from error
    if not _is_utf8(joined):
        mixed = _DECODED.search(joined.decode("utf-8", "surrogateescape"))
        joined = (joined.decode("utf-8", "replace") if mixed else text.decode("latin-1")).encode()
    if len(joined) > max(limit, len(text)):
        raise Uncut(TOO_LARGE, text)
    return joined


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def repair(text: bytes) -> bytes:
    """The text, which is UTF-8 but not quite JSON, without halves of characters and `NaN`.

    Raises Uncut.
    """
    try:
        text = surrogates.replace_escaped(text)
    except surrogates.TooMany as error:
        raise Uncut(str(error), text) from error
    if (b"NaN" not in text and b"Infinity" not in text) or text.count(b'"') > MAX_QUOTES:
        return text
    parts = text.replace(*_BACKSLASHES).replace(*_QUOTE).split(b'"')
    parts[::2] = _NAN.sub(b"null", b'"'.join(parts[::2]), MAX_REPAIRS).split(b'"')  # what is outside of strings
    return b'"'.join(parts).replace(*_QUOTE[::-1]).replace(*_BACKSLASHES[::-1])


def percent_decode(value: bytes) -> bytes:
    """A value of a form: percent-encoding undone, `+` as a space; a `%` that begins no escape stays. Raises Uncut."""
    value = value.replace(b"+", b" ")
    if b"%" not in value:
        return value
    # %41 means what \x41 means to Python's decoder in C; urllib takes 0.3 s for a megabyte of them.
    value = value.replace(b"\\", b"%5C")
    try:
        decoded, _ = unicode_escape_decode(value.replace(b"%", rb"\x"))
    except UnicodeDecodeError:
        value, found = _STRAY_PERCENT.subn(b"%25", value, MAX_REPAIRS)
        if found == MAX_REPAIRS:
            raise Uncut("its percent-encoding is broken", value) from None
        decoded, _ = unicode_escape_decode(value.replace(b"%", rb"\x"))
    return decoded.encode("latin-1")


def _field(form: bytes) -> int:
    """Where the value of `data=` begins in a form; -1 where it has none."""
    if form.startswith(b"data="):
        return len(b"data=")
    at = form.find(b"&data=")
    return at if at < 0 else at + len(b"&data=")


def _fields(form: bytes) -> dict[str, str]:
    found = {}
    for part in form.split(b"&", MAX_FIELDS)[:MAX_FIELDS]:
        if part and len(part) <= MAX_FIELD:
            name, _, value = part.partition(b"=")
            found[percent_decode(name).decode("utf-8", "replace")] = percent_decode(value).decode("utf-8", "replace")
    return found


def _from_base64(text: bytes) -> bytes | None:
    """What the text encodes, in either alphabet, with its padding or without; None if it is not base64."""
    compact = text.translate(_TO_BASE64, b"\r\n\t").rstrip(b"=")
    if len(compact) % 4 == 1 or compact.translate(None, _BASE64):
        return None
    return binascii.a2b_base64(compact + b"=" * (-len(compact) % 4))


def form_data(data: bytes, content_type: str) -> str:
    """The fields of multipart/form-data as a query string; files are left out. Raises Uncut."""
    if len(data) > MAX_FORM_DATA:
        raise Uncut(TOO_LARGE, data)
    boundary = _BOUNDARY.search(content_type)
    delimiter = b"--" + boundary[1].encode("utf-8", "replace") if boundary else b""
    if not delimiter or not data.lstrip(_SPACE).startswith(delimiter):
        raise Uncut("it is not multipart/form-data", data)
    found: list[str] = []
    for part in (b"\r\n" + data.lstrip(_SPACE)).split(b"\r\n" + delimiter)[1:]:
        if part.startswith(b"--"):
            return "&".join(found)
        head, gap, value = part.partition(b"\r\n\r\n")
        name = _PART_NAME.search(head)
        if not gap or name is None:
            raise Uncut("it is not multipart/form-data", data)
        if not _FILE.search(head):
            found.append(f"{quote_plus(name[1])}={quote_plus(value)}")
    raise Uncut("it is cut off", data)
