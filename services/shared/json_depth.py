"""How deep JSON may be nested.

BigQuery's JSON type accepts 500 levels (its documented limit), and a reject wraps what was sent in objects of its own.
A limit of our own also keeps a body that the collector accepted readable for every later service: how deep a decoder
goes before it gives up depends on the version of Python and on its caller.

Strangers choose the text, so brackets are not walked one by one, which takes 170 ms per megabyte: far from the limit
they are only counted, near it they are examined eight at a time. That takes 4 ms, 12 at worst.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterator
from itertools import accumulate
from operator import add

DEEPEST = 490  # levels of arrays and objects

_WINDOW = 16_384  # bytes examined together
_CHUNK = 256  # brackets that are only counted where all of them could open and still not be too deep
_NEAR = 2_048  # brackets whose levels are examined together otherwise
_BACKSLASHES = re.compile(rb"\\*")
_TOKEN = re.compile(rb'\\.|"|[\[{]|[\]}]', re.DOTALL)
_OPEN, _CLOSE = b"[{", b"]}"
_BITS = bytes.maketrans(_OPEN + _CLOSE, b"1100")
_OTHERS = bytes(set(range(256)) - set(_OPEN + _CLOSE + b'"'))


def _steps(eight: int) -> list[int]:
    """The level after each of eight brackets, 1 for one that opens, from the highest bit on."""
    return list(accumulate(1 if eight >> bit & 1 else -1 for bit in range(7, -1, -1)))


_NET = bytes(_steps(eight)[-1] & 0xFF for eight in range(256))  # signed: how much deeper it is after eight brackets
_PEAK = bytes(max(0, *_steps(eight)) for eight in range(256))  # how much deeper it becomes within them


def too_deep(text: bytes) -> bool:
    """Whether this JSON, which must be well-formed, has more levels than are allowed."""
    return _first_window(text, DEEPEST) is not None


def first_too_deep(text: bytes, deepest: int = DEEPEST) -> int | None:
    """Where the first bracket is that opens a level too many; None if none does.

    Of text that is not well-formed this is right up to its first fault. The place takes a walk, up to 3 ms, so ask for
    it once a request, not of each item.
    """
    found = _first_window(text, deepest)
    if found is None:
        return None
    begin, end, quoted, depth = found
    return begin + _position(text[begin:end], quoted, depth, deepest)


def _first_window(text: bytes, deepest: int) -> tuple[int, int, int, int] | None:
    """Where the first window that is too deep begins and ends, whether in a string, and at which level."""
    if text.count(b"[") + text.count(b"{") <= deepest:  # nearly always
        return None
    depth, quoted = 0, 0
    for begin, end in _windows(text):
        window = text[begin:end]
        marks = window.replace(rb"\\", b"").replace(rb"\"", b"").translate(_BITS, _OTHERS)
        quotes = marks.count(b'"')
        # Two quotes side by side change nothing of what is inside a string and what is not.
        bits = b"".join(marks.replace(b'""', b"").split(b'"')[quoted::2]) if quotes or quoted else marks
        after = _level_after(bits, depth, deepest)
        if after is None:
            return begin, end, quoted, depth
        depth, quoted = after, (quoted + quotes) % 2
    return None


def _windows(text: bytes) -> Iterator[tuple[int, int]]:
    """Where each window begins and ends: not between a backslash and what it escapes."""
    begin = 0
    while begin < len(text):
        end = begin + _WINDOW
        if text[end - 1 : end] == b"\\":
            end = _BACKSLASHES.match(text, end).end() + 1  # type: ignore[union-attr]  # it matches nothing, too
        yield begin, end
        begin = end


def _level_after(bits: bytes, depth: int, deepest: int) -> int | None:
    """The level after brackets, a text of 1 for each that opens and 0 for each that closes; None if it is too deep."""
    at = 0
    while at < len(bits):
        chunk = bits[at : at + _CHUNK]
        opened = chunk.count(b"1")
        if depth + opened > deepest:
            chunk = bits[at : at + _NEAR]
            if depth + _rise(chunk) > deepest:
                return None
            opened = chunk.count(b"1")
        depth += 2 * opened - len(chunk)
        at += len(chunk)
    return depth


def _rise(bits: bytes) -> int:
    """How many levels deeper than where they begin these brackets go."""
    missing = -len(bits) % 8
    packed = int(bits + b"0" * missing, 2).to_bytes((len(bits) + missing) // 8, "big")
    levels = accumulate(array("b", packed.translate(_NET)), initial=0)
    peaks: Iterator[int] = map(add, levels, packed.translate(_PEAK))
    return max(peaks)


def _position(window: bytes, quoted: int, depth: int, deepest: int) -> int:
    """Where in this window the first bracket is that opens a level too many."""
    for token in _TOKEN.finditer(window):
        if token[0] == b'"':
            quoted = not quoted
        elif not quoted and token[0] in _OPEN:
            depth += 1
            if depth > deepest:
                return token.start()
        elif not quoted and token[0] in _CLOSE:
            depth -= 1
    raise AssertionError("there is one, as its caller found")
