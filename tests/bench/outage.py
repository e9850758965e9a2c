"""How fast replies are while Pub/Sub is away: `make bench ONLY=outage`.

A collector with a spool and a Pub/Sub emulator, each its own process, under the same steady load: healthy, blackholed,
healthy, killed, and so on. A latency counts from when its request was due, so that a stall costs all it keeps waiting.
An outage is measured from when the breaker is open; the worst reply of the time before it is `opening_worst_ms`.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import signal
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack

from services.collector.breaker import CLOSED, OPEN
from tests import admin, process
from tests.bench.figure import Figure
from tests.bench.pipeline import percentile
from tests.bounds.soak import read_status
from tests.process import Child, wait_for
from tests.topics import Topics
from tests.waiting import until

RATE = 500.0  # requests a second
WARM = 1_000  # requests that count in nothing
CONNECTIONS = 64
SECONDS = 4.0  # of each measurement
BUSY = 0.1  # seconds a usual reply takes where there is no room for the load: a ratio to that would flatter an outage
PIXEL = b"GET /i?user_id=u1&type=view&note=caf%C3%A9 HTTP/1.1\r\nHost: t\r\nUser-Agent: bench\r\n\r\n"


class Load:
    """Pixels at a steady rate; `seen` has when each was due and its latency, infinity for one that is no 200."""

    def __init__(self, port: int, rate: float = RATE, connections: int = CONNECTIONS) -> None:
        self._port, self._rate, self._connections = port, rate, connections
        self.seen: list[tuple[float, float]] = []

    async def run(self, stop: asyncio.Event) -> None:
        due = self._due(stop)
        async with asyncio.TaskGroup() as tasks:
            for _ in range(self._connections):
                tasks.create_task(self._connection(due))

    def _due(self, stop: asyncio.Event) -> Iterator[float]:
        moment = time.perf_counter()
        while not stop.is_set():
            yield moment
            moment += 1 / self._rate

    async def _connection(self, due: Iterator[float]) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        for moment in due:
            await asyncio.sleep(max(0.0, moment - time.perf_counter()))
            writer.write(PIXEL)
            status = await read_status(reader)
            self.seen.append((moment, time.perf_counter() - moment if status == 200 else float("inf")))
        writer.close()

    def due_in(self, spans: list[tuple[float, float]]) -> list[float]:
        """The latencies of the requests that were due in any of these times."""
        return [latency for due, latency in self.seen if any(begin <= due < end for begin, end in spans)]


class Bench:
    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self.port = process.free_port()
        self.project = f"bench-{uuid.uuid4().hex[:8]}"
        os.environ["PUBSUB_EMULATOR_HOST"] = f"127.0.0.1:{self.port}"
        self.up()
        spool = stack.enter_context(tempfile.TemporaryDirectory(prefix="pixelpipe-outage-"))
        settings = {"PIPE_SHUTDOWN_TIMEOUT_SECONDS": "1", "PIPE_SPOOL": spool}
        self.collector = process.start_collector(self.project, **settings)
        stack.callback(self.collector.stop)

    def up(self) -> None:
        options = ("--port", str(self.port), "--control-port", "0")
        self.pubsub: Child = process.start("emulators.pubsub", *options)
        self._stack.callback(self.pubsub.stop)
        Topics(self.project).create("hits", "work")

    def killed(self) -> None:
        self.pubsub.stop(signal.SIGKILL)

    def blackholed(self) -> None:
        self._control("POST", json.dumps({"effect": "blackhole"}))

    def cleared(self) -> None:
        self._control("DELETE", None)

    def _control(self, method: str, body: str | None) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.pubsub.ready["control"], timeout=10)
        connection.request(method, "/faults", body)
        answer = connection.getresponse()
        assert answer.status < 300, answer.read()
        connection.close()

    def until_breaker(self, state: int) -> None:
        """Wait for the breaker; for CLOSED also until the spool is empty, whose draining is no healthy time."""

        def is_there() -> bool:
            spooled = self._metric("pixelpipe_collector_spool_packs")
            return self._metric("pixelpipe_collector_breaker_state") == state and (state == OPEN or not spooled)

        wait_for(is_there, 60, f"the breaker to be {state}")

    def _metric(self, name: str) -> float:
        return admin.metrics(self.collector.ready["admin_port"])[name]


def measure(quick: bool = False) -> dict[str, Figure]:
    """The p99 of replies in an outage, over the healthy p99 at the same load, and both in milliseconds."""
    with ExitStack() as stack:
        return asyncio.run(_measure(Bench(stack), 1 if quick else 2))


async def _measure(bench: Bench, rounds: int) -> dict[str, Figure]:
    load, stop = Load(bench.collector.ready["port"]), asyncio.Event()
    running = asyncio.create_task(load.run(stop))
    now = time.perf_counter
    spans: dict[str, list[tuple[float, float]]] = {"healthy": [], "opening": [], "outage": []}
    try:
        await until(lambda: len(load.seen) >= WARM, "the first replies")
        for _ in range(rounds):
            for fail, repair in ((bench.blackholed, bench.cleared), (bench.killed, bench.up)):
                begin = now()
                await asyncio.sleep(SECONDS)
                spans["healthy"].append((begin, begin := now()))
                await asyncio.to_thread(fail)
                await asyncio.to_thread(bench.until_breaker, OPEN)
                spans["opening"].append((begin, begin := now()))
                await asyncio.sleep(SECONDS)
                spans["outage"].append((begin, now()))
                await asyncio.to_thread(repair)
                await asyncio.to_thread(bench.until_breaker, CLOSED)
    finally:
        stop.set()
        await running
    healthy, opening, outage = (load.due_in(spans[name]) for name in ("healthy", "opening", "outage"))
    usual = percentile(healthy, 0.5)
    assert usual < BUSY, f"this machine is too busy: a reply takes {usual:.2f} s without any outage"
    healthy_p99, outage_p99 = percentile(healthy, 0.99), percentile(outage, 0.99)
    return {
        "outage_p99_ratio": Figure(outage_p99 / healthy_p99),
        "healthy_p50_ms": Figure(percentile(healthy, 0.5) * 1000),
        "healthy_p99_ms": Figure(healthy_p99 * 1000),
        "outage_p50_ms": Figure(percentile(outage, 0.5) * 1000),
        "outage_p99_ms": Figure(outage_p99 * 1000),
        "opening_worst_ms": Figure(max(opening) * 1000),
    }
