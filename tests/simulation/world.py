"""What one seed decides: the time, every random choice, and which faults there are when."""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter, deque
from collections.abc import Callable
from random import Random

from prometheus_client import Gauge

from tests.simulation.events import events_of
from tests.simulation.loop import VirtualLoop, never
from tests.simulation.process import Process

BEGAN = 1_800_000_000.0  # the Unix time at which a run begins
KEPT_LINES = 4_000  # of the trace

# What can go wrong with the operations of each part of the world while its weather is bad.
FAULTS = {
    "publish": ("refused", "denied", "hang", "slow", "reply_lost", "late"),
    "pull": ("starved", "lease_lost", "ack_lost"),
    "append": ("UNAVAILABLE", "NOT_FOUND", "INVALID_ARGUMENT", "hang", "slow", "reply_lost", "late"),
    "disk": ("ENOSPC", "EROFS", "EIO", "EPERM", "slow", "hang"),
    "crash": ("killed",),
}

_SLOW = {"slow": 25.0, "hang": 90.0}  # seconds an operation takes at most


class World:
    def __init__(self, seed: int, loop: VirtualLoop) -> None:
        self.seed, self.loop, self.random = seed, loop, Random(seed)
        self.until = self.random.uniform(10, 90)  # when the storm is over, and all works from then on
        self.lines: deque[str] = deque(maxlen=KEPT_LINES)
        self.counts: Counter[str] = Counter()
        self.problems: list[str] = []
        self.safe: set[str] = set()  # the events that Pub/Sub or a disk has, or had
        self.bounds: dict[str, float] = {}
        self._most: dict[str, float] = {}  # of each thing that is bounded, the most there was so far
        self.changed: list[Callable[[], None]] = []  # told when the weather changes
        self._weather: dict[str, tuple[str, float]] = {}  # the fault, and how likely it hits one operation
        self._struck: dict[str, float] = {}  # when a fault struck last
        self._digest = hashlib.blake2b(digest_size=16)

    def note(self, *what: object) -> None:
        """A line of the trace, by which a replay is known to be one."""
        self.show(*what)
        self._digest.update(self.lines[-1].encode() + b"\n")

    def show(self, *what: object) -> None:
        """A line of the trace that is no part of its hash."""
        self.lines.append(f"{self.loop.time():12.6f} {' '.join(map(str, what))}")

    def keeps(self, pack: bytes) -> None:
        """Pub/Sub or a disk has a pack of hits: from now on its events must not be lost."""
        self.safe.update(events_of(pack))

    @property
    def trace_hash(self) -> str:
        return self._digest.hexdigest()

    def problem(self, text: str) -> None:
        """Something that must never happen did."""
        self.note("PROBLEM", text)
        self.problems.append(text)

    def struck(self, part: str, seconds: float) -> bool:
        """Whether a fault of that part of the world has struck in so many last seconds."""
        return self.loop.time() - self._struck.get(part, float("-inf")) < seconds

    def saw(self, what: str, amount: float) -> None:
        """So much there is now of something that must stay within its bound."""
        if amount > max(self.bounds[what], self._most.get(what, 0.0)):
            self.problem(f"{what}: {amount:.0f}, more than {self.bounds[what]:.0f}")
        self._most[what] = max(amount, self._most.get(what, 0.0))

    def now(self) -> float:
        """The wall clock: seconds since 1970."""
        return BEGAN + self.loop.time()

    def now_us(self) -> int:
        return int(self.now() * 1_000_000)

    def entropy(self, size: int) -> bytes:
        return self.random.randbytes(size)

    def chance(self, likely: float) -> bool:
        return self.random.random() < likely

    async def pause(self, most: float) -> None:
        await asyncio.sleep(self.random.uniform(0, most))

    def fault(self, part: str) -> str | None:
        """What goes wrong with this operation of a part of the world, if anything."""
        name, likely = self._weather.get(part, ("", 0.0))
        if not self.chance(likely):
            return None
        self.counts[f"{part} {name}"] += 1
        self._struck[part] = self.loop.time()
        return name

    async def operation(self, process: Process, part: str, what: str) -> str | None:
        """A process asks something of the world, which takes a moment; the fault that strikes, if one does.

        Raises Dead for a process that was killed, be it before or meanwhile.
        """
        process.reach()
        fault = self.fault(part)
        self.note(process.name, part, what, fault or "")
        for name, amount in process.bounded.items():
            self.saw(name, amount())
        await self.latency(process, _SLOW.get(fault or ""))
        return fault

    async def latency(self, process: Process, most: float | None = None) -> None:
        process.reach()
        if self.fault("crash"):
            process.kill()
            await never()
        if most:  # nothing that is slow outlasts the storm
            most = min(most, max(1.0, self.until - self.loop.time()))
        await asyncio.sleep(self.random.uniform(1, most) if most else self.random.choice((0, 0.001, 0.01, 0.1)))
        process.reach()

    async def storm(self, parts: list[str]) -> None:
        """Bad weather now here, now there, and in the end fair weather for all."""
        while (left := self.until - self.loop.time()) > 0:
            await asyncio.sleep(min(left, self.random.uniform(0, 8)))
            if not parts or self.loop.time() >= self.until:
                break
            part = self.random.choice(parts)
            if part in self._weather and self.chance(0.6):
                self._set(part, None)
            else:
                likely = self.random.choice((0.02, 0.05) if part == "crash" else (0.1, 0.4, 1.0, 1.0))
                self._set(part, (self.random.choice(FAULTS[part]), likely))
        await asyncio.sleep(max(0.0, self.until - self.loop.time()))
        for part in list(self._weather):
            self._set(part, None)
        self.note("all heals")

    def _set(self, part: str, weather: tuple[str, float] | None) -> None:
        self.note("weather", part, weather)
        if weather is None:
            self._weather.pop(part, None)
        else:
            self._weather[part] = weather
        for tell in self.changed:
            tell()


def value(gauge: Gauge) -> float:
    """What a gauge without labels shows."""
    return float(next(iter(gauge.collect())).samples[0].value)
