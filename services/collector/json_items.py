"""Cuts JSON into items, as body.py does it: checked, and each left the bytes it was, without building what it holds.

The items are the elements of an array, of an array that a member of an object is, or the lines of a text; else the one
value that there is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec

from services.collector import unwrap
from services.collector.unwrap import Uncut
from services.shared import json_depth

Item = bytes | str  # JSON without a line end, or text that is not JSON

MAX_ITEMS = 10_000  # of one body: ten packs
MAX_LINES = 100_000  # of one body, empty ones too
MAX_REST = 65_536  # bytes of an object beside its list, if it may have many members
MAX_QUOTES = 2_000  # of a larger one; each member has two in its name
MAX_UNCUT = 65_536  # bytes kept of what cannot be cut or carried
TOO_MANY = f"over {MAX_ITEMS} items"

_SHORT = 65_536  # bytes of JSON that has few enough members or elements to make them all
_TOO_DEEP = f"nested too deeply, over {json_depth.DEEPEST} levels"
_SAID = "JSON is malformed: "  # by msgspec, before what is wrong
_NOTHING = msgspec.Raw()


class Found(NamedTuple):
    """The items in order; of an object with a list also the list's name, and the other members, None if too large."""

    items: list[Item]
    name: str = ""
    rest: Mapping[str, msgspec.Raw] | None = {}


def _elements() -> type[msgspec.Struct]:
    """An array of which one element more than is allowed is kept, and the others are checked and passed over."""
    fields = [(f"_{number}", msgspec.Raw, _NOTHING) for number in range(MAX_ITEMS + 1)]
    return msgspec.defstruct("Elements", fields, array_like=True)


_one = msgspec.json.Decoder(msgspec.Raw)
_few = msgspec.json.Decoder(list[msgspec.Raw])
_many = msgspec.json.Decoder(_elements())
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])


@lru_cache(64)
def _lists(names: tuple[str, ...]) -> msgspec.json.Decoder[Any]:
    """An object of which these members are kept, and the others are checked and passed over."""
    fields = [(f"_{at}", msgspec.Raw, msgspec.field(name=name, default=_NOTHING)) for at, name in enumerate(names)]
    return msgspec.json.Decoder(msgspec.defstruct("Lists", fields))


def read(text: bytes, names: Sequence[str], *, lines: bool = False) -> Found:
    """The items of a text, which is UTF-8.

    `names` are the members of an object that may be the list, in order of preference. `lines` says that there is one
    item a line. Raises Uncut.
    """
    try:
        if lines:
            raise msgspec.DecodeError
        try:
            return _read(text, names)
        except msgspec.DecodeError:
            repaired = unwrap.repair(text)
            if repaired == text:
                raise
            text = repaired
            return _read(text, names)
    except Uncut as error:
        raise Uncut(error.reason, text) from error  # of all of it, not of the list alone
    except RecursionError as error:
        raise Uncut(_TOO_DEEP, text) from error
    except msgspec.DecodeError as error:
        first = text[: text.find(b"\n") + 1]
        if lines or (first.startswith(b"{") and _parses(first)):
            return Found([whole(line) or shortened(line) for line in split(text)])
        raise Uncut(f"not JSON: {str(error).removeprefix(_SAID)}", text) from error


def _read(text: bytes, names: Sequence[str]) -> Found:
    """Raises DecodeError and RecursionError for what is not JSON, and Uncut."""
    if text.startswith(b"["):
        return Found(_array(text))
    found = _object(text, names) if text.startswith(b"{") and names else None
    return found or Found(_carried([on_one_line(bytes(_one.decode(text)))]))


def _object(text: bytes, names: Sequence[str]) -> Found | None:
    """The items of the first of its lists; None where it has none."""
    if len(text) < _SHORT:
        members = _members.decode(text)
        for name in names:
            if _is_array(members.get(name, _NOTHING)):
                return Found(_array(members.pop(name)), name, members)
        return None
    for name, value in zip(names, msgspec.structs.astuple(_lists(tuple(names)).decode(text)), strict=True):
        if _is_array(value):
            return Found(_array(value), name, _rest(text, name, bytes(value)))
    return None


def _is_array(value: msgspec.Raw) -> bool:
    return bytes(memoryview(value)[:1]) == b"["


def _rest(text: bytes, name: str, value: bytes) -> dict[str, msgspec.Raw] | None:
    """The members of an object but the one of this name and value; None if they are too large."""
    at = text.find(value)
    if text.find(value, at + 1) < 0:  # else it is a small one, or much of the rest is the same
        text = text[:at] + b"0" + text[at + len(value) :]
    if len(text) > MAX_REST and text.count(b'"') > MAX_QUOTES:
        return None
    members = _members.decode(text)
    members.pop(name, None)
    return members


def _array(raw: bytes | msgspec.Raw) -> list[Item]:
    text = on_one_line(bytes(raw))
    if len(text) < _SHORT:
        found = [bytes(raw) for raw in _few.decode(text)]
    else:  # it may have any number of elements, which are not all to be made
        found = [bytes(raw) for raw in msgspec.structs.astuple(_many.decode(text)) if raw is not _NOTHING]
    if len(found) > MAX_ITEMS:
        raise Uncut(TOO_MANY, text)
    return _carried(found)


def _carried(items: list[bytes]) -> list[Item]:
    """The items; one that is nested too deeply becomes text, which its reader rejects."""
    return [shortened(item) if len(item) > json_depth.DEEPEST and json_depth.too_deep(item) else item for item in items]


def on_one_line(text: bytes) -> bytes:
    """JSON without line ends: outside a string they mean nothing, and inside they must be escaped."""
    return text.replace(b"\n", b" ").replace(b"\r", b" ")


def _parses(text: bytes) -> bool:
    try:
        _one.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True


def split(text: bytes) -> list[bytes]:
    """The lines that are not empty. Raises Uncut where they are too many."""
    lines = text.split(b"\n", MAX_LINES)
    found = [line for line in map(bytes.strip, lines) if line]
    if len(lines) > MAX_LINES or len(found) > MAX_ITEMS:
        raise Uncut(TOO_MANY, text)
    return found


def whole(text: bytes) -> Item | None:
    """The one value that a text is; None where it is not JSON. Raises Uncut."""
    if not _parses(text):
        text = unwrap.repair(text)
    return _carried([on_one_line(text)])[0] if _parses(text) else None


def shortened(data: bytes) -> str:
    """As much of the data as is kept, as text: Latin-1 where it is not UTF-8."""
    kept = data[:MAX_UNCUT]
    try:
        return kept.decode()
    except UnicodeDecodeError as error:
        if error.start > len(kept) - 4 and len(data) > MAX_UNCUT:  # only its last character is cut
            return kept[: error.start].decode()
        return kept.decode("latin-1")
