"""Cuts the bytes of a connection into request heads and bodies, in whatever pieces they arrive.

aiohttp's parser gets one whole head at a time, so that a bad request does not cost the good ones before it, each head
can be repaired, and the size limits are ours. The parser decides how long a body is. Each byte is examined once, in
however many pieces it comes, so the work is linear.
"""

from __future__ import annotations

import re

from services.collector import head
from services.collector.head import MAX_FIELDS, MAX_LINE, MalformedRequest

_END = b"\r\n\r\n"
_LONGEST_METHOD = 24
_BARE = re.compile(rb"(?<!\r)\n")
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})(?:;[^\r\n]*)?\r\n")
_STEP = 8_192  # bytes of a chunked body per step; in the smallest chunks these take about 6 ms
_MAX_SIZE_LINE = 4_096  # bytes of a chunk's size and its extensions, and of a trailer's line


class Framer:
    """Takes bytes with `add`, returns them with `head` and `body`, in order."""

    __slots__ = ("_buffer", "_chunks", "_line", "_rest", "_searched", "idle")

    def __init__(self) -> None:
        self.idle = True  # everything was returned, and the next byte begins a request
        self._buffer = bytearray()
        self._line = -1  # where the request line ends, once it is there
        self._searched = 0  # no head ends before this
        self._rest = 0  # of a body, or of a chunk with its line end
        self._chunks: _Chunks | None = None

    def __len__(self) -> int:
        """Buffered bytes."""
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
        """Whether `data`, which was not added, is entirely part of the current body; then it counts as returned.

        Saves copying a large body.
        """
        if self._buffer or not 0 < len(data) <= self._rest:
            return False
        self._rest -= len(data)
        self._settle()
        return True

    def waiting(self) -> bytes:
        """The buffered bytes, which stay buffered."""
        return bytes(self._buffer)

    def clear(self) -> None:
        """Forget the buffered bytes and the current body."""
        self._buffer.clear()
        self._line, self._searched = -1, 0
        self._rest, self._chunks = 0, None
        self.idle = True

    def head(self) -> bytes | None:
        """The next request's head, unchanged; None until it is complete. Not to be called within a body.

        Raises MalformedRequest as soon as it cannot become a valid head. A complete head is only checked for its size.
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
            raise MalformedRequest(414)
        if self._line >= 0 and size - self._line > MAX_FIELDS:
            raise MalformedRequest(431)
        if end < 0:
            if _BARE.search(buffer, self._searched):
                raise MalformedRequest(400)
            self._searched = size
            return None
        found = bytes(buffer[: end + 4])
        del buffer[: end + 4]
        self._line, self._searched = -1, 0
        self.idle = not buffer
        return found

    def _begin(self) -> None:
        """Reject a bad request line before the rest of its head has arrived."""
        if self._line >= 0:
            head.request_line(bytes(self._buffer[: self._line]))
        elif self._searched <= _LONGEST_METHOD and not head.may_begin(bytes(self._buffer[: _LONGEST_METHOD + 1])):
            raise MalformedRequest(400)

    def expect(self, length: int | None) -> None:
        """A body of `length` bytes comes next; None means a chunked one."""
        if length is None:
            self._chunks = _Chunks()
        else:
            self._rest = length
        self._settle()

    def body(self) -> bytes:
        """What has arrived of the current body, possibly nothing. Raises MalformedRequest for malformed chunks."""
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
    """Finds the end of a chunked body."""

    __slots__ = ("_last", "_line", "_skip", "done")

    def __init__(self) -> None:
        self.done = False
        self._skip = 0  # bytes of a chunk and its line end that have not arrived
        self._line = bytearray()  # the current line, so far
        self._last = False

    def take(self, data: bytearray) -> int:
        """How many bytes of `data`, which continues the last one, belong to the body. Raises MalformedRequest."""
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
                raise MalformedRequest(400)
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
            raise MalformedRequest(400)
        size = int(match[1], 16)
        self._last = not size
        self._skip = size + 2 if size else 0
