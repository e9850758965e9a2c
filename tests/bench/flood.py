"""What bad input costs: `python -m tests.bench.flood [--quick]` prints one JSON object.

A collector of its own for each kind of flood (flooder.py, a process on another core), with its default settings and a
spool; a polite client sends 200 hits a second to it before the flood and during it. Of each kind:

| figure | what |
| --- | --- |
| `flood_KIND_rss_mb` | most memory the collector had resident |
| `flood_KIND_cpu` | cores the collector used during the flood, the polite client's part included; at most 1 |
| `flood_KIND_cpu_us` | CPU microseconds for one bad request, or one bad connection; without the polite client's part |
| `flood_KIND_connections` | bad connections at a time |
| `flood_KIND_polite_p99_ratio` | p99 of the polite client's replies during the flood over that before it |
| `flood_KIND_polite_lost` | hits of the polite client that were not answered with 200 |

These are bounds, not comparisons: each is measured once and has no spread. The ratio of two p99s of a few hundred
replies is a coarse thing, and the polite client shares its core with the flood. The figures with
`stall` in their names are those of stalls.py.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from contextlib import ExitStack

from tests import process
from tests.bench import cpu, needs, served, stalls
from tests.bench.figure import Figure
from tests.bench.flooder import KINDS
from tests.bench.outage import Load
from tests.bench.served import Served
from tests.bounds.soak import memory
from tests.process import Child

RATE, CONNECTIONS = 200.0, 16  # of the polite client
WARM = 1.0
BEFORE, DURING = 2.5, 5.0  # seconds
QUICK_BEFORE, QUICK_DURING = 1.5, 2.0
LONGEST = 60.0  # seconds
BEGUN = 0.5  # seconds a flood has to begin before what it does counts


def measure(quick: bool = False) -> dict[str, Figure]:
    """The figures of the table above for every kind. Raises needs.Missing where the machine has one core."""
    server_core, load_core = needs.cores()
    before, during = (QUICK_BEFORE, QUICK_DURING) if quick else (BEFORE, DURING)
    found: dict[str, Figure] = {}
    with ExitStack() as stack:
        pubsub = stack.enter_context(served.pubsub(load_core))
        for kind in KINDS:
            with (
                tempfile.TemporaryDirectory(prefix="pixelpipe-flood-") as spool,
                served.collector(pubsub, server_core, spool=spool) as collector,
                cpu.on(load_core),
            ):
                figures = asyncio.run(_measure(kind, collector, before, during))
            found |= {f"flood_{kind}_{name}": Figure(value) for name, value in figures.items()}
    return found | stalls.measure(quick)


async def _measure(kind: str, collector: Served, before: float, during: float) -> dict[str, float]:
    polite, stop, now = Load(collector.port, RATE, CONNECTIONS), asyncio.Event(), time.perf_counter
    running = asyncio.create_task(polite.run(stop))
    try:
        await asyncio.sleep(WARM)
        started, used = now(), cpu.of(collector.pid)
        await asyncio.sleep(before)
        calm, calm_cpu = (started, now()), (cpu.of(collector.pid) - used) / (now() - started)
        flooder = await asyncio.to_thread(
            process.start, "tests.bench.flooder", kind, str(collector.port), str(during + BEGUN)
        )
        began, used = now(), cpu.of(collector.pid)
        await asyncio.sleep(BEGUN + during)
        ended, flood_cpu = now(), cpu.of(collector.pid) - used
        sent = await asyncio.to_thread(_end, flooder, during)
    finally:
        stop.set()
        await running
    seconds = ended - began
    replies = polite.due_in([(began + BEGUN, ended)])
    return {
        "rss_mb": memory(collector.pid, "VmHWM"),
        "cpu": flood_cpu / seconds,
        "cpu_us": (flood_cpu - calm_cpu * seconds) / sent["sent"] * 1e6,
        "connections": sent["connections"],
        "polite_p99_ratio": _p99(replies) / _p99(polite.due_in([calm])),
        "polite_lost": sum(latency == float("inf") for _, latency in polite.seen),
    }


def _end(flooder: Child, seconds: float) -> dict[str, int]:
    """What the flooder says at its end, which it comes to by itself."""
    output, _ = flooder.process.communicate(timeout=seconds + 30)
    if flooder.process.returncode:
        raise AssertionError(f"the flooder failed:\n{flooder.output()}")
    flooder.log.unlink()
    found: dict[str, int] = json.loads(output)
    return found


def _p99(latencies: list[float]) -> float:
    """A reply that is no 200 counts as the longest one."""
    return min(sorted(latencies)[int(len(latencies) * 0.99)], LONGEST)


if __name__ == "__main__":
    found = measure(quick="--quick" in sys.argv)
    print(json.dumps({name: round(one.value, 3) for name, one in found.items()}, indent=1))
