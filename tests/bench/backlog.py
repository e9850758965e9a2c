"""A service works off a backlog: it is paused, messages are published, and it goes on until it has acknowledged all."""

from __future__ import annotations

import signal
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from google.cloud import pubsub_v1

from services.shared import identity
from services.shared.resource_names import topic_path
from tests import admin
from tests.bench import cpu, unit
from tests.bench.emulators import PROJECT
from tests.process import Child

LONGEST = 120  # seconds of a round
_UNITS = 5  # samples of the unit before a round, and after it


@dataclass
class Rounds:
    """What one service did in each round, and the unit beside it."""

    per_s: list[float] = field(default_factory=list)
    per_cpu_s: list[float] = field(default_factory=list)
    units: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Backlog:
    """Messages like `packs`, of so many `events` each, to `topic`; `acked` is the metric that counts them done."""

    publisher: pubsub_v1.PublisherClient
    topic: str
    packs: Sequence[tuple[bytes, dict[str, str]]]
    events: int
    acked: str

    def rounds(self, child: Child, port: int, packs: int, count: int) -> Rounds:
        """So many rounds, after one that opens connections and fills caches and is not counted."""
        found = Rounds()
        for number in range(count + 1):
            child.process.send_signal(signal.SIGSTOP)
            try:
                self._publish(packs)
                units = [unit.us() for _ in range(_UNITS)]
            finally:
                child.process.send_signal(signal.SIGCONT)
            began, used = time.monotonic(), cpu.of(child.process.pid)
            self._until(port, packs * (number + 1))
            took, used = time.monotonic() - began, cpu.of(child.process.pid) - used
            if number:
                found.per_s.append(packs * self.events / took)
                found.per_cpu_s.append(packs * self.events / used)
                found.units.append(statistics.median([*units, *(unit.us() for _ in range(_UNITS))]))
        return found

    def _publish(self, packs: int) -> None:
        now = time.time_ns() // 1000
        futures = []
        for number in range(packs):
            data, attributes = self.packs[number % len(self.packs)]
            again = {**attributes, "pack": identity.uuid7(now)}  # a pack that is known is not handled
            futures.append(self.publisher.publish(topic_path(PROJECT, self.topic), data, **again))
        for future in futures:
            future.result(120)

    def _until(self, port: int, packs: int) -> None:
        """Every look costs the service a millisecond or two: few of them."""
        end = time.monotonic() + LONGEST
        while (acked := admin.metrics(port)[self.acked]) < packs:
            assert time.monotonic() < end, f"{packs - acked:.0f} packs are left after {LONGEST} s"
            time.sleep(0.1)
