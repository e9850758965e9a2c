"""Counts hits by the hour of receipt, protocol and tenant, and tells the table `tallies` once a minute and at the end.

A tally is a line on the topic of hits, and goes to the spool where a pack would. So it is as safe as the hits that it
counts; a process that is killed leaves at most the last minute uncounted, and no final tally, which the view shows.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping

from services.shared import hit, identity
from services.shared.background import Background
from services.shared.hit import Hit
from services.shared.tally import COLLECTOR, HOUR_US, Count, Label, Tally

TALLY_SECONDS = 60.0
_KEPT_HOURS = 2  # a hit is settled within minutes of its receipt
MOST = 5_000  # totals of older hours that are kept: after a step, the clock may be there once more
_PATH = "/tally"  # what a reader sees that does not know tallies; no request has it

Send = Callable[[bytes], Awaitable[Exception | None]]
_Key = tuple[int, str, str, str]


def label(at: int, via: str = "", tenant: str = "") -> Label:
    """That of a hit received at `at`, in microseconds since 1970."""
    return at // HOUR_US, via.partition(".")[0] or hit.NATIVE, tenant


def labels(likes: Iterable[Hit | None]) -> list[Label]:
    """Those of a body's hits, which are a microsecond apart, in order; None is one that is not kept."""
    found = []
    last, own, end = None, (0, "", ""), 0
    for index, like in enumerate(likes):
        if like is None:
            continue
        if like is not last or like.at + index >= end:
            last, own = like, label(like.at + index, like.via, like.tenant)
            end = (own[0] + 1) * HOUR_US
        found.append(own)
    return found


class TallyCounter:
    """Running totals of one process; only from the event loop's thread. Bounded: old ones that were told go."""

    def __init__(self) -> None:
        self._totals: defaultdict[_Key, int] = defaultdict(int)
        self._told: dict[_Key, int] = {}

    def __len__(self) -> int:
        return len(self._totals)

    def add(self, own: Label, outcome: str, hits: int = 1) -> None:
        self._totals[(*own, outcome)] += hits

    def add_all(self, counts: Mapping[Label, int], outcome: str) -> None:
        for own, hits in counts.items():
            self._totals[(*own, outcome)] += hits

    def changed(self) -> tuple[Count, ...]:
        """The totals that differ from those that were told."""
        return tuple(Count(*key, hits) for key, hits in self._totals.items() if self._told.get(key) != hits)

    def told(self, counts: Iterable[Count], hour: int) -> None:
        """These are safe; `hour` is the present one."""
        for one in counts:
            self._told[one.hour, one.protocol, one.tenant, one.outcome] = one.hits
        if (excess := len(self._totals) - MOST) > 0:
            old = [
                key for key, hits in self._totals.items() if key[0] < hour - _KEPT_HOURS and hits == self._told.get(key)
            ]
            for key in old[:excess]:  # those that came first
                del self._totals[key], self._told[key]


class TallySender:
    """Sends the counts every `seconds`, the first time at once, and on exit a last time; enter it before the outbox.

    `now` returns the Unix time in seconds.
    """

    def __init__(
        self,
        counter: TallyCounter,
        send: Send,
        background: Background,
        *,
        seconds: float = TALLY_SECONDS,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._counter, self._send, self._background = counter, send, background
        self._seconds, self._now = seconds, now
        self._boot = identity.uuid7(int(now() * 1e6))
        self._sequence = 0

    async def __aenter__(self) -> TallySender:
        self._task = self._background.start("tallies", self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.wait({self._task})
        await self._tell(final=True)

    async def _run(self) -> None:
        while True:
            await self._tell()
            await asyncio.sleep(self._seconds)

    async def _tell(self, *, final: bool = False) -> None:
        counts = self._counter.changed()
        at = int(self._now() * 1e6)
        told = Tally(self._boot, COLLECTOR, self._sequence, final, counts)
        self._sequence += 1
        line = hit.encode(Hit(identity.uuid7(at), at, "GET", _PATH, tally=told))
        if await self._send(line) is None:  # else they are told next time, with what comes until then
            self._counter.told(counts, at // HOUR_US)
