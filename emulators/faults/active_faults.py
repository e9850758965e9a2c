"""Which of the faults that are set applies to a call. Pure: the time (seconds from any origin) is passed in."""

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
    """A call of a method; `resource` holds every way to spell the name of its resource, or nothing."""

    method: str
    resource: tuple[str, ...] = ()


@dataclass(slots=True, eq=False)
class ActiveFault:
    """A fault that is set; `ends` is the time at which it expires."""

    id: str
    fault: Fault
    ends: float
    applied: int = 0
    removed: bool = False
    random: Random = field(init=False)
    _method: re.Pattern[str] = field(init=False)
    _resource: re.Pattern[str] | None = field(init=False)
    _allowances: list[Allowance] = field(init=False)

    def __post_init__(self) -> None:
        fault = self.fault
        self.random = Random(f"{fault.seed} {self.id}")  # noqa: S311 - not a secret, and the same in every run
        self._method = re.compile(translate(fault.method))
        self._resource = re.compile(translate(fault.resource)) if fault.resource is not None else None
        self._allowances = []
        if isinstance(fault, Quota):
            rates = (fault.bytes_per_second, fault.rows_per_second, fault.requests_per_second)
            self._allowances = [Allowance(inf if rate is None else rate) for rate in rates]

    def over(self, now: float) -> bool:
        return self.removed or now >= self.ends

    def left(self) -> bool:
        return self.fault.times is None or self.applied < self.fault.times

    def meets(self, call: Call) -> bool:
        """Whether the fault's globs match the call."""
        if not self._method.match(call.method):
            return False
        pattern = self._resource
        return pattern is None or any(pattern.match(name) for name in call.resource)

    def draw(self) -> bool:
        """Draw whether this call falls into the fault's share."""
        return self.fault.share >= 1 or self.random.random() < self.fault.share

    def refuses(self, content: str) -> bool:
        """Whether this content falls into the fault's share: the same answer every time."""
        digest = blake2b(f"{self.fault.seed} {content}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
        return int.from_bytes(digest) < self.fault.share * _CERTAIN

    def exceeded(self, weights: tuple[float, float, float], now: float) -> bool:
        """Whether (bytes, rows, requests) of a call exceed the quota; if not, they are charged to it."""
        pairs = list(zip(self._allowances, weights, strict=True))
        if not all(allowance.allows(now) for allowance, _ in pairs):
            return True
        for allowance, weight in pairs:
            allowance.take(weight)
        return False

    def shown(self, now: float) -> dict[str, Any]:
        """The fault as it was set, with `id`, how often it has `applied`, and `ends_in` seconds."""
        fault: dict[str, Any] = msgspec.to_builtins(self.fault)
        ends_in = None if self.ends == inf else round(self.ends - now, 3)
        return {"id": self.id, **fault, "applied": self.applied, "ends_in": ends_in}


class Allowance:
    """A token bucket that holds one second's worth; a single use may take it below zero."""

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
    """All faults that are set, in order of setting; `on` is true while any may still apply."""

    def __init__(self) -> None:
        self.on = False
        self._active: dict[str, ActiveFault] = {}
        self._count = 0

    def add(self, fault: Fault, now: float) -> ActiveFault:
        """Raises `BadFault` above `MOST`."""
        self._tidy(now)
        if len(self._active) >= MOST:
            raise BadFault(f"{MOST} faults are set already; remove one first")
        self._count += 1
        active = ActiveFault(str(self._count), fault, inf if fault.seconds is None else now + fault.seconds)
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

    def listed(self, now: float) -> list[ActiveFault]:
        """The faults that are set. One that has reached its limit stays, since it may still hold calls."""
        self._tidy(now)
        return list(self._active.values())

    def about(self, effects: type[Fault] | tuple[type[Fault], ...], call: Call, now: float) -> list[ActiveFault]:
        """The faults of these effects that may apply to the call, in order of setting."""
        self._tidy(now)
        return [
            active
            for active in self._active.values()
            if isinstance(active.fault, effects) and active.left() and active.meets(call)
        ]

    def applies(self, active: ActiveFault, now: float) -> bool:
        """Draw for a fault that is `about` a call, and count it if it applies."""
        return active.draw() and self.spend(active, now)

    def spend(self, active: ActiveFault, now: float) -> bool:
        """Count one application; False if the fault has ended or reached its limit."""
        if active.over(now) or not active.left():
            return False
        active.applied += 1
        if not active.left():
            self._tidy(now)
        return True

    def applying(
        self, effects: type[Fault] | tuple[type[Fault], ...], call: Call, now: Callable[[], float]
    ) -> Iterator[ActiveFault]:
        """Each fault that applies to the call, drawn lazily, so that one behind an error is not counted."""
        for active in self.about(effects, call, now()):
            if self.applies(active, now()):
                yield active

    def _tidy(self, now: float) -> None:
        self._active = {name: active for name, active in self._active.items() if not active.over(now)}
        self.on = any(active.left() for active in self._active.values())
