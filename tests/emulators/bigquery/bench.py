"""How fast the BigQuery emulator takes rows and answers queries: `python -m tests.emulators.bigquery.bench`.

Starts the emulator as a child process, appends through the official clients, and prints one JSON line a figure.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime as dt
import json
import statistics
import tempfile
import threading
import time
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import grpc
import pyarrow as pa
from google.cloud import bigquery
from google.cloud.bigquery_storage import BigQueryWriteAsyncClient
from google.cloud.bigquery_storage_v1 import types
from google.cloud.bigquery_storage_v1.services.big_query_write.transports import BigQueryWriteGrpcAsyncIOTransport

from tests import process
from tests.emulators import bigquery_client as desk

KINDS = (
    ["STRING"] * 14 + ["INT64"] * 3 + ["FLOAT64", "BOOL", "TIMESTAMP", "TIMESTAMP", "NUMERIC", "JSON"]
)  # and day, id


def made(kind: str, place: int, count: int) -> pa.Array:
    rows = range(count)
    now = dt.datetime.now(dt.UTC)
    values: dict[str, Any] = {
        "STRING": lambda: pa.array([f"value {place} of row {row}" for row in rows]),
        "INT64": lambda: pa.array([row * place for row in rows], pa.int64()),
        "FLOAT64": lambda: pa.array([row / 7 for row in rows]),
        "BOOL": lambda: pa.array([row % 2 == 0 for row in rows]),
        "TIMESTAMP": lambda: pa.array([now] * count, pa.timestamp("us", tz="UTC")),
        "NUMERIC": lambda: pa.array([Decimal(row) / 100 for row in rows]).cast(pa.decimal128(38, 9)),
        "JSON": lambda: pa.array([json.dumps({"utm": {"source": "mail"}, "row": row, "q": "x" * 40}) for row in rows]),
    }
    return values[kind]()


def batch(count: int) -> pa.RecordBatch:
    arrays = {"day": pa.array([desk.TODAY] * count), "id": pa.array([f"{row:032x}" for row in range(count)])}
    arrays |= {f"c{place}": made(kind, place, count) for place, kind in enumerate(KINDS)}
    return pa.record_batch(arrays)


def table(client: bigquery.Client, name: str) -> None:
    fields = desk.FIELDS[:2] + [bigquery.SchemaField(f"c{place}", kind) for place, kind in enumerate(KINDS)]
    desk.table(client, name, fields=fields)


async def append(address: str, name: str, rows: pa.RecordBatch, times: int, ahead: int) -> list[float]:
    """Append the same batch again and again with up to `ahead` requests unanswered; seconds each answer took."""
    channel = grpc.aio.insecure_channel(address)
    client = BigQueryWriteAsyncClient(transport=BigQueryWriteGrpcAsyncIOTransport(channel=channel))
    room = asyncio.Semaphore(ahead)
    sent: list[float] = []

    async def requests() -> AsyncIterator[types.AppendRowsRequest]:
        again = desk.request(rows, first=False)
        for number in range(times):
            await room.acquire()
            sent.append(time.perf_counter())
            yield desk.request(rows, name) if number == 0 else again

    took: list[float] = []
    async for answer in await client.append_rows(requests(), retry=None, timeout=300):
        if answer.error.code:
            raise SystemExit(f"refused: {answer.error}")
        took.append(time.perf_counter() - sent[len(took)])
        room.release()
    await channel.close()
    return took


def report(what: str, **figures: float) -> None:
    print(json.dumps({"what": what, **{name: round(value, 2) for name, value in figures.items()}}), flush=True)


def milliseconds(took: list[float]) -> dict[str, float]:
    ordered = sorted(took)
    return {
        "p50_ms": statistics.median(ordered) * 1000,
        "p99_ms": ordered[int(len(ordered) * 0.99)] * 1000,
        "max_ms": ordered[-1] * 1000,
    }


class Asking(threading.Thread):
    """Queries without a pause until told to stop."""

    def __init__(self, client: bigquery.Client, sql: str) -> None:
        super().__init__()
        self._client, self._sql = client, sql
        self.stop = threading.Event()
        self.took: list[float] = []

    def run(self) -> None:
        while not self.stop.is_set():
            began = time.perf_counter()
            list(self._client.query_and_wait(self._sql))
            self.took.append(time.perf_counter() - began)


def large(client: bigquery.Client, address: str, times: int, *, beside: bool) -> None:
    name = "large_beside" if beside else "large"
    table(client, name)
    sql = f"SELECT c0, COUNT(*) AS c FROM d.{name} WHERE day = CURRENT_DATE() GROUP BY c0 ORDER BY c DESC LIMIT 5"
    asking = Asking(client, sql)
    if beside:
        asking.start()
    rows = batch(5_000)
    began = time.perf_counter()
    took = asyncio.run(append(address, desk.stream(client.project, name), rows, times, 4))
    rate = times * 5_000 / (time.perf_counter() - began)
    if beside:
        asking.stop.set()
        asking.join()
        report("queries beside appends", number=len(asking.took), **milliseconds(asking.took))
    report(f"5,000-row appends{' beside queries' if beside else ''}", rows_per_s=rate, **milliseconds(took))


def small(client: bigquery.Client, address: str, times: int, ahead: int) -> None:
    name = f"small_{ahead}"
    table(client, name)
    began = time.perf_counter()
    took = asyncio.run(append(address, desk.stream(client.project, name), batch(10), times, ahead))
    rate = times / (time.perf_counter() - began)
    report(f"10-row appends, {ahead} in flight", appends_per_s=rate, **milliseconds(took))


def queries(client: bigquery.Client, times: int) -> None:
    sql = "SELECT c0, COUNT(*) AS c FROM d.small_1 WHERE day = CURRENT_DATE() GROUP BY c0 ORDER BY c DESC LIMIT 5"
    for what, ask in (("jobs.query", client.query_and_wait), ("jobs.insert", lambda text: client.query(text).result())):
        took = []
        for _ in range(times):
            began = time.perf_counter()
            list(ask(sql))
            took.append(time.perf_counter() - began)
        report(f"{what} of a small table", **milliseconds(took))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--appends", type=int, default=100, help="large appends a run (default %(default)s)")
    times = parser.parse_args().appends
    with tempfile.TemporaryDirectory() as folder:
        data = str(Path(folder) / "bench.duckdb")
        with process.running("emulators.bigquery", "--rest-port", "0", "--grpc-port", "0", "--data", data) as running:
            client = desk.client(f"http://127.0.0.1:{running.ready['rest']}", "bench")
            address = f"127.0.0.1:{running.ready['grpc']}"
            large(client, address, times, beside=False)
            large(client, address, times, beside=True)
            small(client, address, times * 3, 1)
            small(client, address, times * 10, 16)
            queries(client, 100)
            began = time.perf_counter()
        report("stop and checkpoint", seconds=time.perf_counter() - began)


if __name__ == "__main__":
    main()
