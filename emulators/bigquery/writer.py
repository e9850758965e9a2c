"""The one thread that writes: each change a transaction, small ones of a moment in one commit together."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import duckdb

Connection = Any  # duckdb ships no types for its connection

WAITING = 1_024  # writes
WAITING_BYTES = 512 * 1024 * 1024
SHARED = 64  # writes in one commit
SHARED_BYTES = 32 * 1024 * 1024


class WriterBusy(Exception):
    """More work waits than the store lets wait."""


@dataclass
class Write:
    """One change. `apply` runs on the writer thread, `publish` after the commit, with what it answered.

    Writes with one and the same `key` that wait together are one call of `apply`, with all their items. A write
    without a key is alone in its transaction, and `apply` gets its one item.
    """

    apply: Callable[[Connection, list[Any]], Any]
    publish: Callable[[Any], object] | None = None
    key: Hashable | None = None
    item: Any = None
    size: int = 0
    done: Future[Any] = field(default_factory=Future)


class Writer:
    """Takes writes from any thread and commits them in the order in which they came."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._waiting: queue.Queue[Write | None] = queue.Queue(WAITING)
        self._bytes = 0
        self._lock = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._loop, name="bigquery-writer", daemon=True)
        self._thread.start()

    def put(self, write: Write) -> Future[Any]:
        """A future of what the write gives once it is on disk; `WriterBusy` when too much waits already."""
        with self._lock:
            if self._closed:
                raise WriterBusy("the emulator is stopping")
            if self._bytes + write.size > WAITING_BYTES:
                raise WriterBusy("too many bytes are waiting to be written")
            try:
                self._waiting.put_nowait(write)
            except queue.Full:
                raise WriterBusy("too many writes are waiting") from None
            self._bytes += write.size
        return write.done

    def close(self) -> None:
        """Commit all that waits, and end the thread."""
        with self._lock:
            self._closed = True
        self._waiting.put(None)
        self._thread.join()
        self._connection.close()

    def _loop(self) -> None:
        held: Write | None = None
        ended = False
        while not ended or held is not None:
            first = held if held is not None else self._waiting.get()
            held = None
            if first is None:
                return
            group = [first]
            while first.key is not None and len(group) < SHARED and sum(w.size for w in group) < SHARED_BYTES:
                try:
                    following = self._waiting.get_nowait()
                except queue.Empty:
                    break
                if following is None:
                    ended = True
                    break
                if following.key is None:
                    held = following
                    break
                group.append(following)
            _commit(self._connection, group)
            with self._lock:
                self._bytes -= sum(write.size for write in group)


def _commit(connection: Connection, group: list[Write]) -> None:
    """Commit all writes of a group at once; when one of them fails, each on its own, so only that one fails."""
    together: dict[Hashable, list[Write]] = {}
    for write in group:
        together.setdefault(write.key, []).append(write)
    result: Any = None
    try:
        connection.execute("BEGIN")
        for writes in together.values():
            result = writes[0].apply(connection, [write.item for write in writes])
        connection.execute("COMMIT")
    except BaseException as error:  # noqa: BLE001 - whatever it is, the one who waits must hear it
        _roll_back(connection)
        if len(group) > 1:
            for write in group:
                _commit(connection, [write])
        else:
            group[0].done.set_exception(error)
        return
    for write in group:
        _finish(write, result)


def _finish(write: Write, result: Any) -> None:
    try:
        if write.publish is not None:
            write.publish(result)
    except Exception as error:  # noqa: BLE001 - raised where the write is awaited
        write.done.set_exception(error)
    else:
        write.done.set_result(result)


def _roll_back(connection: Connection) -> None:
    try:
        connection.execute("ROLLBACK")
    except duckdb.Error:
        return  # there is nothing left to roll back: BEGIN failed, or DuckDB has done so itself
