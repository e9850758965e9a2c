"""A simulated BigQuery: the tables, the views over them, and the Storage Write API as the loader uses it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from services.loader.write_api import AppendError, RowErrors
from services.provision.view import source_column
from services.shared.schema import Schema
from services.shared.tally_table import TABLE as TALLIES_TABLE
from tests.simulation.events import REFUSED_TYPE
from tests.simulation.loop import never
from tests.simulation.process import Process
from tests.simulation.world import World

_CODES = ("UNAVAILABLE", "NOT_FOUND", "INVALID_ARGUMENT")


@dataclass(frozen=True)
class Row:
    """What a view needs of a row."""

    key: tuple[Any, ...]  # of which a view shows one
    event_id: str
    received_us: int


class BigQuery:
    def __init__(self, world: World, schema: Schema) -> None:
        self.world = world
        self._tables = {table.log_name: table for table in (*schema.tables.values(), TALLIES_TABLE)}
        self.rows: dict[str, list[Row]] = {name: [] for name in self._tables}

    def insert(self, name: str, batch: pa.RecordBatch) -> None:
        self.world.note("bigquery", name, batch.num_rows)
        table = self._tables[name]
        day, event_id, received_at = (
            batch.column(source_column(table, source)).to_pylist()
            for source in ("event.day", "event.id", "hit.received_at")
        )
        for one, identity, at in zip(day, event_id, received_at, strict=True):
            self.rows[name].append(Row((one, identity), identity, int(at.timestamp() * 1_000_000)))

    def view(self, table: str) -> list[Row]:
        """One row a key, the one received first."""
        shown: dict[tuple[Any, ...], Row] = {}
        for row in self.rows[f"{table}_log"]:
            if row.key not in shown or row.received_us < shown[row.key].received_us:
                shown[row.key] = row
        return list(shown.values())


class WriteApi:
    def __init__(self, store: BigQuery, process: Process, *, timeout: float) -> None:
        self._store, self._process, self._timeout = store, process, timeout

    async def append(self, table: str, batch: pa.RecordBatch) -> int:
        try:
            async with asyncio.timeout(self._timeout):
                return await self._append(table, batch)
        except TimeoutError:
            raise AppendError("DEADLINE_EXCEEDED", f"no answer in {self._timeout} s") from None

    async def _append(self, table: str, batch: pa.RecordBatch) -> int:
        world = self._store.world
        fault = await world.operation(self._process, "append", f"{table} {batch.num_rows}")
        if fault in _CODES:
            raise AppendError(fault, "by the seed")
        if fault == "hang":
            await never()
        if table == "events_log":
            types = batch.column("type").to_pylist()
            if bad := {index: "refused" for index, kind in enumerate(types) if kind == REFUSED_TYPE}:
                raise RowErrors(bad)
        if fault == "late":  # the rows are there, after the loader has given them up
            world.loop.call_later(world.random.uniform(0, 60), self._store.insert, table, batch)
            await never()
        self._store.insert(table, batch)
        if fault == "reply_lost":
            raise AppendError("UNAVAILABLE", "the connection was lost")
        await world.latency(self._process)
        return int(batch.nbytes)
