"""What the privacy policy makes of a request before anything is published: how it opts out, and what is removed.

The order is fixed: signal, tenant, limit, then the guard. A tenant is known by values that the guard removes.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import NamedTuple

from services.collector.json_items import Item
from services.collector.metrics import Metrics
from services.collector.reply import FRESH, Reply
from services.collector.routes import ANSWERED, NATIVE, Route
from services.shared.config import ConfigError
from services.shared.guard import Guard
from services.shared.hash_keys import HashKeys
from services.shared.hit import Hit
from services.shared.privacy import ANONYMIZE, DROP, RECORD, SIGNALS, Privacy
from services.shared.signals import GPC, PARAMETERS, Signals

# What says that the signal Sec-GPC is obeyed (Global Privacy Control, section 4), and since when: the day of this code.
SUPPORT = Route("/.well-known/gpc.json", "gpc", "", ("GET", "HEAD"), NATIVE, outcome=ANSWERED)
SUPPORTED = Reply(200, {"Content-Type": "application/json", **FRESH}, b'{"gpc":true,"lastUpdate":"2026-11-29"}\n')


class Treatment(NamedTuple):
    """What becomes of one hit: `signal` is how its sender opted out, or ""; `action` is the policy for that."""

    signal: str = ""
    action: str = RECORD

    @property
    def anonymize(self) -> bool:
        return self.action == ANONYMIZE

    @property
    def drop(self) -> bool:
        return self.action == DROP


UNTREATED = Treatment()
_AT_ONCE = nullcontext()
_LARGE = 32_768  # bytes of items that are cleaned one body at a time
_SLICE = 0.01  # seconds after which others have a turn; one item, of a megabyte, takes at most eight times as long
# Without a query, a user or anything encoded, there is nothing to find in it.
_PLAIN_URL = re.compile(r"https?://[A-Za-z0-9./_~-]*+(?::[0-9]+)?[A-Za-z0-9./_~-]*+")


class Protection:
    """The policy in force, applied to requests. Counts what it finds and removes."""

    def __init__(self, policy: Privacy, keys: HashKeys | None, metrics: Metrics, kept: Collection[str] = ()) -> None:
        """`kept` are the headers that hits are to keep. Raises ConfigError for one that the policy always removes."""
        self._turn = asyncio.Lock()
        self._signals = Signals(policy)
        self._opt_outs = metrics.opt_outs.by_labels
        self._removed = metrics.values_removed.by_labels
        self._guard = Guard(policy, keys, self._count_removed, also=PARAMETERS)
        # Whether a query string certainly has no signal, nor anything that goes from requests without one.
        self.passes, self.is_plain = self._guard.passes, self._guard.is_plain
        if never := [name for name in kept if not self._guard.headers({name: "value"}, anonymize=False)]:
            raise ConfigError(f"PIPE_HEADERS={','.join(never)}: the privacy policy never keeps it; leave it out")
        self._removed.update({(name,): 0 for name in self._guard.entries})
        self._treatments = {name: Treatment(name, policy.signals[name]) for name in SIGNALS} | {"": UNTREATED}
        for treatment in self._treatments.values():
            if treatment.signal:
                self._opt_outs[treatment] = 0
        self.strongest = self._signals.strongest  # of several signals the one that names the hit; "" for none
        self._strongest = self.strongest(*SIGNALS)

    @property
    def obeys_gpc(self) -> bool:
        return self._treatments[GPC].action != RECORD

    def signal(self, headers: Mapping[str, str], query: str) -> str:
        """The signal of a whole request; its items may have their own."""
        return self.strongest(self._signals.of_headers(headers), self._signals.of_params(query))

    def with_query(self, signal: str, query: str) -> str:
        """The signal of a request whose headers have this one, or none."""
        return signal if signal == self._strongest else self.strongest(signal, self._signals.of_params(query))

    async def signals_of(self, items: Sequence[Item], envelope: bytes, signal: str) -> list[str]:
        """The signal of each item of a body, where `signal` is that of the request. Others have turns."""
        if envelope:
            signal = self.strongest(signal, self._signals.of_item(envelope))
        found = []
        pause = time.perf_counter() + _SLICE
        turn = self._turn_for(items)
        async with turn:
            for item in items:
                if time.perf_counter() > pause:
                    await asyncio.sleep(0)
                    pause = time.perf_counter() + _SLICE
                found.append(self.strongest(signal, self._signals.of_item(item)))
            if turn is self._turn:
                await asyncio.sleep(0)
        return found

    def treatment(self, signal: str) -> Treatment:
        """What becomes of one hit, which is counted if its sender opted out."""
        treatment = self._treatments[signal]
        if signal:
            self._opt_outs[treatment] += 1
        return treatment

    def clean(self, hit: Hit, treatment: Treatment) -> Hit:
        """The hit without what must not be stored."""
        return self._guard.hit(hit, treatment.signal, treatment.anonymize)

    async def clean_items(
        self, like: Hit, items: Sequence[Item], signals: Sequence[str], *, damaged: bool = False
    ) -> tuple[list[Hit | None], list[Item]]:
        """The hits that the items of a body are like, and the items; None for those that are dropped.

        `damaged`: items that are text may be cut off, as in Cut.
        Of large bodies one is cleaned at a time, and now and then other requests have a turn.
        """
        turn = self._turn_for(items)
        async with turn:
            cleaned = await self._clean_items(like, items, signals, damaged)
            if turn is self._turn:
                await asyncio.sleep(0)
            return cleaned

    async def _clean_items(
        self, like: Hit, items: Sequence[Item], signals: Sequence[str], damaged: bool
    ) -> tuple[list[Hit | None], list[Item]]:
        likes: list[Hit | None] = []
        cleaned: list[Item] = []
        by_treatment: dict[Treatment, Hit] = {}
        pause = time.perf_counter() + _SLICE
        for item, signal in zip(items, signals, strict=True):
            if time.perf_counter() > pause:
                await asyncio.sleep(0)
                pause = time.perf_counter() + _SLICE
            treatment = self.treatment(signal)
            if treatment.drop:
                likes.append(None)
                cleaned.append(b"")
                continue
            if (kept := by_treatment.get(treatment)) is None:
                kept = by_treatment[treatment] = self.clean(like, treatment)
            likes.append(kept)
            cleaned.append(self._clean_item(item, treatment, like.via, damaged))
        return likes, cleaned

    def clean_header(self, name: str, value: str, *, anonymize: bool) -> str | None:
        """The value of one header as it is kept; None if it is not."""
        if name == "referer" and not anonymize and _PLAIN_URL.fullmatch(value):  # most, and many are new
            return value
        return self._guard.headers({name: value}, anonymize).get(name)

    def clean_query(self, query: str, *, anonymize: bool) -> str:
        return self._guard.query(query, anonymize)

    def clean_ip(self, ip: str, *, anonymize: bool) -> str:
        return self._guard.ip(ip, anonymize)

    def _turn_for(self, items: Sequence[Item]) -> AbstractAsyncContextManager[None]:
        """Of large bodies one is read or cleaned at a time."""
        return _AT_ONCE if sum(map(len, items)) < _LARGE else self._turn

    def _clean_item(self, item: Item, treatment: Treatment, via: str, damaged: bool) -> Item:
        if isinstance(item, bytes):
            return self._guard.json(item, treatment.anonymize, via)
        return self._guard.text(item, treatment.anonymize, via, cut_off=damaged)

    def _count_removed(self, name: str) -> None:
        self._removed[name,] += 1
