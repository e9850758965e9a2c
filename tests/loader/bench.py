"""How fast one loader is: `python -m tests.loader.bench [PACKS] [ROWS_A_PACK]`.

A Pub/Sub emulator, a BigQuery that takes everything at once, and the loader, each a process. Prints one JSON line.
`python -m tests.loader.bench sink` is that BigQuery.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import sys
import time
import urllib.request
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc

from tests import child
from tests.loader import rig
from tests.loader.rows_made import events
from tests.loader.write_server import Request, Response

TICKS = os.sysconf("SC_CLK_TCK")


async def take_everything() -> None:
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


def measure(packs: int, rows_a_pack: int) -> dict[str, float]:
    project, port = f"bench-{uuid.uuid4().hex[:8]}", child.free_port()
    with (
        child.running("services.local.pubsub", "--port", "0") as pubsub,
        child.running("tests.loader.bench", "sink") as sink,
    ):
        os.environ["PUBSUB_EMULATOR_HOST"] = f"127.0.0.1:{pubsub.ready['grpc']}"
        os.environ["BIGQUERY_STORAGE_EMULATOR_HOST"] = f"127.0.0.1:{sink.ready['grpc']}"
        topics = rig.RowTopics(project)
        batch = events(0, rows_a_pack)
        for _ in range(packs):
            topics.publish_rows(batch)
        env = {"PIPE_PROJECT": project, "PIPE_HOST": "127.0.0.1", "PIPE_ADMIN_PORT": str(port)}
        loader = child.start("services.loader", env=env, wait_ready=False)
        try:
            samples: list[tuple[float, float, float]] = []  # when, packs acknowledged, CPU seconds

            def acked() -> bool:
                try:
                    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
                        text = answer.read().decode()
                except OSError:
                    return False
                count = float(text.split("\npixelpipe_loader_messages_acked_total ")[1].split()[0])
                fields = Path(f"/proc/{loader.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
                samples.append((time.monotonic(), count, (int(fields[11]) + int(fields[12])) / TICKS))
                return count >= packs

            child.wait_for(acked, timeout=120, what="all packs")
            peak = next(
                line for line in Path(f"/proc/{loader.process.pid}/status").read_text().splitlines() if "VmHWM" in line
            )
        finally:
            loader.stop()
            loader.log.unlink()
        topics.close()
    first, last = samples[0], samples[-1]
    rows = (last[1] - first[1]) * rows_a_pack
    return {
        "rows": rows,
        "rows_per_second": round(rows / (last[0] - first[0])),
        "cpu_us_per_row": round((last[2] - first[2]) * 1e6 / rows, 2),
        "cpu_us_per_pack": round((last[2] - first[2]) * 1e6 / (last[1] - first[1]), 1),
        "peak_mb": int(peak.split()[1]) // 1024,
        "publisher_cpu": round(resource.getrusage(resource.RUSAGE_SELF).ru_utime, 1),
    }


if __name__ == "__main__":
    if sys.argv[1:] == ["sink"]:
        asyncio.run(take_everything())
    else:
        given = [int(argument) for argument in sys.argv[1:]]
        print(json.dumps(measure(*(given + [2_000, 1_000][len(given) :]))))
