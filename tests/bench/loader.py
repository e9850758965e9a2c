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
import sys
from collections.abc import AsyncIterator
from contextlib import ExitStack
from typing import Any

import grpc
from google.cloud import pubsub_v1

from services.shared import resource_names
from tests import process
from tests.bench import emulators, processor, traffic
from tests.bench.backlog import Backlog
from tests.bench.emulators import Emulators
from tests.bench.figure import Figure, median, rate
from tests.bounds.soak import memory
from tests.loader.write_server import Request, Response

ROWS = 1_000  # in a pack
SINK_PACKS, EMULATOR_PACKS = 500, 300  # a round
ROUNDS, QUICK_ROUNDS = 7, 4


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


def measure(quick: bool = False) -> dict[str, Figure]:
    """The figures of the table above; with `quick` only those of the sink."""
    count = QUICK_ROUNDS if quick else ROUNDS
    with ExitStack() as stack:
        Emulators(stack)
        sink = stack.enter_context(process.running("tests.bench.loader", "sink"))
        publisher = pubsub_v1.PublisherClient()
        stack.callback(publisher.stop)
        packs = processor.typed(traffic.packs(8, ROWS))
        backlog = Backlog(publisher, resource_names.ROWS_TOPIC, packs, ROWS, "pixelpipe_loader_messages_acked_total")
        with emulators.service("loader", BIGQUERY_STORAGE_EMULATOR_HOST=f"127.0.0.1:{sink.ready['grpc']}") as loader:
            sunk = backlog.rounds(*loader, SINK_PACKS, count)
            most = memory(loader[0].process.pid, "VmHWM")
        busy = [wall / used for wall, used in zip(sunk.per_s, sunk.per_cpu_s, strict=True)]
        figures = {"loader_rows_per_s": rate(sunk.per_cpu_s, sunk.units), "loader_busy": median(busy)}
        units = sunk.units
        if not quick:
            with emulators.service("loader") as loader:
                stored = backlog.rounds(*loader, EMULATOR_PACKS, count)
                most = max(most, memory(loader[0].process.pid, "VmHWM"))
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
