"""Bounds the number of connections, and the memory that incomplete requests take.

A connection costs 5 to 12 kB, an incomplete head up to 192 kB. Over the limit, the connection that has been idle for
longest is closed first. A client that does not read its replies is disconnected too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from services.collector.metrics import Metrics

IDLE_SECONDS = 5.0  # a connection is only closed to make room after being idle for this long
HEADER_SECONDS = 10.0  # from the first byte of a request to the last of its header
WAITING_BYTES = 16_000_000  # of all incomplete heads, and of requests queued behind others
UNREAD_SECONDS = 30.0  # how long a client may leave replies unread once all buffers are full


class Connection(Protocol):
    def drop(self) -> None:
        """Close it now, discarding what its client has not read."""


@dataclass
class _Begun:
    since: float | None  # None: it is not waiting for its client
    bytes: int = 0


class Connections:
    """At most `limit` connections. `now` is always a monotonic time in seconds."""

    def __init__(self, limit: int, metrics: Metrics) -> None:
        self.limit, self._metrics = limit, metrics
        self._open: set[Connection] = set()
        self._idle: dict[Connection, float] = {}  # since when, longest first
        self._begun: dict[Connection, _Begun] = {}  # with an incomplete request, oldest first
        self._begun_bytes = 0
        self._unread: dict[Connection, float] = {}  # since when, longest first

    def opened(self, connection: Connection, now: float) -> bool:
        """Whether there is room for it; at the limit, an idle connection is closed to make room."""
        if len(self._open) >= self.limit:
            longest, since = next(iter(self._idle.items()), (None, now))
            if longest is None or now - since < IDLE_SECONDS:
                self._metrics.connections_refused.inc()
                return False
            self._close(longest, "idle")
        self._open.add(connection)
        self._metrics.connections.set(len(self._open))
        self._idle[connection] = now
        return True

    def lost(self, connection: Connection) -> None:
        self._open.discard(connection)
        self._metrics.connections.set(len(self._open))
        self._idle.pop(connection, None)
        self._unread.pop(connection, None)
        self.complete(connection)

    def busy(self, connection: Connection) -> None:
        """It has a request, and is not idle until the reply is sent."""
        self._idle.pop(connection, None)

    def idle(self, connection: Connection, now: float) -> None:
        if connection in self._open:
            self._idle[connection] = now

    def incomplete(self, connection: Connection, size: int, now: float | None) -> None:
        """It has `size` bytes buffered, waiting for the rest of a request since `now`; None: waiting for room here."""
        if connection not in self._open:
            return
        begun = self._begun.setdefault(connection, _Begun(now))
        if begun.since is None or now is None:
            begun.since = now
        self._begun_bytes += size - begun.bytes
        begun.bytes = size
        while self._begun_bytes > WAITING_BYTES:
            self._close(next(iter(self._begun)), "slow")

    def complete(self, connection: Connection) -> None:
        if self._begun and (begun := self._begun.pop(connection, None)) is not None:
            self._begun_bytes -= begun.bytes

    def unread(self, connection: Connection, now: float) -> None:
        """Its client does not read, and the buffers towards it are full."""
        if connection in self._open:
            self._unread.setdefault(connection, now)

    def read(self, connection: Connection) -> None:
        self._unread.pop(connection, None)

    def sweep(self, now: float) -> None:
        """Close connections whose header takes too long, and those whose client does not read."""
        for connection, begun in list(self._begun.items()):
            if begun.since is not None and now - begun.since >= HEADER_SECONDS:
                self._close(connection, "slow")
        for connection, since in list(self._unread.items()):
            if now - since < UNREAD_SECONDS:
                break
            self._close(connection, "unread")

    def _close(self, connection: Connection, why: str) -> None:
        self._metrics.connections_closed[why].inc()
        self.lost(connection)
        connection.drop()
