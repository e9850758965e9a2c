"""Which of the faults that are set strikes a call: plain calls, with the time (seconds, any start) passed in."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fnmatch import translate
from hashlib import blake2b
from math import inf
from random import Random
from typing import Any

import msgspec

from emulators.faults.fault import BadFault, Fault, Quota

MOST = 100  # faults set at a time
_CERTAIN = 2**64


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a method; `resource` has every spelling of the name of what it is about, or nothing."""

    method: str
    resource: tuple[str, ...] = ()


@dataclass(slots=True, eq=False)
class Active:
    """A fault that is set; `ends` is the time at which it ends by itself."""

    id: str
    fault: Fault
    ends: float
    struck: int = 0
    removed: bool = False
    random: Random = field(init=False)
    _method: re.Pattern[str] = field(init=False)
    _resource: re.Pattern[str] | None = field(init=False)
    _allowances: list[Allowance] = field(init=False)

    def __post_init__(self) -> None:
        fault = self.fault
        self.random = Random(f"{fault.seed} {self.id}")  # noqa: S311 - no secret, and the same in every run
        self._method = re.compile(translate(fault.method))
        self._resource = re.compile(translate(fault.resource)) if fault.resource is not None else None
        self._allowances = []
        if isinstance(fault, Quota):
            rates = (fault.bytes_per_second, fault.rows_per_second, fault.requests_per_second)
            self._allowances = [Allowance(inf if rate is None else rate) for rate in rates]

    def over(self, now: float) -> bool:
        return self.removed or now >= self.ends

    def left(self) -> bool:
        return self.fault.times is None or self.struck < self.fault.times

    def meets(self, call: Call) -> bool:
        """Whether the call is one that the fault is about."""
        if not self._method.match(call.method):
            return False
        pattern = self._resource
        return pattern is None or any(pattern.match(name) for name in call.resource)

    def draw(self) -> bool:
        """Whether this one belongs to the fault's share."""
        return self.fault.share >= 1 or self.random.random() < self.fault.share

    def refuses(self, content: str) -> bool:
        """Whether the fault's share takes a thing of this content: the same answer every time."""
        digest = blake2b(f"{self.fault.seed} {content}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
        return int.from_bytes(digest) < self.fault.share * _CERTAIN

    def exceeded(self, weights: tuple[float, float, float], now: float) -> bool:
        """Whether (bytes, rows, requests) of a call go above a quota; they are taken from it if not."""
        pairs = list(zip(self._allowances, weights, strict=True))
        if not all(allowance.allows(now) for allowance, _ in pairs):
            return True
        for allowance, weight in pairs:
            allowance.take(weight)
        return False

    def shown(self, now: float) -> dict[str, Any]:
        """What was asked for, with `id`, `struck` and the seconds until it `ends_in`."""
        fault: dict[str, Any] = msgspec.to_builtins(self.fault)
        ends_in = None if self.ends == inf else round(self.ends - now, 3)
        return {"id": self.id, **fault, "struck": self.struck, "ends_in": ends_in}


class Allowance:
    """A rate a second, of which one second's worth may be used at once; one use may go into debt."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._level = rate
        self._at = -inf

    def allows(self, now: float) -> bool:
        if self._rate == inf:
            return True
        if self._at > -inf:
            self._level = min(self._rate, self._level + (now - self._at) * self._rate)
        self._at = now
        return self._level >= min(1.0, self._rate)

    def take(self, amount: float) -> None:
        self._level -= amount


class Faults:
    """All faults that are set, in the order in which they were; `on` says whether any may strike."""

    def __init__(self) -> None:
        self.on = False
        self._active: dict[str, Active] = {}
        self._count = 0

    def add(self, fault: Fault, now: float) -> Active:
        """Raises `BadFault` above `MOST`."""
        self._tidy(now)
        if len(self._active) >= MOST:
            raise BadFault(f"{MOST} faults are set already; remove one first")
        self._count += 1
        active = Active(str(self._count), fault, inf if fault.seconds is None else now + fault.seconds)
        self._active[active.id] = active
        self._tidy(now)
        return active

    def remove(self, name: str, now: float) -> bool:
        """False if no fault of this id is set."""
        self._tidy(now)
        active = self._active.get(name)
        if active is None:
            return False
        active.removed = True
        self._tidy(now)
        return True

    def clear(self, now: float) -> int:
        """Remove all; returns how many there were."""
        return sum(self.remove(name, now) for name in list(self._active))

    def listed(self, now: float) -> list[Active]:
        """Those that are set. One that has struck as often as it may stays, since it may hold calls."""
        self._tidy(now)
        return list(self._active.values())

    def about(self, effects: type[Fault] | tuple[type[Fault], ...], call: Call, now: float) -> list[Active]:
        """Those of these effects that may strike this call, in the order in which they were set."""
        self._tidy(now)
        return [
            active
            for active in self._active.values()
            if isinstance(active.fault, effects) and active.left() and active.meets(call)
        ]

    def strikes(self, active: Active, now: float) -> bool:
        """Draw for one that is `about` a call, and count it if it strikes."""
        return active.draw() and self.spend(active, now)

    def spend(self, active: Active, now: float) -> bool:
        """Count one strike, where the fault still may."""
        if active.over(now) or not active.left():
            return False
        active.struck += 1
        if not active.left():
            self._tidy(now)
        return True

    def striking(
        self, effects: type[Fault] | tuple[type[Fault], ...], call: Call, now: Callable[[], float]
    ) -> Iterator[Active]:
        """Each that strikes this call, drawn when its turn comes, so that one behind an error is not counted."""
        for active in self.about(effects, call, now()):
            if self.strikes(active, now()):
                yield active

    def _tidy(self, now: float) -> None:
        self._active = {name: active for name, active in self._active.items() if not active.over(now)}
        self.on = any(active.left() for active in self._active.values())
