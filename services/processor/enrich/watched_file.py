"""A file that somebody else keeps new: whether it was replaced, by a look at it now and then."""

from __future__ import annotations

import stat
from pathlib import Path

State = tuple[int, int, int] | None  # inode, bytes and time of change, behind any link; None where there is no file


class Unusable(Exception):
    """The file cannot be used: why, for a person."""


class WatchedFile:
    """Remembers which state of the file was tried last; at first the one it has now."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._tried = self._seen = self.state()

    def replaced(self) -> bool:
        """Whether there is a state to try, which counts as tried then.

        A file that has changed since the last call is left for the next: it may still be written.
        """
        state = self.state()
        settled, self._seen = state == self._seen, state
        if state == self._tried or not settled:
            return False
        self._tried = state
        return True

    def state(self) -> State:
        try:
            found = self.path.stat()
        except OSError:
            return None
        return found.st_ino, found.st_size, found.st_mtime_ns

    def read(self, most: int) -> bytes:
        """What the file holds. Raises Unusable for one that cannot be read, has more bytes, or changes meanwhile."""
        before = self.state()
        try:
            if not stat.S_ISREG(self.path.stat().st_mode):  # a pipe would be waited for
                raise Unusable("it is not a file")
            with self.path.open("rb") as file:
                data = file.read(most + 1)
        except OSError as error:
            raise Unusable(error.strerror or str(error)) from error
        if len(data) > most:
            raise Unusable(f"it has more than {most:,} bytes")
        if self.state() != before:
            raise Unusable("it changed while it was read")
        return data
