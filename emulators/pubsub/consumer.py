"""One StreamingPull or Pull, as a backlog sees it: how much it may hold, and how to reach it."""

from __future__ import annotations

from collections.abc import Callable

from emulators.pubsub.errors import PubsubError


class Consumer:
    """Counts what was delivered and is neither acknowledged, nacked nor expired; limits of 0 or less mean none.

    `wake` is called when messages may be taken, `finish` when there is nothing more to wait for; neither may block.
    """

    def __init__(
        self, max_messages: int, max_bytes: int, wake: Callable[[], None], finish: Callable[[PubsubError], None]
    ) -> None:
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self.wake = wake
        self.finish = finish
        self.messages = 0
        self.bytes = 0

    def room(self) -> int:
        """How many messages it may take now; as the real service does, the last one may pass the bytes limit."""
        if 0 < self._max_bytes <= self.bytes:
            return 0
        return max(0, self._max_messages - self.messages) if self._max_messages > 0 else 1 << 30

    def byte_room(self) -> int:
        return self._max_bytes - self.bytes if self._max_bytes > 0 else 1 << 62

    def hold(self, size: int) -> None:
        self.messages += 1
        self.bytes += size

    def release(self, size: int) -> None:
        self.messages -= 1
        self.bytes -= size
