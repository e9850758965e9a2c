"""One run: a storm over a few services and clients, then fair weather, then the checks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import structlog

from tests.simulation import checks
from tests.simulation.clients import Clients
from tests.simulation.fleet import Fleet, Parts
from tests.simulation.loop import Stalled, VirtualLoop
from tests.simulation.process import current, is_dead
from tests.simulation.world import FAULTS, World

# After the storm:
PROBED_SECONDS = 30.0  # a hit is taken at the first try
WELL_SECONDS = 45.0  # and no collector shows that anything was wrong
DRAINED_SECONDS = 150.0  # their spools are empty: after a disk that failed they look up to a minute apart
# And so long after that, at the latest, nothing is on its way: Pub/Sub waits up to ten minutes to deliver again.
SETTLED_SECONDS, SETTLED_TRIES = 750.0, 25

# The parts of the world that are hit together. Few at a time are hit more often, and reach what is rare.
STORMS = (
    [],
    ["publish"],
    ["publish", "disk"],
    ["publish", "disk", "crash"],
    ["pull", "append"],
    ["pull", "append", "crash"],
    list(FAULTS),
)


@dataclass(frozen=True)
class Result:
    seed: int
    problems: list[str]
    trace_hash: str
    lines: list[str]  # the end of the trace
    counts: dict[str, int]  # how often each fault struck, and what was done
    seconds: float  # virtual

    def __str__(self) -> str:
        return "\n".join([f"seed {self.seed}: python -m tests.simulation --seed {self.seed} --trace", *self.problems])


def simulate(seed: int, parts: Parts | None = None) -> Result:
    loop = VirtualLoop()
    world = World(seed, loop)
    loop.set_exception_handler(lambda _, context: _unhandled(world, context))
    with _logs_into(world):
        fleet = Fleet(world, parts or Parts())
        try:
            loop.run_until_complete(_run(world, fleet))
        except Stalled as error:
            world.problem(str(error))
        result = Result(seed, world.problems, world.trace_hash, list(world.lines), dict(world.counts), loop.time())
        for process in fleet.all:
            process.kill()
        _close(loop)
    return result


async def _run(world: World, fleet: Fleet) -> None:
    random = world.random
    clients = Clients(fleet)
    mains = {"collector": fleet.collector, "processor": fleet.processor, "loader": fleet.loader}
    tasks = [
        asyncio.create_task(fleet.keep(f"{name}-{number}", main))
        for name, main in mains.items()
        for number in range(random.choice((1, 1, 2)))
    ]
    tasks.append(asyncio.create_task(world.storm(random.choice(STORMS))))
    if world.chance(0.5):
        tasks.append(asyncio.create_task(fleet.disturb()))
    if world.chance(0.3):
        tasks.append(asyncio.create_task(clients.foreign()))
    sending = [asyncio.create_task(clients.run(number)) for number in range(random.randint(1, 4))]
    await asyncio.sleep(world.until + PROBED_SECONDS)
    probe = asyncio.create_task(clients.probe())
    await _check(world, world.until + WELL_SECONDS, lambda: checks.well(fleet))
    await _check(world, world.until + WELL_SECONDS, lambda: checks.alive(fleet))
    await _check(world, world.until + DRAINED_SECONDS, lambda: checks.drained(fleet))
    for _ in range(SETTLED_TRIES):
        if not any(checks.settled(fleet, clients)):
            break
        await asyncio.sleep(SETTLED_SECONDS / SETTLED_TRIES)
    await _check(world, 0, lambda: checks.settled(fleet, clients))
    await _check(world, 0, lambda: checks.reconciled(fleet))
    await _check(world, 0, lambda: checks.left_running(fleet))
    world.counts["events"] = len(clients.events)
    world.counts["processes"] = len(fleet.all)
    for task in (probe, *sending, *tasks):
        if task.done():
            task.result()  # an error of the simulation's own
        task.cancel()


async def _check(world: World, at: float, check: Callable[[], Iterable[str]]) -> None:
    await asyncio.sleep(max(0.0, at - world.loop.time()))
    for text in check():
        world.problem(text)


def _unhandled(world: World, context: dict[str, Any]) -> None:
    error = context.get("exception")
    if not is_dead(error):
        world.problem(f"{context['message']}: {error!r}")


@contextmanager
def _logs_into(world: World) -> Iterator[None]:
    """Have the services' log lines in the trace. One with a traceback is an error that nobody foresaw."""

    def keep(_logger: Any, method: str, event: dict[str, Any]) -> dict[str, Any]:
        process = current.get()
        if process is None or process.alive:
            name = process.name if process else "nobody"
            world.show(name, method, event["event"])  # some lines keep to a clock of their own
            if event.get("exc_info"):
                world.problem(f"{name}: {event['event']}")
        raise structlog.DropEvent

    processors = structlog.get_config()["processors"]
    before = processors.copy()
    processors[:] = [keep]
    try:
        yield
    finally:
        processors[:] = before


def _close(loop: VirtualLoop) -> None:
    """Cancel what still runs, and let it end."""
    while tasks := asyncio.all_tasks(loop):
        for task in tasks:
            task.cancel()
        loop.run_until_complete(asyncio.wait(tasks))
    loop.close()
