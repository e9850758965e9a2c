"""The messages of one stream that have no answer yet: what is answered after its end, and their leases until then."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

# What a process that is killed had in hand comes again when its leases end. Left to itself the client asks for a minute
# when it opens a stream. It renews at 90 % of the time at the latest, so less would leave a busy pod too little.
LEASE_SECONDS = 20
RENEW_SECONDS = 5.0  # between renewals for messages whose stream has ended
CALL_SECONDS = 5.0
_IDS = 1_000  # in a call


class LeaseKeeper:
    """While the stream is open the client keeps leases and sends answers. When it has ended, both are done here.

    `answered` is called, in the event loop, with each answer.
    """

    def __init__(self, client: Any, path: str, answered: Callable[[], None]) -> None:
        self._client, self._path, self._answered = client, path, answered
        self._unanswered: set[str] = set()  # ack ids
        self._acks: list[str] = []
        self._nacks: list[str] = []
        self._renew_at = 0.0
        self._one_sends = threading.Lock()
        self.ended = False  # what is answered from now on is not the client's to send

    @property
    def done(self) -> bool:
        """Every message has its answer, and Pub/Sub that."""
        return not (self._unanswered or self._acks or self._nacks)

    def took(self, message: Any) -> None:
        self._unanswered.add(message.ack_id)

    def answer(self, message: Any, *, ack: bool) -> None:
        self._unanswered.discard(message.ack_id)
        if self.ended:
            (self._acks if ack else self._nacks).append(message.ack_id)
        elif ack:
            message.ack()
        else:
            message.nack()
        self._answered()

    def send(self, deadline: float) -> None:
        """In a thread: send the answers there are, and renew the leases that are due.

        No call begins after `deadline`, a monotonic time in seconds. Raises what the client raises; what failed is sent
        with the next.
        """
        with self._one_sends:
            for waiting, seconds in ((self._acks, None), (self._nacks, 0)):
                while part := waiting[:_IDS]:
                    self._modify(part, seconds, deadline)
                    del waiting[: len(part)]
            now = time.monotonic()
            if now >= self._renew_at:
                leased = list(self._unanswered)
                for first in range(0, len(leased), _IDS):
                    self._modify(leased[first : first + _IDS], LEASE_SECONDS, deadline)
                self._renew_at = now + RENEW_SECONDS

    def _modify(self, ack_ids: list[str], seconds: int | None, deadline: float) -> None:
        """Acknowledge, or have the leases end in so many seconds."""
        limit = min(CALL_SECONDS, deadline - time.monotonic())
        if limit <= 0:
            raise TimeoutError("no time is left")
        named = {"subscription": self._path, "ack_ids": ack_ids, "retry": None, "timeout": limit}
        if seconds is None:
            self._client.acknowledge(**named)
        else:
            self._client.modify_ack_deadline(ack_deadline_seconds=seconds, **named)
