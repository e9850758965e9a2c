"""How fast one loader is: `python -m tests.bench.loader [--quick]` prints one JSON object.

The loader, the Pub/Sub emulator and BigQuery, each its own process. In each round the loader is paused, packs of 1,000
rows are published, and it goes on until it has acknowledged all. `sink` instead of `--quick` is a BigQuery that only
counts, so that what is measured is the loader.

| figure | what |
| --- | --- |
| `loader_rows_per_s` | rows per CPU second of the loader, into the sink: what one core does that is given to it alone |
| `loader_emulator_rows_per_s` | rows per second, into the BigQuery emulator: on two cores that all processes share |
| `loader_busy` | CPU seconds of the loader per second, into the sink: 1 is one core |
| `rss_loader_mb` | most memory it had resident, of both |
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import grpc
from google.cloud import pubsub_v1

from services.shared import identity, names
from services.shared.pubsub import topic_path
from tests import admin, child
from tests.bench import cpu, processor, traffic, unit
from tests.bench.figure import Figure, median, rate
from tests.bounds.soak import memory
from tests.child import Child, wait_for
from tests.loader.write_server import Request, Response

PROJECT, ROWS = "bench", 1_000  # rows in a pack
SINK_PACKS, EMULATOR_PACKS = 500, 300  # a round
ROUNDS, QUICK_ROUNDS = 7, 4
LONGEST = 120  # seconds of a round


async def count() -> None:
    """Be a BigQuery that takes everything at once."""

    async def append_rows(requests: AsyncIterator[Any], _context: Any) -> AsyncIterator[Any]:
        async for _ in requests:
            response = Response()
            response.append_result.SetInParent()
            yield response

    server = grpc.aio.server(options=[("grpc.max_receive_message_length", -1)])
    handler = grpc.stream_stream_rpc_method_handler(
        append_rows, request_deserializer=Request.FromString, response_serializer=Response.SerializeToString
    )
    service = "google.cloud.bigquery.storage.v1.BigQueryWrite"
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {"AppendRows": handler}),))
    print(json.dumps({"grpc": server.add_insecure_port("127.0.0.1:0")}), flush=True)
    await server.start()
    await server.wait_for_termination()


@dataclass
class Rounds:
    """What each round of one loader was, and the unit beside it."""

    per_s: list[float] = field(default_factory=list)
    per_cpu_s: list[float] = field(default_factory=list)
    units: list[float] = field(default_factory=list)


class Bench:
    """Everything but the loader, until the stack is left."""

    def __init__(self, stack: ExitStack) -> None:
        self._data = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pixelpipe-bench-")))
        pubsub = stack.enter_context(child.running("services.local.pubsub", "--port", "0"))
        options = ("--rest-port", "0", "--grpc-port", "0", "--data", str(self._data / "bigquery.duckdb"))
        bigquery = stack.enter_context(child.running("services.local.bigquery", *options))
        sink = stack.enter_context(child.running("tests.bench.loader", "sink"))
        self.sink, self.emulator = (f"127.0.0.1:{one.ready['grpc']}" for one in (sink, bigquery))
        addresses = {
            "PUBSUB_EMULATOR_HOST": f"127.0.0.1:{pubsub.ready['grpc']}",
            "BIGQUERY_EMULATOR_HOST": f"http://127.0.0.1:{bigquery.ready['rest']}",
            "PIPE_PROJECT": PROJECT,
        }
        stack.enter_context(patch.dict(os.environ, addresses))
        provision = child.start("services.provision", wait_ready=False)
        assert provision.process.wait(60) == 0, provision.output()
        provision.log.unlink()
        self._publisher = pubsub_v1.PublisherClient()
        stack.callback(self._publisher.stop)
        self._packs = processor.typed(traffic.packs(8, ROWS))

    @contextmanager
    def loader(self, bigquery: str) -> Iterator[tuple[Child, int]]:
        """One that is ready, and its admin port."""
        port = child.free_port()
        env = {"PIPE_HOST": "127.0.0.1", "PIPE_ADMIN_PORT": str(port), "BIGQUERY_STORAGE_EMULATOR_HOST": bigquery}
        started = child.start("services.loader", env=env, wait_ready=False)
        try:
            wait_for(lambda: admin.ready(port), 30, "the loader to be ready")
            yield started, port
        finally:
            started.stop()
            started.log.unlink()

    def rounds(self, loader: Child, port: int, packs: int, count: int) -> Rounds:
        """The first is to open connections and not counted."""
        found = Rounds()
        for number in range(count + 1):
            loader.process.send_signal(signal.SIGSTOP)
            try:
                self._publish(packs)
                units = [unit.us() for _ in range(5)]
            finally:
                loader.process.send_signal(signal.SIGCONT)
            began, used = time.monotonic(), cpu.of(loader.process.pid)
            self._until(port, packs * (number + 1), packs)
            took, used = time.monotonic() - began, cpu.of(loader.process.pid) - used
            if number:
                found.per_s.append(packs * ROWS / took)
                found.per_cpu_s.append(packs * ROWS / used)
                found.units.append(statistics.median([*units, *(unit.us() for _ in range(5))]))
        return found

    def _publish(self, packs: int) -> None:
        now = time.time_ns() // 1000
        futures = []
        for number in range(packs):
            data, attributes = self._packs[number % len(self._packs)]
            again = {**attributes, "pack": identity.uuid7(now)}  # a pack that is known is not written
            futures.append(self._publisher.publish(topic_path(PROJECT, names.ROWS_TOPIC), data, **again))
        for future in futures:
            future.result(30)

    def _until(self, port: int, acked: int, packs: int) -> None:
        """Every look costs the loader a millisecond or two: few of them."""
        end = time.monotonic() + LONGEST
        while admin.metrics(port)["pixelpipe_loader_messages_acked_total"] < acked:
            assert time.monotonic() < end, f"the loader did not write {packs * ROWS} rows in {LONGEST} s"
            time.sleep(0.1)


def measure(quick: bool = False) -> dict[str, Figure]:
    """The figures of the table above; with `quick` only those of the sink."""
    count = QUICK_ROUNDS if quick else ROUNDS
    with ExitStack() as stack:
        bench = Bench(stack)
        with bench.loader(bench.sink) as (loader, port):
            sunk = bench.rounds(loader, port, SINK_PACKS, count)
            most = memory(loader.process.pid, "VmHWM")
        busy = median([wall / used for wall, used in zip(sunk.per_s, sunk.per_cpu_s, strict=True)])
        figures = {"loader_rows_per_s": rate(sunk.per_cpu_s, sunk.units), "loader_busy": busy}
        units = sunk.units
        if not quick:
            with bench.loader(bench.emulator) as (loader, port):
                stored = bench.rounds(loader, port, EMULATOR_PACKS, count)
                most = max(most, memory(loader.process.pid, "VmHWM"))
            figures["loader_emulator_rows_per_s"] = rate(stored.per_s, stored.units)
            figures["rss_loader_mb"] = Figure(most)
            units = [*units, *stored.units]
        return {**figures, "unit_us": median(units)}


if __name__ == "__main__":
    if sys.argv[1:] == ["sink"]:
        asyncio.run(count())
    else:
        found = measure(quick="--quick" in sys.argv)
        print(json.dumps({name: [round(one.value, 3), round(one.spread, 3)] for name, one in found.items()}, indent=1))
