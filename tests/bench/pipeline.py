"""The whole stack at a steady 1,000 hits a second: how soon a hit is a row in the view, and what messages weigh.

`make run`'s supervisor, emulators and services, the load and the reader are all on this machine. Visible is from when
the 200 was read until an answer of the view had the row, so it is late by the time between two looks at most:
`visible_resolution_s` is a look and the pause after it. A tenth of the hits is looked for. The view is asked for those
ids alone that are not older than the oldest one missing (UUIDv7s are in order of time), which BigQuery's emulator
answers from the newest rows.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import aiohttp

from services.shared import identity
from tests import admin
from tests.bench import cost, traffic
from tests.bench.figure import Figure, median
from tests.bounds.soak import read_status
from tests.local import run_stack
from tests.local.run_stack import Stack
from tests.process import wait_for

RATE, CONNECTIONS = 1_000.0, 64
SECONDS, QUICK_SECONDS, WARM = 60.0, 10.0, 3.0
SLICES = 6
PROBE_EVERY = 10  # hits
PAUSE = 0.1  # seconds between looks
LATE = 2.0  # seconds the load may be behind its clock; more is another rate
WAIT = 60  # seconds for the last rows
OTHER_SECONDS = 10.0  # of the run with the other linger
SERVICES = ("collector", "processor", "loader")


@dataclass
class Seen:
    """When probes were acknowledged and found in the view, on one clock."""

    acknowledged: dict[str, float] = field(default_factory=dict)
    waits: list[tuple[float, float]] = field(default_factory=list)  # since the ack, and how long
    looks: list[float] = field(default_factory=list)  # seconds each
    hits: int = 0
    refused: int = 0
    late: float = 0.0  # seconds the load was behind its clock at worst


async def _load(port: int, seconds: float, seen: Seen) -> None:
    chance = random.Random(7)
    common = traffic.agents(chance)
    begin = time.perf_counter()

    def requests() -> Iterator[tuple[float, str | None, bytes]]:
        number = 0
        while number < seconds * RATE:
            now = time.time_ns() // 1000
            probe = identity.uuid7(now) if number % PROBE_EVERY == 0 else None
            query = traffic.query(chance, now) + (f"&event_id={probe}&order_id=probe" if probe else "")
            head = f"Host: t\r\nUser-Agent: {chance.choice(common)}\r\nReferer: https://shop.example.com/\r\n"
            yield begin + number / RATE, probe, f"GET /pixel.gif?{query} HTTP/1.1\r\n{head}\r\n".encode()
            number += 1

    waiting = requests()

    async def connection() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for due, probe, request in waiting:
            pause = due - time.perf_counter()
            seen.late = max(seen.late, -pause)
            if pause > 0:
                await asyncio.sleep(pause)
            writer.write(request)
            if await read_status(reader) != 200:
                seen.refused += 1
                continue
            seen.hits += 1
            if probe:
                seen.acknowledged[probe] = time.perf_counter()
        writer.close()

    async with asyncio.TaskGroup() as tasks:
        for _ in range(CONNECTIONS):
            tasks.create_task(connection())


async def _watch(url: str, seen: Seen, loading: asyncio.Task[None]) -> None:
    """Look at the view until every probe was found. AssertionError for one that never comes."""
    since, end = datetime.now(UTC).date(), 0.0
    async with aiohttp.ClientSession() as http:
        while not loading.done() or seen.acknowledged:
            await asyncio.sleep(PAUSE)
            if loading.done():
                end = end or time.perf_counter() + WAIT
                assert time.perf_counter() < end, f"{len(seen.acknowledged)} hits are in no view after {WAIT} s"
            if not seen.acknowledged:
                continue
            oldest = min(seen.acknowledged)
            sql = (
                f"SELECT event_id FROM pixelpipe.events WHERE day >= '{since}' AND event_id >= '{oldest}' "
                "AND order_id = 'probe'"
            )
            began = time.perf_counter()
            request = {"query": sql, "useLegacySql": False, "timeoutMs": 60_000}
            async with http.post(f"{url}/bigquery/v2/projects/local/queries", json=request) as answer:
                found = await answer.json()
            now = time.perf_counter()
            assert found.get("jobComplete"), found
            seen.looks.append(now - began)
            for row in found.get("rows", ()):
                acknowledged = seen.acknowledged.pop(row["f"][0]["v"], None)
                if acknowledged is not None:
                    seen.waits.append((acknowledged, now - acknowledged))


async def _fire(stack: Stack, seconds: float) -> Seen:
    seen = Seen()
    loading = asyncio.create_task(_load(stack.running().ports.collector, seconds, seen))
    await _watch(stack.url("bigquery"), seen, loading)
    await loading
    return seen


def _run(seconds: float, **env: str) -> tuple[Seen, dict[str, float]]:
    """One stack, and the metrics of its services when all is loaded."""
    with ExitStack() as context:
        data = Path(context.enter_context(tempfile.TemporaryDirectory(prefix="pixelpipe-bench-")))
        stack = context.enter_context(run_stack.running(data, **env))
        seen = asyncio.run(_fire(stack, seconds))
        assert not seen.refused, f"{seen.refused} hits were refused"
        assert seen.late < LATE, (
            f"this machine is too busy: the load was {seen.late:.1f} s behind, not {RATE:.0f} a second"
        )
        ports = stack.running().ports

        def loaded() -> bool:
            return admin.metrics(ports.loader_admin)["pixelpipe_loader_rows_loaded_total"] >= seen.hits

        wait_for(loaded, WAIT, f"{seen.hits} rows")
        merged: dict[str, float] = {}
        for name in SERVICES:
            merged |= admin.metrics(getattr(ports, f"{name}_admin"))
        return seen, merged


def measure(quick: bool = False) -> dict[str, Figure]:
    """`visible_*_s`, and `dollars_per_million` of that run, of one with a shorter linger, and by rate."""
    seen, metrics = _run((QUICK_SECONDS if quick else SECONDS) + WARM)
    sizes = cost.measured(metrics)
    figures = {
        **_visible(seen),
        "load_late_s": Figure(seen.late),
        "pack_hits": Figure(sizes.hits),
        "hits_pack_bytes": Figure(sizes.hits_pack),
        "rows_pack_bytes": Figure(sizes.rows_pack),
        "row_bytes": Figure(sizes.row),
        "dollars_per_million": Figure(sizes.dollars(RATE)),
        "dollars_per_million_nothing_free": Figure(sizes.dollars(RATE, free=False)),
    }
    if not quick:
        linger = cost.LINGERS[-1]
        other = cost.measured(_run(OTHER_SECONDS, PIPE_LINGER_SECONDS=str(linger))[1])
        figures[f"dollars_per_million_linger_{linger * 1000:.0f}_ms"] = Figure(other.dollars(RATE))
    return {**figures, **cost.by_rate()}


def _visible(seen: Seen) -> dict[str, Figure]:
    """Percentiles of all; the spread is that of slices of the time."""
    begin = min(at for at, _ in seen.waits) + WARM
    waits = [(at - begin, wait) for at, wait in seen.waits if at >= begin]
    length = max(at for at, _ in waits) / SLICES
    slices: list[list[float]] = [[] for _ in range(SLICES)]
    for at, wait in waits:
        slices[min(SLICES - 1, int(at / length))].append(wait)
    found = {}
    for share in (50, 99):
        whole = percentile([wait for _, wait in waits], share / 100)
        spread = median([percentile(one, share / 100) for one in slices if one]).spread
        found[f"visible_p{share}_s"] = Figure(whole, spread)
    return {**found, "visible_resolution_s": Figure(PAUSE + statistics.median(seen.looks))}


def percentile(values: list[float], share: float) -> float:
    """The value that this share of the values does not exceed, or just above it."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]
