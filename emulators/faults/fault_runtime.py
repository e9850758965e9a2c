"""Injects faults into calls: delays, errors, lost replies, dropped streams. A wait ends when its fault does.

An emulator calls this where every request and delivery passes, and only while `on` is true.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from math import inf

from emulators.faults.active_faults import ActiveFault, Call, Faults
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

_LOOK = 0.25  # seconds between checks for a client that has disconnected
_LONG = 3_600.0  # seconds; longer waits are split
_Condition = Callable[[], bool]


class InjectedError(Exception):
    """A fault ends the call with this gRPC status."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code
        self.text = text


class InjectedSilence(InjectedError):
    """The call gets no answer until its fault ends; `FaultRuntime.sit_out` waits for that."""

    def __init__(self, active: ActiveFault) -> None:
        super().__init__("UNAVAILABLE", "The fault that held this call has ended; nothing was done.")
        self.active = active


class FaultRuntime:
    """The faults of one emulator, and every call that waits because of one."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self.faults = Faults()
        self.now = now
        self._changed = asyncio.Event()
        self._watches: set[Watch] = set()

    @property
    def on(self) -> bool:
        return self.faults.on

    # Setting faults

    def add(self, fault: Fault) -> ActiveFault:
        """Raises `BadFault`."""
        active = self.faults.add(fault, self.now())
        self._wake_all()
        return active

    def remove(self, name: str) -> bool:
        removed = self.faults.remove(name, self.now())
        self._wake_all()
        return removed

    def clear(self) -> int:
        count = self.faults.clear(self.now())
        self._wake_all()
        return count

    # Injecting them

    async def before(self, call: Call) -> None:
        """Called before the work: raises `InjectedError` or `InjectedSilence` where it must not be done."""
        for active in self.faults.applying((Latency, Error, Blackhole), call, self.now):
            fault = active.fault
            if isinstance(fault, Latency):
                await self._delay(active, fault.delay)
            elif isinstance(fault, Error):
                raise InjectedError(fault.code, fault.message)
            else:
                raise InjectedSilence(active)

    async def after(self, call: Call) -> None:
        """Called after the work, before the reply: raises `InjectedError` where the reply is lost."""
        for active in self.faults.applying((LatencyAfter, LostReply), call, self.now):
            fault = active.fault
            if isinstance(fault, LatencyAfter):
                await self._delay(active, fault.delay)
            elif isinstance(fault, LostReply):
                raise InjectedError(fault.code, fault.message)

    async def sit_out(self, silence: InjectedSilence, gone: _Condition | None = None) -> None:
        """Wait until the fault has ended, or, with `gone`, until the client has disconnected."""
        active = silence.active
        while not active.over(self.now()) and not (gone is not None and gone()):
            await self._wait_for_change(min(active.ends - self.now(), _LONG if gone is None else _LOOK))

    def admit(self, call: Call, size: int, rows: int) -> None:
        """Raises `InjectedError` RESOURCE_EXHAUSTED where a call of `size` bytes and `rows` rows exceeds a quota."""
        for active in self.faults.about(Quota, call, self.now()):
            if active.exceeded((size, rows, 1), self.now()) and self.faults.applies(active, self.now()):
                raise InjectedError("RESOURCE_EXHAUSTED", "Quota exceeded: injected fault.")

    def first(self, effect: type[Fault], call: Call) -> ActiveFault | None:
        """The first fault of this effect that applies to the call."""
        return next(self.faults.applying(effect, call, self.now), None)

    def about(self, effect: type[Fault], call: Call) -> list[ActiveFault]:
        """The faults of this effect that may apply to the call, for effects that pick among its rows or ack ids."""
        return self.faults.about(effect, call, self.now())

    def spend(self, active: ActiveFault) -> bool:
        """Count one application; False if the fault has reached its limit."""
        return self.faults.spend(active, self.now())

    def heard(self, call: Call, ack_ids: list[str]) -> list[str]:
        """The ack ids that no fault drops."""
        return [ack_id for ack_id in ack_ids if self.first(DropAcks, call) is None]

    def doubled(self, call: Call) -> bool:
        """Whether to deliver one message twice."""
        return self.first(Duplicate, call) is not None

    def reorder(self, call: Call) -> tuple[ActiveFault, Reorder] | None:
        active = self.first(Reorder, call)
        return (active, active.fault) if active is not None and isinstance(active.fault, Reorder) else None

    async def until(self, condition: _Condition, active: ActiveFault, limit: float) -> None:
        """Wait for a condition, at most `limit` seconds and no longer than the fault lasts."""
        end = self.now() + limit
        while not condition() and not active.over(self.now()) and self.now() < end:
            await self._wait_for_change(min(0.01, end - self.now()))

    # Streams

    def watch(self, method: str) -> Watch:
        """Watch a stream that has just been opened. Use as a context manager."""
        watch = Watch(self, method)
        self._watches.add(watch)
        return watch

    def forget(self, watch: Watch) -> None:
        self._watches.discard(watch)

    # Waiting

    async def _delay(self, active: ActiveFault, seconds: float) -> None:
        end = self.now() + seconds
        while not active.removed and self.now() < end:
            await self._wait_for_change(end - self.now())

    async def _wait_for_change(self, seconds: float) -> None:
        """Wait until a fault is set or removed, at most this many seconds."""
        try:
            async with asyncio.timeout(min(max(seconds, 0.0), _LONG)):
                await self._changed.wait()
        except TimeoutError:
            return

    def _wake_all(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
        for watch in self._watches:
            watch.woken.set()


class Watch:
    """One open stream, watched by the faults that end streams."""

    def __init__(self, runtime: FaultRuntime, method: str) -> None:
        self._runtime = runtime
        self._call = Call(method)
        self._begun = 0
        self._done = 0
        self.woken = asyncio.Event()

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *_: object) -> None:
        self._runtime.forget(self)

    def names(self, call: Call) -> None:
        """Record what the stream is about, once its first request is read."""
        self._call = call
        self.woken.set()

    def sending(self, messages: int) -> None:
        """Record what is about to be delivered, so that a fault set meanwhile does not count it."""
        self._begun += messages

    def sent(self, messages: int) -> None:
        """Count what has been delivered."""
        self._done += messages
        if self._runtime.on:
            self.woken.set()

    async def dropped(self) -> InjectedError:
        """Return the error once a fault ends the stream."""
        seen: dict[str, tuple[float, int] | None] = {}
        while True:
            self.woken.clear()
            now = self._runtime.now()
            wait = _LONG
            for active in self._runtime.faults.about(DropStream, self._call, now):
                fault = active.fault
                if active.id not in seen:
                    seen[active.id] = (now, self._begun) if active.draw() else None
                since = seen[active.id]
                if since is None or not isinstance(fault, DropStream):
                    continue
                left = _seconds_left(fault, now - since[0], self._done - since[1])
                if left <= 0 and self._runtime.faults.spend(active, now):
                    return InjectedError("UNAVAILABLE", "The stream was dropped: injected fault.")
                wait = min(wait, left)
            try:
                async with asyncio.timeout(max(wait, 0.0)):
                    await self.woken.wait()
            except TimeoutError:
                continue


def _seconds_left(fault: DropStream, seconds: float, messages: int) -> float:
    """Seconds until the stream ends; 0 or less when it ends now, infinity when only messages count."""
    if fault.after_messages is not None and messages >= fault.after_messages:
        return 0.0
    if fault.after_seconds is None:
        return inf if fault.after_messages is not None else 0.0
    return fault.after_seconds - seconds
