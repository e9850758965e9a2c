"""What calls meet while faults are set: waits that end when their fault does, errors, silence.

An emulator asks here at its choke points, and only where `on` says that there is something to meet.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from math import inf

from emulators.faults.active_faults import Active, Call, Faults
from emulators.faults.fault import (
    Blackhole,
    DropAcks,
    DropStream,
    Duplicate,
    Error,
    Fault,
    Latency,
    LatencyAfter,
    LostReply,
    Quota,
    Reorder,
)

_LOOK = 0.25  # seconds between looks for a client that has gone
_LONG = 3_600.0  # seconds; a sleep is begun anew after it
_Condition = Callable[[], bool]


class Broken(Exception):
    """The call ends with this gRPC status."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code
        self.text = text


class Swallowed(Broken):
    """The call is not answered before its fault ends: `Outage.sit_out` waits for that."""

    def __init__(self, active: Active) -> None:
        super().__init__("UNAVAILABLE", "The fault that held this call has ended; nothing was done.")
        self.active = active


class Outage:
    """The faults of one emulator, and everything that waits because of them."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self.faults = Faults()
        self.now = now
        self._changed = asyncio.Event()
        self._watches: set[Watch] = set()

    @property
    def on(self) -> bool:
        return self.faults.on

    # Setting faults

    def add(self, fault: Fault) -> Active:
        """Raises `BadFault`."""
        active = self.faults.add(fault, self.now())
        self._stir()
        return active

    def remove(self, name: str) -> bool:
        removed = self.faults.remove(name, self.now())
        self._stir()
        return removed

    def clear(self) -> int:
        count = self.faults.clear(self.now())
        self._stir()
        return count

    # Meeting them

    async def before(self, call: Call) -> None:
        """Before the work: raises `Broken` or `Swallowed` where it must not be done."""
        for active in self.faults.striking((Latency, Error, Blackhole), call, self.now):
            fault = active.fault
            if isinstance(fault, Latency):
                await self._delay(active, fault.delay)
            elif isinstance(fault, Error):
                raise Broken(fault.code, fault.message)
            else:
                raise Swallowed(active)

    async def after(self, call: Call) -> None:
        """After the work, before the answer: raises `Broken` where the answer is lost."""
        for active in self.faults.striking((LatencyAfter, LostReply), call, self.now):
            fault = active.fault
            if isinstance(fault, LatencyAfter):
                await self._delay(active, fault.delay)
            elif isinstance(fault, LostReply):
                raise Broken(fault.code, fault.message)

    async def sit_out(self, swallowed: Swallowed, gone: _Condition | None = None) -> None:
        """Wait until the fault has ended, or until the client is gone where nothing else tells."""
        active = swallowed.active
        while not active.over(self.now()) and not (gone is not None and gone()):
            await self._change(min(active.ends - self.now(), _LONG if gone is None else _LOOK))

    def admit(self, call: Call, size: int, rows: int) -> None:
        """Raises `Broken` RESOURCE_EXHAUSTED where a call of so many bytes and rows is above a quota."""
        for active in self.faults.about(Quota, call, self.now()):
            if active.exceeded((size, rows, 1), self.now()) and self.faults.strikes(active, self.now()):
                raise Broken("RESOURCE_EXHAUSTED", "Quota exceeded: a fault that was asked for.")

    def first(self, effect: type[Fault], call: Call) -> Active | None:
        """The first fault of an effect that strikes this call."""
        return next(self.faults.striking(effect, call, self.now), None)

    def about(self, effect: type[Fault], call: Call) -> list[Active]:
        """Those of an effect that may strike this call, for effects that choose among its parts."""
        return self.faults.about(effect, call, self.now())

    def spend(self, active: Active) -> bool:
        """Count a strike of one of these; False if it may not strike any more."""
        return self.faults.spend(active, self.now())

    def heard(self, call: Call, ack_ids: list[str]) -> list[str]:
        """What is left of ack ids."""
        return [ack_id for ack_id in ack_ids if self.first(DropAcks, call) is None]

    def doubled(self, call: Call) -> bool:
        """Whether one delivery comes twice."""
        return self.first(Duplicate, call) is not None

    def reorder(self, call: Call) -> tuple[Active, Reorder] | None:
        active = self.first(Reorder, call)
        return (active, active.fault) if active is not None and isinstance(active.fault, Reorder) else None

    async def until(self, condition: _Condition, active: Active, limit: float) -> None:
        """Wait for a condition, while a fault lasts, for at most `limit` seconds."""
        end = self.now() + limit
        while not condition() and not active.over(self.now()) and self.now() < end:
            await self._change(min(0.01, end - self.now()))

    # Streams

    def watch(self, method: str) -> Watch:
        """For a stream that was just opened; close it at its end."""
        watch = Watch(self, method)
        self._watches.add(watch)
        return watch

    def forget(self, watch: Watch) -> None:
        self._watches.discard(watch)

    # Waiting

    async def _delay(self, active: Active, seconds: float) -> None:
        end = self.now() + seconds
        while not active.removed and self.now() < end:
            await self._change(end - self.now())

    async def _change(self, seconds: float) -> None:
        """Wait until faults were set or removed, for so many seconds at most."""
        try:
            async with asyncio.timeout(min(max(seconds, 0.0), _LONG)):
                await self._changed.wait()
        except TimeoutError:
            return

    def _stir(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
        for watch in self._watches:
            watch.woken.set()


class Watch:
    """One open stream, for the faults that end it."""

    def __init__(self, outage: Outage, method: str) -> None:
        self._outage = outage
        self._call = Call(method)
        self._begun = 0
        self._done = 0
        self.woken = asyncio.Event()

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *_: object) -> None:
        self._outage.forget(self)

    def names(self, call: Call) -> None:
        """Say what the stream is about, once its first request has come."""
        self._call = call
        self.woken.set()

    def sending(self, messages: int) -> None:
        """Say what is about to be handed over, so that a fault that is met meanwhile does not count it."""
        self._begun += messages

    def sent(self, messages: int) -> None:
        """Count what was handed over."""
        self._done += messages
        if self._outage.on:
            self.woken.set()

    async def dropped(self) -> Broken:
        """Return why, once a fault ends the stream."""
        met: dict[str, tuple[float, int] | None] = {}
        while True:
            self.woken.clear()
            now = self._outage.now()
            wait = _LONG
            for active in self._outage.faults.about(DropStream, self._call, now):
                fault = active.fault
                if active.id not in met:
                    met[active.id] = (now, self._begun) if active.draw() else None
                since = met[active.id]
                if since is None or not isinstance(fault, DropStream):
                    continue
                left = _seconds_left(fault, now - since[0], self._done - since[1])
                if left <= 0 and self._outage.faults.spend(active, now):
                    return Broken("UNAVAILABLE", "The stream was dropped: a fault that was asked for.")
                wait = min(wait, left)
            try:
                async with asyncio.timeout(max(wait, 0.0)):
                    await self.woken.wait()
            except TimeoutError:
                continue


def _seconds_left(fault: DropStream, seconds: float, messages: int) -> float:
    """Until the stream ends, as far as time decides; 0 or less when it ends now."""
    if fault.after_messages is not None and messages >= fault.after_messages:
        return 0.0
    if fault.after_seconds is None:
        return inf if fault.after_messages is not None else 0.0
    return fault.after_seconds - seconds
