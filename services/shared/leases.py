"""The messages of one stream that have no answer yet: what is answered after its end, and their leases until then."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from services.shared import daemon_thread, log

# What a process that is killed had in hand comes again when its leases end. Left to itself the client asks for a minute
# when it opens a stream. It renews at 90 % of the time at the latest, so less would leave a busy pod too little.
LEASE_SECONDS = 20
RENEW_SECONDS = 5.0  # between renewals for messages whose stream has ended
CALL_SECONDS = 5.0
_IDS = 1_000  # in a call
_WAITS = (0.1, 5.0)  # first and longest between rounds of answers after the end of a stream
_ROUND_SECONDS = 30.0

_log = log.get("leases")


class LeaseKeeper:
    """While the stream is open the client keeps leases and sends answers. When it has ended, both are done here.

    `answered` is called, in the event loop, with each message that is answered.
    """

    def __init__(self, client: Any, path: str, answered: Callable[[Any], None]) -> None:
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
        self._answered(message)

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


class LateAnswers:
    """The keepers of streams that have ended, until they are done."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._keepers: list[LeaseKeeper] = []
        self._added = asyncio.Event()

    def add(self, keeper: LeaseKeeper) -> None:
        """Answers given before went to the client, which sends all it has before it closes."""
        keeper.ended = True
        if keeper not in self._keepers:
            self._keepers.append(keeper)
            self._added.set()

    async def run(self) -> None:
        """Send answers and keep leases, without end."""
        first, longest = _WAITS
        wait, failing = first, False
        while True:
            if not self._keepers:
                self._added.clear()
                await self._added.wait()
            try:
                await self._round(_ROUND_SECONDS)
            except Exception as error:  # noqa: BLE001 - whatever the client raises, the answers are sent with the next
                wait = min(wait * 2, longest)
                if not failing:
                    failing = True
                    _log.warning("late answers not sent", subscription=self._path, error=str(error))
            else:
                wait = first
                if failing:
                    failing = False
                    _log.info("late answers are sent again", subscription=self._path)
            await asyncio.sleep(wait)

    async def send_last(self, limit_seconds: float) -> None:
        """Once `run` is cancelled: send what there is. What does not get through is delivered again."""
        try:
            await self._round(limit_seconds)
        except Exception as error:  # noqa: BLE001 - the client ends, and its messages are Pub/Sub's
            _log.warning("late answers not sent", subscription=self._path, error=str(error))

    async def _round(self, limit_seconds: float) -> None:
        deadline = time.monotonic() + limit_seconds
        for keeper in list(self._keepers):
            if not keeper.done:
                await daemon_thread.call("late answers", partial(keeper.send, deadline), limit_seconds + 1)
            if keeper.done:
                self._keepers.remove(keeper)
