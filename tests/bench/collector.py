"""How fast the collector is: `python -m tests.bench.collector [--quick]` prints one JSON object.

Servers run on one core, wrk and the Pub/Sub emulator on another; only the servers' CPU counts. All contenders run at
the same time, each paused unless it is its turn (slices.py), and get the same requests (pixels.lua, posts.lua).

- `collector_at_once_vs_nginx`: nginx's CPU a request over the collector's with PIPE_ACK=immediate, 64 connections each.
- `collector_after_ack_vs_nginx`: the same with the default, a reply after Pub/Sub's; 512 connections each.
- `collector_vs_publish_per_event`: CPU a request of per_event.py over the collector's; 512 connections each.
- `collector_at_once_per_s`, `collector_after_ack_per_s`: requests a second on one core, by the clock on the wall.
- `collector_post_batch_events_per_s`: events a CPU second, posted 100 a request, confirmed by Pub/Sub; 16 connections.
  CPU, since one core for wrk, emulator and neighbours says little of ours; saturated, both are the same.
- `scale_2_workers`: requests a second of two collectors on one port over those of one,
  PIPE_ACK=immediate, 64 connections in all.
  Both cores are for everybody, wrk and emulator too, which have less of them with two collectors than with one.
- `scale_2_workers_cpu`: the same by CPU, as if both cores were the collectors' alone: 2, less what a request takes
  more when there are two.
- `rss_collector_mb`: the most memory a collector had resident, of those that reply after Pub/Sub's ack.
- `collector_hit_bytes`: bytes of a hit before compression.
- `collector_dropped`: the share of turns in which something else ran, so that they are in no figure.
- `unit_us`: see unit.py; sampled between the slices.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from services.collector.config import IMMEDIATE
from tests.bench import cpu, figure, needs, served, slices, unit
from tests.bench.figure import Figure
from tests.bench.nginx import Nginx
from tests.bench.served import Served
from tests.bench.slices import Contender, Slice, Stopwatch, Taken
from tests.bench.wrk import Wrk
from tests.bounds.soak import memory

AT_ONCE, AFTER_ACK, POSTING, SCALING = 64, 512, 16, 64  # connections
BATCH = 100  # events a post, as posts.lua makes them
PER_EVENT, SHARED_PORT = "tests.bench.per_event", "tests.bench.shared_port"


@dataclass(frozen=True)
class Pace:
    seconds: float  # a slice
    wanted: int  # quiet turns of each group
    most: int  # turns of each group


FULL = Pace(1.0, 13, 18)
QUICK = Pace(0.4, 4, 5)


class Bench:
    """Everything that runs, until the stack is left."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._cores = self._server_core, self._load_core = needs.cores()
        self._loads: list[int] = []
        with cpu.on(self._server_core):
            self._nginx = stack.enter_context(Nginx())
        self._pubsub = stack.enter_context(served.pubsub(self._load_core))
        one, both = (self._server_core,), self._cores
        at_once = self._collector(*one, ack=IMMEDIATE)
        self.after_ack = self._collector(*one)
        per_event = self._collector(*one, module=PER_EVENT)
        alone = self._collector(*both, ack=IMMEDIATE)
        first = self._collector(*both, module=SHARED_PORT, ack=IMMEDIATE)
        pair = [first, self._collector(*both, module=SHARED_PORT, ack=IMMEDIATE, port=str(first.port))]
        self.posting = self._collector(*one)
        self._servers = [self._nginx.pid, *(s.pid for s in (at_once, self.after_ack, per_event, alone, *pair))]
        self._servers.append(self.posting.pid)
        self.groups = [
            [self._yardstick("nginx at once", AT_ONCE), self._loaded("at once", [at_once], AT_ONCE)],
            [
                self._yardstick("nginx after ack", AFTER_ACK),
                self._loaded("after ack", [self.after_ack], AFTER_ACK),
                self._loaded("per event", [per_event], AFTER_ACK),
            ],
            [self._loaded("posts", [self.posting], POSTING, script="posts.lua")],
            [self._loaded("one", [alone], SCALING, *both), self._loaded("two", pair, SCALING, *both)],
        ]
        self.units: list[float] = []

    def _collector(self, *cores: int, **settings: str) -> Served:
        return self._stack.enter_context(served.collector(self._pubsub, *cores, **settings))

    def _wrk(self, port: int, connections: int, script: str, cores: Sequence[int]) -> Wrk:
        with cpu.on(*(cores or (self._load_core,))):
            load = self._stack.enter_context(Wrk(port, connections, script))
        self._loads.append(load.pid)
        return load

    def _yardstick(self, name: str, connections: int) -> Contender:
        load = self._wrk(self._nginx.port, connections, "pixels.lua", ())
        return Contender(name, [self._nginx.pid], [load], self._nginx.answered)

    def _loaded(self, name: str, servers: list[Served], connections: int, *cores: int, script: str = "") -> Contender:
        share = connections // len(servers)
        loads = [self._wrk(server.port, share, script or "pixels.lua", cores) for server in servers]
        return Contender(
            name, [server.pid for server in servers], loads, lambda: sum(server.answered() for server in servers)
        )

    def measure(self, pace: Pace) -> Taken:
        ours = [*self._servers, *self._loads, self._pubsub.process.pid, 0]
        watch = Stopwatch(self._cores, ours, pace.seconds)
        for group in self.groups:
            for contender in group:
                watch.warm(contender)
                watch.take(contender)  # warm: connections open, code paths run once

        def take(contender: Contender) -> Slice:
            taken = watch.take(contender)
            self._nginx.trim()
            self.units.append(unit.us())
            return taken

        return slices.in_turns(self.groups, take, wanted=pace.wanted, most=pace.most, chance=random.Random())


def measure(quick: bool = False) -> dict[str, Figure]:
    """The figures of the table above. Raises needs.Missing where the machine has no nginx, no wrk or one core."""
    with ExitStack() as stack:
        bench = Bench(stack)
        taken = bench.measure(QUICK if quick else FULL)
        posts = taken.per_cpu_s("posts")
        apiece = taken.against("two", "one")
        metrics = bench.after_ack.metrics()
        return {
            "collector_at_once_vs_nginx": taken.against("at once", "nginx at once"),
            "collector_after_ack_vs_nginx": taken.against("after ack", "nginx after ack"),
            "collector_vs_publish_per_event": taken.against("after ack", "per event"),
            "collector_post_batch_events_per_s": Figure(posts.value * BATCH, posts.spread),
            "scale_2_workers": taken.faster("two", "one"),
            "scale_2_workers_cpu": Figure(2 * apiece.value, apiece.spread),
            "rss_collector_mb": Figure(max(memory(one.pid, "VmHWM") for one in (bench.after_ack, bench.posting))),
            "collector_at_once_per_s": taken.per_s("at once"),
            "collector_after_ack_per_s": taken.per_s("after ack"),
            "collector_hit_bytes": Figure(
                metrics["pixelpipe_collector_hit_bytes_total"]
                / metrics['pixelpipe_collector_hits_settled_total{outcome="published"}']
            ),
            "collector_dropped": Figure(taken.dropped / taken.turns),
            "unit_us": figure.median(bench.units),
        }


if __name__ == "__main__":
    found = measure(quick="--quick" in sys.argv)
    print(json.dumps({name: [round(one.value, 3), round(one.spread, 3)] for name, one in found.items()}, indent=1))
