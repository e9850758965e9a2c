"""Contenders measured in turns: a second of one, a second of another, in an order drawn anew each time.

A host drifts by half within minutes, so a figure says something only beside another of the same few seconds. Those that
are compared form a group; its slices are taken one right after the other and kept together, as pairs. A slice in which
processes that are not of the bench used more than a little of its cores is disturbed: the turn of its group is dropped
and taken again later, up to a limit.

Compared is CPU per request, not requests per second: a neighbour takes time away, which the clock on the wall sees and
the process's CPU time does not. What is called "A against nginx" is nginx's CPU per request over A's.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from tests.bench import cpu
from tests.bench.figure import Figure, median, ratio
from tests.process import wait_for

SETTLE = 0.15  # seconds of load before a slice: queues fill, caches warm
DISTURBED = 0.1  # of a core, used by others
FIRST = 60.0  # seconds until the first answer
FEWEST = 3  # turns a figure is made of
NEVER_QUIET = Figure(0.0, 1.0)  # too few turns were left: a figure that is refused


class Load(Protocol):
    """Sends requests to one server whenever it is not paused."""

    pid: int

    def resume(self) -> None: ...
    def pause(self) -> None: ...


@dataclass(frozen=True)
class Contender:
    """Servers under test, what loads them, and how many requests they have answered well since they started."""

    name: str
    servers: Sequence[int]  # process ids
    loads: Sequence[Load]
    answered: Callable[[], float]


@dataclass(frozen=True)
class Slice:
    seconds: float
    requests: float
    cpu: float  # seconds, of the servers
    others: float = 0.0  # CPU seconds of strangers on the bench's cores

    @property
    def undisturbed(self) -> bool:
        return self.others <= DISTURBED * self.seconds

    @property
    def quiet(self) -> bool:
        """Whether it says something: a server that gets no time answers nothing, or only that it cannot."""
        return self.undisturbed and self.requests > 0

    @property
    def per_s(self) -> float:
        return self.requests / self.seconds

    @property
    def cpu_us(self) -> float:
        """CPU microseconds a request."""
        return self.cpu / self.requests * 1e6


class Stopwatch:
    """Takes slices. `ours` are all processes of the bench, whose CPU time disturbs nothing."""

    def __init__(self, cores: Collection[int], ours: Sequence[int], seconds: float) -> None:
        self._cores, self._ours, self._seconds = cores, ours, seconds

    def warm(self, contender: Contender) -> None:
        """Load it until it answers: wrk makes all its requests first, and a client opens its connection.

        Raises AssertionError where it never does.
        """
        before, asked = contender.answered(), 0.0

        def answers() -> bool:
            nonlocal asked
            asked += 1  # nginx counts who asks it
            return contender.answered() - asked > before

        for load in contender.loads:
            load.resume()
        wait_for(answers, FIRST, f"{contender.name} to answer")
        for load in contender.loads:
            load.pause()

    def take(self, contender: Contender) -> Slice:
        for load in contender.loads:
            load.resume()
        time.sleep(SETTLE)
        begin = self._read(contender)
        time.sleep(self._seconds)
        end = self._read(contender)
        for load in contender.loads:
            load.pause()
        seconds, requests, used, strangers = (after - before for before, after in zip(begin, end, strict=True))
        taken = Slice(seconds, requests, used, strangers)
        if not requests and taken.undisturbed:
            raise AssertionError(f"{contender.name} answered nothing in {seconds:.1f} s")
        return taken

    def _read(self, contender: Contender) -> tuple[float, float, float, float]:
        # In this order at both ends: what asking for the number takes is then outside the slice once and inside once.
        answered = contender.answered()
        used = sum(map(cpu.of, contender.servers))
        return time.monotonic(), answered, used, cpu.busy(self._cores) - sum(map(cpu.of, self._ours))


@dataclass(frozen=True)
class Taken:
    """The slices of complete, quiet turns by contender: the n-th ones of a group belong together."""

    slices: dict[str, list[Slice]]
    dropped: int
    turns: int

    def per_s(self, name: str) -> Figure:
        return self._enough(name, lambda: median([one.per_s for one in self.slices[name]]))

    def per_cpu_s(self, name: str) -> Figure:
        """Requests a CPU second: what one core does when it is given to the server alone."""
        return self._enough(name, lambda: median([one.requests / one.cpu for one in self.slices[name]]))

    def against(self, name: str, other: str) -> Figure:
        """CPU per request of the other over that of `name`: above 1, `name` is the cheaper one."""
        return self._enough(name, lambda: ratio(self._cpu_us(other), self._cpu_us(name)))

    def faster(self, name: str, other: str) -> Figure:
        """Requests per second of `name` over those of the other."""
        return self._enough(
            name,
            lambda: ratio([one.per_s for one in self.slices[name]], [one.per_s for one in self.slices[other]]),
        )

    def _cpu_us(self, name: str) -> list[float]:
        return [one.cpu_us for one in self.slices[name]]

    def _enough(self, name: str, figure: Callable[[], Figure]) -> Figure:
        return figure() if len(self.slices[name]) >= FEWEST else NEVER_QUIET


def in_turns(
    groups: Sequence[Sequence[Contender]],
    take: Callable[[Contender], Slice],
    *,
    wanted: int,
    most: int,
    chance: random.Random,
) -> Taken:
    """Take turns until each group has as many quiet ones as wanted, or after the most turns each may have."""
    kept: dict[str, list[Slice]] = {contender.name: [] for group in groups for contender in group}
    dropped = turns = 0
    for _ in range(most):
        waiting = [group for group in groups if len(kept[group[0].name]) < wanted]
        for group in chance.sample(waiting, len(waiting)):
            turn = {contender.name: take(contender) for contender in chance.sample(group, len(group))}
            turns += 1
            if all(one.quiet for one in turn.values()):
                for name, one in turn.items():
                    kept[name].append(one)
            else:
                dropped += 1
    return Taken(kept, dropped, turns)
