"""Cuts a connection's bytes into request heads and bodies, however they arrive.

aiohttp's parser gets one whole head at a time, so a good request is not lost to what follows it, each head can be
repaired, and the size limits are ours. The parser says how long a body is. Each byte is looked at once, however many
pieces it comes in, so the work is linear.
"""

from __future__ import annotations

import re

from services.collector import head
from services.collector.head import MAX_FIELDS, MAX_LINE, Refused

_END = b"\r\n\r\n"
_LONGEST_METHOD = 24
_BARE = re.compile(rb"(?<!\r)\n")
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})(?:;[^\r\n]*)?\r\n")
_STEP = 8_192  # bytes of a chunked body at a time: with the smallest chunks, so many take about 6 ms
_MAX_SIZE_LINE = 4_096  # bytes of a chunk's size and its extensions, and of a trailer's line


class Framer:
    """Takes bytes by `add`, gives them back by `head` and `body`, in order."""

    __slots__ = ("_buffer", "_chunks", "_line", "_rest", "_searched", "idle")

    def __init__(self) -> None:
        self.idle = True  # all that came is given back, and what comes next is a request
        self._buffer = bytearray()
        self._line = -1  # where the request line ends, once it is there
        self._searched = 0  # no head ends before
        self._rest = 0  # of a body, or of a chunk with its line end
        self._chunks: _Chunks | None = None

    def __len__(self) -> int:
        """Bytes that wait here."""
        return len(self._buffer)

    @property
    def in_body(self) -> bool:
        return self._rest > 0 or self._chunks is not None

    @property
    def in_chunks(self) -> bool:
        return self._chunks is not None

    def add(self, data: bytes) -> None:
        self._buffer += data
        self.idle = False

    def _settle(self) -> None:
        self.idle = not (self._buffer or self._rest or self._chunks)

    def take(self, data: bytes) -> bool:
        """Whether `data`, which was not added, is a part of the body under way and nothing else; then it is given back.

        Saves the copies of a large body.
        """
        if self._buffer or not 0 < len(data) <= self._rest:
            return False
        self._rest -= len(data)
        self._settle()
        return True

    def waiting(self) -> bytes:
        """What waits here, which stays."""
        return bytes(self._buffer)

    def clear(self) -> None:
        """Forget what waits here, and the body under way."""
        self._buffer.clear()
        self._line, self._searched = -1, 0
        self._rest, self._chunks = 0, None
        self.idle = True

    def head(self) -> bytes | None:
        """The next request's head, as it came; None until it is complete. Raises Refused as soon as it cannot be one.

        A head that is complete is not looked into, but for its size. To be asked for where no body is under way.
        """
        buffer = self._buffer
        if buffer and buffer[0] in b"\r\n":  # some clients send a line end after a body
            del buffer[: len(buffer) - len(buffer.lstrip(b"\r\n"))]
        if not buffer:
            self.idle = True
            return None
        end = buffer.find(_END, max(0, self._searched - 3))
        if self._line < 0:
            self._line = buffer.find(b"\r\n", max(0, self._searched - 1))
            if end < 0:
                self._begin()
        size = end if end >= 0 else len(buffer)
        if (self._line if self._line >= 0 else size) > MAX_LINE:
            raise Refused(414)
        if self._line >= 0 and size - self._line > MAX_FIELDS:
            raise Refused(431)
        if end < 0:
            if _BARE.search(buffer, self._searched):
                raise Refused(400)
            self._searched = size
            return None
        found = bytes(buffer[: end + 4])
        del buffer[: end + 4]
        self._line, self._searched = -1, 0
        self.idle = not buffer
        return found

    def _begin(self) -> None:
        """Refuse a request line that cannot be one before the rest of its head is there."""
        if self._line >= 0:
            head.request_line(bytes(self._buffer[: self._line]))
        elif self._searched <= _LONGEST_METHOD and not head.may_begin(bytes(self._buffer[: _LONGEST_METHOD + 1])):
            raise Refused(400)

    def expect(self, length: int | None) -> None:
        """A body of as many bytes comes next; None: one in chunks."""
        if length is None:
            self._chunks = _Chunks()
        else:
            self._rest = length
        self._settle()

    def body(self) -> bytes:
        """What is there of the body under way, which may be nothing. Raises Refused for malformed chunks."""
        if self._chunks is None:
            size = min(self._rest, len(self._buffer))
            self._rest -= size
        else:
            size = self._chunks.take(self._buffer[:_STEP])
            if self._chunks.done:
                self._chunks = None
        found = bytes(self._buffer[:size])
        del self._buffer[:size]
        self._settle()
        return found


class _Chunks:
    """Finds where a body in chunks ends."""

    __slots__ = ("_last", "_line", "_skip", "done")

    def __init__(self) -> None:
        self.done = False
        self._skip = 0  # bytes of a chunk and its line end that are still to come
        self._line = bytearray()  # what has come of a line
        self._last = False

    def take(self, data: bytearray) -> int:
        """How many bytes of `data`, which goes on where the last one ended, belong to the body. Raises Refused."""
        at = 0
        while at < len(data) and not self.done:
            if self._skip:
                step = min(self._skip, len(data) - at)
                self._skip -= step
                at += step
                continue
            end = data.find(b"\n", at, at + _MAX_SIZE_LINE) + 1
            self._line += data[at : end or at + _MAX_SIZE_LINE]
            if len(self._line) > _MAX_SIZE_LINE or (not end and len(data) - at > _MAX_SIZE_LINE):
                raise Refused(400)
            if not end:
                return len(data)
            at = end
            self._read(bytes(self._line))
            self._line.clear()
        return at

    def _read(self, line: bytes) -> None:
        if self._last:
            self.done = line == b"\r\n"
            return
        match = _SIZE.fullmatch(line)
        if match is None:
            raise Refused(400)
        size = int(match[1], 16)
        self._last = not size
        self._skip = size + 2 if size else 0
