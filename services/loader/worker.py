"""The loader's work: take packs, gather their rows per table, write, and answer for a pack when all its rows are safe.

The order that nothing may change: rows into BigQuery, bad rows into `rejects`, and only then the ack.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from services.loader import columns, reject
from services.loader.answers import Answers
from services.loader.batch import Gathering, Limits, Part
from services.loader.config import Config
from services.loader.metrics import Metrics
from services.loader.pack import Pack
from services.loader.write_api import WriteApi
from services.loader.writer import Outcome, Writer
from services.shared import log, rows, tracing
from services.shared.background import Background, Progress
from services.shared.poison import Poison
from services.shared.pubsub import Delivery, Publisher, Puller
from services.shared.schema import REJECTS, Schema, Table

IN_FLIGHT = 4  # appends at a time for one table; while all are busy the next batch fills
STUCK_SECONDS = 600.0  # without an attempt to append, beyond the time limit of one: no outage of BigQuery lasts so long
MAX_ROW_BYTES = 9_000_000  # of Arrow; a request may have 10 MB

_log = log.get("loader.worker")


@dataclass
class _Lane:
    """The rows of one table and set of columns that wait, and how many tasks write them.

    As long as rows wait, one task watches for the time to write them, or all IN_FLIGHT of them are busy.
    """

    key: tuple[str, pa.Schema]
    table: Table
    gathering: Gathering
    writers: int = 0
    watched: bool = False
    changed: asyncio.Event = field(default_factory=asyncio.Event)


class Worker:
    """Works in tasks of `background`. What one pack raises costs that pack its turn: it is given back, others go on."""

    def __init__(
        self,
        cfg: Config,
        schema: Schema,
        api: WriteApi,
        publisher: Publisher,
        metrics: Metrics,
        background: Background,
        make_writer: Callable[[WriteApi, Metrics, Callable[[], bool], Progress], Writer] = Writer,
    ) -> None:
        self._cfg, self._schema, self._metrics = cfg, schema, metrics
        self._background = background
        appending = background.step("appending", STUCK_SECONDS + 2 * cfg.append_timeout)
        self._writer = make_writer(api, metrics, self._full, appending)
        self._limits = Limits(cfg.batch_rows, cfg.batch_bytes, cfg.linger)
        self._end = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._fitter = columns.Fitter()
        self._lanes: dict[tuple[str, pa.Schema], _Lane] = {}
        self._running: set[asyncio.Task[None]] = set()
        self._held = 0
        self._changed = asyncio.Event()  # a pack was answered for, memory came free, or the end began
        self._answers = Answers(cfg, publisher, metrics, self._start, self._changed)
        self._ahead: set[str] = set()  # tables whose packs know more than the schema file, for logging changes only

    @property
    def _ending(self) -> bool:
        return self._end.is_set()

    async def receive(self, puller: Puller) -> None:
        """Take packs until the puller is drained, no more than memory allows."""
        async for delivery in puller:
            while self._held >= self._cfg.max_bytes and not self._ending:
                self._changed.clear()
                await self._changed.wait()
            if self._ending:
                self._answers.nack(delivery)
                continue
            self._take(delivery)
            await asyncio.sleep(0)  # a full queue must not keep answers and probes waiting

    def _full(self) -> bool:
        return self._held >= self._cfg.max_bytes or len(self._answers) >= self._cfg.max_messages

    async def finish(self, limit: float) -> None:
        """Write what is in hand at once, for at most `limit` seconds; what is not done then goes back to Pub/Sub."""
        self.end()
        with suppress(TimeoutError):
            async with asyncio.timeout(limit):
                while len(self._answers):
                    self._changed.clear()
                    await self._changed.wait()
        for task in self._running:
            task.cancel()
        if self._running:
            await asyncio.wait(self._running)
        if left := len(self._answers):
            _log.warning("packs go back to Pub/Sub unwritten", packs=left)
        self._answers.give_all_back()

    def end(self) -> None:
        """Take nothing more, and let nothing wait for company."""
        self._end.set()
        self._changed.set()
        for lane in self._lanes.values():
            lane.changed.set()

    def _take(self, delivery: Delivery) -> None:
        new = self._answers.took(delivery)
        if new is not None:
            self._open(new)

    def _open(self, opened: Pack) -> None:
        delivery = opened.deliveries[0]
        before = tracing.carried(delivery.attributes)
        opened.span = tracing.begin("load", before, kind=tracing.Kind.CONSUMER)
        opened.span.note(pack=opened.key[0], rows=delivery.count, attempt=delivery.attempt)
        name = delivery.attributes.get("table", "")
        try:
            batch = rows.unpack(delivery.data, delivery.attributes)
            if not name:
                raise Poison("the attribute table is missing")
            table = self._schema.tables.get(name)
            if table is None:
                raise columns.Ahead(f"the schema file has no table {name!r}")
            batch = self._fitter.fit(batch, table, delivery.attributes["fingerprint"])
            self._ahead.discard(name)
            opened.later = not self._writer.takes(table)
            if batch.num_rows and not opened.later:
                self._gather(table, batch, opened)
        except Poison as error:
            opened.dead = str(error)
            opened.unwritten = delivery.count
        except columns.Ahead as error:
            opened.later = True
            self._note_ahead(name, str(error))
        except Exception:  # noqa: BLE001 - whatever one pack raises, the others go on
            _log.exception("pack failed", pack=opened.key[0])
            opened.later = True
        if not opened.parts:
            self._answers.settle(opened)

    def _note_ahead(self, table: str, text: str) -> None:
        if table not in self._ahead and len(self._ahead) < 1_000:
            self._ahead.add(table)
            _log.warning("packs know more than the schema file; they are given back until a loader knows it", why=text)

    def _gather(self, table: Table, batch: pa.RecordBatch, owner: Pack) -> None:
        for piece, size in self._pieces(batch):
            if size > MAX_ROW_BYTES:
                detail = f"the row has {size} bytes, BigQuery takes at most {MAX_ROW_BYTES}"
                self._reject(table, piece, owner, "too_large", [detail])
                continue
            part = Part(owner, piece.num_rows, size)
            key = (table.name, piece.schema)
            lane = self._lanes.get(key)
            if lane is None:
                lane = self._lanes[key] = _Lane(key, table, Gathering(table, self._limits))
            lane.gathering.add(part, piece, self._loop.time())
            owner.parts += 1
            self._hold(part, 1)
            lane.changed.set()
            self._watch(lane)

    def _pieces(self, batch: pa.RecordBatch) -> list[tuple[pa.RecordBatch, int]]:
        """The rows in as few batches as fit into an append each, with the bytes of their Arrow buffers."""
        whole = batch.get_total_buffer_size()  # never too low, and ten times as fast as nbytes
        if whole <= self._cfg.batch_bytes:
            return [(batch, whole)]
        return [(piece, piece.nbytes) for piece in rows.split(batch, self._cfg.batch_bytes)]

    def _reject(self, table: Table, bad: pa.RecordBatch, owner: Pack, reason: str, details: list[str]) -> None:
        if table.name == REJECTS:
            owner.dead = f"the table {REJECTS} itself does not take a row: {details[0]}"
            owner.unwritten += bad.num_rows
            return
        self._metrics.rejected[reason].inc(bad.num_rows)
        self._gather(self._schema.rejects, reject.build(bad, table, self._schema.rejects, reason, details), owner)

    def _watch(self, lane: _Lane) -> None:
        if not lane.watched and lane.writers < IN_FLIGHT:
            lane.watched = True
            lane.writers += 1
            self._start(f"write {lane.table.name}", self._drive(lane))

    async def _drive(self, lane: _Lane) -> None:
        """Write what waits in a lane, batch after batch, until nothing does or another task watches it."""
        while lane.gathering:
            lane.watched = True
            await self._until_due(lane)
            await self._write_one(lane)
            if lane.watched:
                break
        lane.writers -= 1
        if not lane.writers:  # then nothing waits in it either
            del self._lanes[lane.key]

    async def _write_one(self, lane: _Lane) -> None:
        """Write what is due in one append, while the rest of the lane is watched by another task."""
        gathered = lane.gathering.take()
        lane.watched = False
        if lane.gathering:
            self._watch(lane)
        before = tracing.together(part.pack.span for part in gathered.parts) if tracing.on else ()
        with tracing.span("append", before, kind=tracing.Kind.CLIENT) as span:
            span.note(table=lane.table.name, rows=gathered.rows.num_rows, packs=len(gathered.parts))
            try:
                outcome = await self._writer.write(gathered)
            except Exception:  # noqa: BLE001 - the same for those of a batch, which come again apart or together
                _log.exception("batch failed", table=lane.table.name)
                outcome = Outcome(refused=list(gathered.parts))
            if outcome.refused:
                span.fail(f"{len(outcome.refused)} parts were refused")
        self._conclude(lane.table, gathered.parts, outcome)

    async def _until_due(self, lane: _Lane) -> None:
        while not self._ending and (wait := lane.gathering.due_in(self._loop.time())) > 0:
            lane.changed.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await lane.changed.wait()

    def _conclude(self, table: Table, parts: tuple[Part, ...], outcome: Outcome) -> None:
        for bad in outcome.bad:
            try:
                self._reject(table, bad.rows, bad.part.pack, "bigquery", bad.details)
            except Exception:  # noqa: BLE001 - the pack comes again, the others of the batch are answered
                _log.exception("pack failed", pack=bad.part.pack.key[0])
                bad.part.pack.later = True
        for part in outcome.refused:
            part.pack.later = True
            part.pack.unwritten += part.rows - sum(bad.rows.num_rows for bad in outcome.bad if bad.part is part)
        for part in parts:
            self._hold(part, -1)
            part.pack.parts -= 1
            if not part.pack.parts:
                self._answers.settle(part.pack)

    def _hold(self, part: Part, sign: int) -> None:
        self._held += sign * part.bytes
        self._metrics.held_bytes.inc(sign * part.bytes)
        self._metrics.held_rows.inc(sign * part.rows)
        self._changed.set()

    def _start(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        task = self._background.start(name, work, ending=lambda: True)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
