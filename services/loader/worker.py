"""The loader's work: take packs, gather their rows per table, write, and answer for a pack when all its rows are safe.

The order that nothing may change: rows into BigQuery, bad rows into `rejects`, and only then the ack.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from typing import Any

import pyarrow as pa

from services.loader import reject_rows
from services.loader.accumulator import AppendBatch, Limits, Slice
from services.loader.answers import Answers
from services.loader.config import Config
from services.loader.metrics import Metrics
from services.loader.pack_tracker import Pack
from services.loader.table_breaker import Target
from services.loader.table_queue import TableQueue
from services.loader.write_api import WriteApi
from services.loader.writer import Writer, WriteResult
from services.shared import log, rows, tracing
from services.shared.background import Background, Progress
from services.shared.errors import Poison
from services.shared.format_version import NewerFormat
from services.shared.publisher import Publisher
from services.shared.schema import REJECTS, Schema, Table
from services.shared.subscriber import Delivery, Subscriber

STUCK_SECONDS = 600.0  # without an attempt to append, beyond the time limit of one: no outage of BigQuery lasts so long
MAX_ROW_BYTES = 9_000_000  # of Arrow; a request may have 10 MB

_TABLE_NAME = re.compile(r"[A-Za-z0-9_]{1,200}")

_log = log.get("loader.worker")


def _table(attributes: Mapping[str, str]) -> str:
    """The table that a pack is for, in this schema file or not. Raises Poison for what can be the name of none."""
    name = attributes.get("table", "")
    if not _TABLE_NAME.fullmatch(name):
        raise Poison("the attribute table names no table")
    return name


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
        make_writer: Callable[[WriteApi, Metrics, Callable[[], float], Progress], Writer] = Writer,
    ) -> None:
        self._cfg, self._schema, self._metrics = cfg, schema, metrics
        self._background = background
        appending = background.step("appending", STUCK_SECONDS + 2 * cfg.append_timeout_seconds)
        self._writer = make_writer(api, metrics, self._share, appending)
        self._limits = Limits(cfg.batch_rows, cfg.batch_bytes, cfg.linger_seconds)
        self._end = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._queues: dict[Target, TableQueue] = {}
        self._rejects = Target(REJECTS, rows.fingerprint(rows.arrow_schema(schema.rejects)))
        self._running: set[asyncio.Task[None]] = set()
        self._held = 0
        self._changed = asyncio.Event()  # a pack was answered for, memory came free, or the end began
        self._answers = Answers(cfg, publisher, metrics, self._start, self._changed)
        self._newer: set[str] = set()  # versions of the format seen and not known, for logging each once

    @property
    def _ending(self) -> bool:
        return self._end.is_set()

    async def receive(self, puller: Subscriber) -> None:
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

    def _share(self) -> float:
        """How much of the bytes or packs that may be held are, 1 for all."""
        return max(self._held / self._cfg.max_bytes, len(self._answers) / self._cfg.max_messages)

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
        """Take nothing more, and write at once what is batched."""
        self._end.set()
        self._changed.set()
        for queue in self._queues.values():
            queue.wake()

    def _take(self, delivery: Delivery) -> None:
        new = self._answers.took(delivery)
        if new is not None:
            self._open(new)

    def _open(self, opened: Pack) -> None:
        delivery = opened.deliveries[0]
        before = tracing.carried(delivery.attributes)
        opened.span = tracing.begin("load", before, kind=tracing.Kind.CONSUMER)
        opened.span.note(pack=opened.key[0], rows=delivery.count, attempt=delivery.attempt)
        try:
            batch = rows.unpack(delivery.data, delivery.attributes)
            target = Target(_table(delivery.attributes), delivery.attributes["fingerprint"])
            opened.later = not self._writer.takes(target)
            if batch.num_rows and not opened.later:
                self._gather(target, batch, opened)
        except Poison as error:
            opened.dead = str(error)
            opened.unwritten = delivery.count
        except NewerFormat as error:
            opened.later = True
            self._note_newer(str(error))
        except Exception:  # noqa: BLE001 - whatever one pack raises, the others go on
            _log.exception("pack failed", pack=opened.key[0])
            opened.later = True
        if not opened.parts:
            self._answers.settle(opened)

    def _note_newer(self, text: str) -> None:
        self._metrics.newer.inc()
        if text not in self._newer and len(self._newer) < 10:
            self._newer.add(text)
            _log.warning("packs of a newer format are given back; a newer loader reads them", why=text)

    def _gather(self, target: Target, batch: pa.RecordBatch, owner: Pack) -> None:
        for piece, size in self._pieces(batch):
            if size > MAX_ROW_BYTES:
                detail = f"the row has {size} bytes, BigQuery takes at most {MAX_ROW_BYTES}"
                self._reject(target, piece, owner, "too_large", [detail])
                continue
            one = Slice(owner, piece.num_rows, size)
            owner.parts += 1
            self._hold(one, 1)
            self._queue(target).add(one, piece)

    def _queue(self, target: Target) -> TableQueue:
        queue = self._queues.get(target)
        if queue is None:
            queue = self._queues[target] = TableQueue(target, self._limits, self._end)
            self._start(f"dispatch {target.table}", self._dispatch(queue))
        return queue

    async def _dispatch(self, queue: TableQueue) -> None:
        """Begin an append whenever rows are due and few enough are under way, until none waits or is being written."""
        try:
            while (batch := await queue.next_batch()) is not None:
                self._start(f"write {queue.target.table}", self._write(queue, batch))
        finally:
            del self._queues[queue.target]

    def _pieces(self, batch: pa.RecordBatch) -> list[tuple[pa.RecordBatch, int]]:
        """The rows in as few batches as fit into an append each, with the bytes of their Arrow buffers."""
        whole = batch.get_total_buffer_size()  # never too low, and ten times as fast as nbytes
        if whole <= self._cfg.batch_bytes:
            return [(batch, whole)]
        return [(piece, piece.nbytes) for piece in rows.split(batch, self._cfg.batch_bytes)]

    def _reject(self, target: Target, bad: pa.RecordBatch, owner: Pack, reason: str, details: list[str]) -> None:
        if target.table == REJECTS:
            owner.dead = f"the table {REJECTS} itself does not take a row: {details[0]}"
            owner.unwritten += bad.num_rows
            return
        self._metrics.rejected[reason].inc(bad.num_rows)
        table = self._schema.tables.get(target.table) or Table(target.table, columns=(), partition="")
        self._gather(self._rejects, reject_rows.build(bad, table, self._schema.rejects, reason, details), owner)

    async def _write(self, queue: TableQueue, batch: AppendBatch) -> None:
        before = tracing.together(one.pack.span for one in batch.slices) if tracing.on else ()
        with tracing.span("append", before, kind=tracing.Kind.CLIENT) as span:
            span.note(table=batch.target.table, rows=batch.rows.num_rows, packs=len(batch.slices))
            try:
                result = await self._writer.write(batch)
            except Exception:  # noqa: BLE001 - the same for those of a batch, which come again apart or together
                _log.exception("batch failed", table=batch.target.table)
                result = WriteResult(refused=list(batch.slices))
            if result.refused:
                span.fail(f"{len(result.refused)} of the packs' parts were refused")
        queue.written()
        self._conclude(batch, result)

    def _conclude(self, batch: AppendBatch, result: WriteResult) -> None:
        for bad in result.bad:
            try:
                self._reject(batch.target, bad.rows, bad.slice.pack, "bigquery", bad.details)
            except Exception:  # noqa: BLE001 - the pack comes again, the others of the batch are answered
                _log.exception("pack failed", pack=bad.slice.pack.key[0])
                bad.slice.pack.later = True
        for one in result.refused:
            one.pack.later = True
            one.pack.unwritten += one.rows - sum(bad.rows.num_rows for bad in result.bad if bad.slice is one)
        for one in batch.slices:
            self._hold(one, -1)
            one.pack.parts -= 1
            if not one.pack.parts:
                self._answers.settle(one.pack)

    def _hold(self, one: Slice, sign: int) -> None:
        self._held += sign * one.bytes
        self._metrics.held_bytes.inc(sign * one.bytes)
        self._metrics.held_rows.inc(sign * one.rows)
        self._changed.set()

    def _start(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        task = self._background.start(name, work, ending=lambda: True)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
