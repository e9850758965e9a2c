"""What other trackers' events cost: `python -m tests.bench.protocols [--quick]` prints one JSON object.

The same events (tracker_traffic.py) as Segment's in batches of 100, as Snowplow's in batches of 10, and as native ones
in batches of the same size. A collector on one core is posted them by wrk on another, in turns (slices.py); a worker of
the processor gets the packs that the collector makes of them, in turns too. Only CPU counts.

- `protocol_segment_events_per_s`, `protocol_snowplow_events_per_s`: events that one core takes from the post to packs
  of rows, collector and processor together.
- `protocol_segment_vs_native`, `protocol_snowplow_vs_native`: that rate over the native one of the same batch size.
- `protocol_SENT_collector_us`, `protocol_SENT_processor_us`: CPU microseconds an event, and how they are divided.
- `protocol_dropped`: the share of turns of the collector in which something else ran, so that they are in no figure.
- `unit_us`: see unit.py.
"""

from __future__ import annotations

import gc
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from services.shared import schema, schema_file
from tests.bench import cpu, figure, needs, served, slices, unit
from tests.bench.collector import FULL, QUICK, Pace
from tests.bench.figure import Figure
from tests.bench.processor import WorkerBench
from tests.bench.slices import Contender, Slice, Stopwatch, Taken
from tests.bench.tracker_traffic import HEADERS, NATIVE, SEGMENT, SNOWPLOW, Kind
from tests.bench.wrk import Wrk

CONNECTIONS, PACK = 16, 1_000
SECONDS, QUICK_SECONDS = 8.0, 2.5  # of the processor, for each pair


class Sent(NamedTuple):
    """Events of one kind, so many a post."""

    name: str
    kind: Kind
    events: int


PAIRS = (
    (Sent("segment", SEGMENT, 100), Sent("native_100", NATIVE, 100)),
    (Sent("snowplow", SNOWPLOW, 10), Sent("native_10", NATIVE, 10)),
)


def measure(quick: bool = False) -> dict[str, Figure]:
    """The figures of the table above. Raises needs.Missing where the machine has no wrk or one core."""
    units: list[float] = []
    taken = _collector(QUICK if quick else FULL, units)
    found: dict[str, Figure] = {}
    for pair in PAIRS:
        collector = {one.name: [each.cpu_us / one.events for each in taken.slices[one.name]] for one in pair}
        processor = _processor(pair, QUICK_SECONDS if quick else SECONDS, units)
        theirs, native = pair
        if len(collector[theirs.name]) >= slices.FEWEST:
            for one in pair:
                found[f"protocol_{one.name}_collector_us"] = figure.median(collector[one.name])
            ours, others = (_together(collector[one.name], processor[one.name]) for one in pair)
            found[f"protocol_{theirs.name}_events_per_s"] = figure.rate([1e6 / us for us in ours], units[: len(ours)])
            found[f"protocol_{theirs.name}_vs_{native.name.partition('_')[0]}"] = figure.ratio(others, ours)
        else:
            found[f"protocol_{theirs.name}_vs_{native.name.partition('_')[0]}"] = slices.NEVER_QUIET
        for one in pair:
            found[f"protocol_{one.name}_processor_us"] = figure.median(processor[one.name])
    return {**found, "protocol_dropped": Figure(taken.dropped / taken.turns), "unit_us": figure.median(units)}


def _together(collector: Sequence[float], processor: Sequence[float]) -> list[float]:
    """Microseconds of an event in both: each slice of the collector with as many samples of the processor's as fit."""
    share = max(len(processor) // len(collector), 1)
    parts = [processor[at * share : (at + 1) * share] or processor for at in range(len(collector))]
    return [one + statistics.median(part) for one, part in zip(collector, parts, strict=True)]


def _collector(pace: Pace, units: list[float]) -> Taken:
    cores = server_core, load_core = needs.cores()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pixelpipe-bench-")))
        pubsub = stack.enter_context(served.pubsub(load_core))
        collector = stack.enter_context(served.collector(pubsub, server_core))
        groups = []
        for pair in PAIRS:
            group = []
            for one in pair:
                file = folder / one.name
                file.write_bytes(b"\n".join(one.kind.bodies(one.events)) + b"\n")
                with cpu.on(load_core):
                    arguments = (one.kind.path, HEADERS["content-type"], str(file))
                    load = stack.enter_context(Wrk(collector.port, CONNECTIONS, "trackers.lua", *arguments))
                group.append(Contender(one.name, [collector.pid], [load], collector.answered))
            groups.append(group)
        ours = [collector.pid, pubsub.process.pid, 0, *(one.loads[0].pid for group in groups for one in group)]
        watch = Stopwatch(cores, ours, pace.seconds)
        for group in groups:
            for contender in group:
                watch.warm(contender)
                watch.take(contender)  # warm

        def take(contender: Contender) -> Slice:
            found = watch.take(contender)
            units.append(unit.us())
            return found

        return slices.in_turns(groups, take, wanted=pace.wanted, most=pace.most, chance=random.Random())


def _processor(pair: Sequence[Sent], seconds: float, units: list[float]) -> dict[str, list[float]]:
    """CPU microseconds an event of each, sample by sample."""
    gc.set_threshold(50_000, 20, 20)  # as services/shared/lifecycle.py does
    tables = schema_file.load(schema.DEFAULT_FILE)
    benches = {one.name: WorkerBench(tables, one.kind.packs(one.events, PACK)) for one in pair}
    for bench in benches.values():
        bench.sample()  # caches fill once in the life of a process
        bench.rates.clear()
    until = time.monotonic() + seconds
    while time.monotonic() < until or len(benches[pair[0].name].rates) < 10:
        for bench in benches.values():
            bench.sample()
        units.append(unit.us())
    for bench in benches.values():
        bench.close()
    return {name: [1e6 / one for one in bench.rates] for name, bench in benches.items()}


if __name__ == "__main__":
    found = measure(quick="--quick" in sys.argv)
    print(json.dumps({name: [round(one.value, 3), round(one.spread, 3)] for name, one in found.items()}, indent=1))
