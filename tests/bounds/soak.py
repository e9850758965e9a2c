"""Memory through a long outage: `python -m tests.bounds.soak --minutes 5 --rate 2000 --down pubsub`.

The local stack under a steady load while Pub/Sub or BigQuery is down, then until everything acknowledged is in
BigQuery. Prints one JSON object; the exit code is 1 if a service grew over the bound or a hit was lost.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from local import fault_command
from tests import admin
from tests.local import run_stack
from tests.local.run_stack import Stack
from tests.process import wait_for

SERVICES = ("collector", "processor", "loader")
BOUND_MB = 300
BATCH = 100  # events in one POST
PIXELS = 0.05  # of the hits
CONNECTIONS = 32
WAIT = 600  # seconds for the rows, at most

_EVENT = (
    '{"user_id":"user-%d","tenant":"shop-%d","type":"view","order_id":"%s",'
    '"url":"https://shop.example.com/products/%d?from=mail","note":"caf\u00e9 au lait"}'
)


@dataclass
class Load:
    """Fires at a steady rate, and keeps how many hits of each request were acknowledged, by its `order_id`."""

    port: int
    rate: float
    acknowledged: dict[str, int] = field(default_factory=dict)
    refused: int = 0
    late: float = 0.0  # seconds the load was behind its clock at worst

    async def run(self, stop: asyncio.Event) -> None:
        batches = self._paced(self.rate * (1 - PIXELS) / BATCH, stop, "b")
        pixels = self._paced(self.rate * PIXELS, stop, "p")
        async with asyncio.TaskGroup() as tasks:
            for number in range(CONNECTIONS):
                tasks.create_task(self._connection(batches if number % 2 else pixels))

    def _paced(self, per_second: float, stop: asyncio.Event, kind: str) -> Iterator[tuple[float, str]]:
        begin = time.monotonic()
        number = 0
        while not stop.is_set():
            yield begin + number / per_second, f"{kind}-{number}"
            number += 1

    async def _connection(self, requests: Iterator[tuple[float, str]]) -> None:
        reader: asyncio.StreamReader | None = None
        writer: asyncio.StreamWriter | None = None
        for due, name in requests:
            wait = due - time.monotonic()
            self.late = max(self.late, -wait)
            await asyncio.sleep(max(0.0, wait))
            hits = BATCH if name.startswith("b") else 1
            try:
                if reader is None or writer is None:
                    reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
                writer.write(_request(name, hits))
                status = await asyncio.wait_for(read_status(reader), 60)
            except (OSError, EOFError, TimeoutError):
                if writer is not None:
                    writer.close()
                reader = writer = None
                status = 0
            if status in (200, 204):
                self.acknowledged[name] = hits
            else:
                self.refused += hits
        if writer is not None:
            writer.close()


def _request(name: str, hits: int) -> bytes:
    number = hash(name)
    if hits == 1:
        return f"GET /i?user_id=u{number % 1000}&type=view&order_id={name} HTTP/1.1\r\nHost: t\r\n\r\n".encode()
    lines = (_EVENT % (number % 9973 + one, one % 7, name, one) for one in range(hits))
    body = "\n".join(lines).encode()
    head = (
        f"POST /events HTTP/1.1\r\nHost: t\r\nContent-Type: application/x-ndjson\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def read_status(reader: asyncio.StreamReader) -> int:
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = 0
    for line in head.split(b"\r\n"):
        if line.startswith(b"content-length:"):
            length = int(line.partition(b":")[2])
    await reader.readexactly(length)
    return int(head.split(b" ", 2)[1])


@dataclass
class Memory:
    """The largest resident size of each service, in MB, by phase."""

    pids: dict[str, int]
    most: dict[str, dict[str, float]] = field(default_factory=dict)

    async def sample(self, phase: dict[str, str], stop: asyncio.Event) -> None:
        while not stop.is_set():
            most = self.most.setdefault(phase["now"], dict.fromkeys(SERVICES, 0.0))
            for name in SERVICES:
                most[name] = max(most[name], memory(self.pids[name]))
            await asyncio.sleep(1)


def memory(pid: int, what: str = "VmRSS") -> float:
    """MB a process has in memory, or with VmHWM had at most."""
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith(what))
    return round(int(line.split()[1]) / 1024, 1)


def metrics(stack: Stack, service: str) -> dict[str, float]:
    """Every sample of a service's admin port, summed over its labels."""
    return admin.metrics(getattr(stack.running().ports, f"{service}_admin"))


def faults(how: str, seconds: float) -> list[dict[str, Any]]:
    if how == "blackhole":
        return [{"effect": "blackhole", "seconds": seconds}]
    return [{"effect": "error", "seconds": seconds}, {"effect": "drop_stream", "seconds": seconds}]


async def soak(stack: Stack, *, down: str, how: str, seconds: float, rate: float, around: float) -> dict[str, Any]:
    load = Load(stack.running().ports.collector, rate)
    resident, phase = Memory(stack.pids()), {"now": "before"}
    stop_load, stop_sampling = asyncio.Event(), asyncio.Event()
    sampling = asyncio.create_task(resident.sample(phase, stop_sampling))
    loading = asyncio.create_task(load.run(stop_load))
    await asyncio.sleep(around)
    phase["now"] = "outage"
    for fault in faults(how, seconds):
        await asyncio.to_thread(fault_command.fault, stack.data, down, json.dumps(fault), clear=False, remove=None)
    await asyncio.sleep(seconds)
    phase["now"] = "recovery"
    ended = time.monotonic()
    held = {name: await asyncio.to_thread(metrics, stack, name) for name in SERVICES}
    await asyncio.sleep(around)
    stop_load.set()
    await loading
    acknowledged = sum(load.acknowledged.values())

    def all_loaded() -> bool:
        return metrics(stack, "loader")["pixelpipe_loader_rows_loaded_total"] >= acknowledged

    await asyncio.to_thread(wait_for, all_loaded, WAIT, f"{acknowledged} rows")
    recovered = time.monotonic() - ended
    visible = {
        row["order_id"]: row["hits"]
        for row in await asyncio.to_thread(
            stack.rows, "SELECT order_id, COUNT(*) AS hits FROM pixelpipe.events GROUP BY order_id"
        )
    }
    stop_sampling.set()
    await sampling
    log_rows = (await asyncio.to_thread(stack.rows, "SELECT COUNT(*) AS hits FROM pixelpipe.events_log"))[0]["hits"]
    after = {name: await asyncio.to_thread(metrics, stack, name) for name in SERVICES}
    return {
        "down": down,
        "how": how,
        "outage_s": seconds,
        "rate": rate,
        "rss_mb": resident.most,
        "acknowledged": acknowledged,
        "refused": load.refused,
        "visible": sum(visible.get(name, 0) for name in load.acknowledged),
        "lost": sum(max(0, hits - visible.get(name, 0)) for name, hits in load.acknowledged.items()),
        "duplicated_physical": log_rows - sum(visible.values()),
        "recover_s": round(recovered, 1),
        "load_late_s": round(load.late, 2),
        "spooled_at_end": held["collector"]["pixelpipe_collector_spool_hits"],
        "held_rows_at_end": held["loader"]["pixelpipe_loader_held_rows"],
        "redelivered": {
            "processor": after["processor"]["pixelpipe_processor_messages_redelivered_total"],
            "loader": after["loader"]["pixelpipe_loader_messages_redelivered_total"],
        },
    }


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bounds.soak", description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=5, help="of outage (%(default)s)")
    parser.add_argument("--rate", type=float, default=2000, help="hits a second (%(default)s)")
    parser.add_argument("--down", choices=("pubsub", "bigquery"), default="pubsub", help="what fails (%(default)s)")
    parser.add_argument("--how", choices=("error", "blackhole"), default="error", help="(%(default)s)")
    parser.add_argument("--around", type=float, default=10, help="seconds of load before and after (%(default)s)")
    options = parser.parse_args()
    with ExitStack() as stack:
        data = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pixelpipe-soak-")))
        running = stack.enter_context(run_stack.running(data))
        outcome = asyncio.run(
            soak(
                running,
                down=options.down,
                how=options.how,
                seconds=options.minutes * 60,
                rate=options.rate,
                around=options.around,
            )
        )
    print(json.dumps(outcome))
    over = [size for phase in outcome["rss_mb"].values() for size in phase.values() if size >= BOUND_MB]
    return 1 if over or outcome["lost"] else 0


if __name__ == "__main__":
    sys.exit(main())
