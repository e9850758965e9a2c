"""Takes packs, batches their rows per table, writes them, and acks a pack once all its rows are stored.

The order must not change: rows into BigQuery, bad rows into `rejects`, then the pack's receipt into `tallies`, and only
then the ack. A receipt that cannot be written keeps no pack.
"""

from __future__ import annotations

import asyncio
import re
import time
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
from services.shared import log, rows, tally_rows, tracing
from services.shared.background import Background, Progress
from services.shared.errors import Poison
from services.shared.fault import FAULT_LOG_SECONDS, fault
from services.shared.format_version import NewerFormat
from services.shared.publisher import Publisher
from services.shared.schema import REJECTS, TALLIES, Schema, Table
from services.shared.subscriber import Delivery, Subscriber
from services.shared.throttle import Throttle

STUCK_SECONDS = 600.0  # without an attempt to append; attempts go on during an outage, so this is a bug of ours
BATCH_ROWS = 50_000  # close a batch: `batch_bytes` usually does, this bounds the work for rows of a few bytes
MAX_ROW_BYTES = 9_000_000  # of Arrow; a request may have 10 MB

_TABLE_NAME = re.compile(r"[A-Za-z0-9_]{1,200}")

_log = log.get("loader.worker")


def _table(attributes: Mapping[str, str]) -> str:
    """The table a pack is for, whether this schema file has it or not. Raises Poison for an impossible name."""
    name = attributes.get("table", "")
    if not _TABLE_NAME.fullmatch(name):
        raise Poison("the attribute table names no table")
    return name


class Worker:
    """Works in tasks of `background`. An error in one pack nacks that pack; the others go on.

    It holds at most about `max_packs` packs and `cfg.max_bytes` of rows.
    """

    def __init__(
        self,
        cfg: Config,
        schema: Schema,
        api: WriteApi,
        publisher: Publisher,
        metrics: Metrics,
        background: Background,
        *,
        max_packs: int,
        batch_rows: int = BATCH_ROWS,
        make_writer: Callable[[WriteApi, Metrics, Callable[[], float], Progress], Writer] = Writer,
    ) -> None:
        self._cfg, self._schema, self._metrics = cfg, schema, metrics
        self._background, self._max_packs = background, max_packs
        appending = background.step("appending", STUCK_SECONDS + 2 * cfg.append_timeout_seconds)
        self._writer = make_writer(api, metrics, self._share, appending)
        self._limits = Limits(batch_rows, cfg.batch_bytes, cfg.linger_seconds)
        self._end = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._queues: dict[Target, TableQueue] = {}
        self._rejects = Target(REJECTS, rows.fingerprint(rows.arrow_schema(schema.rejects)))
        self._tallies = Target(TALLIES, rows.fingerprint(tally_rows.SCHEMA))
        self._running: set[asyncio.Task[None]] = set()
        self._held = 0
        self._changed = asyncio.Event()  # a pack was answered, memory was freed, or the shutdown began
        self._answers = Answers(cfg, publisher, metrics, self._start, self._changed)
        self._faults, self._lost_receipts = Throttle(FAULT_LOG_SECONDS), Throttle(FAULT_LOG_SECONDS)
        self._newer: set[str] = set()  # unknown format versions, each logged once

    @property
    def _ending(self) -> bool:
        return self._end.is_set()

    async def receive(self, subscriber: Subscriber) -> None:
        """Take packs until the subscriber is drained, no more than memory allows."""
        async for delivery in subscriber:
            while self._held >= self._cfg.max_bytes and not self._ending:
                self._changed.clear()
                await self._changed.wait()
            if self._ending:
                self._answers.nack(delivery)
                continue
            self._take(delivery)
            await asyncio.sleep(0)  # a full queue must not block answers and health probes

    def _share(self) -> float:
        """How full the loader is, by bytes or packs, whichever is fuller; 1 is full."""
        return max(self._held / self._cfg.max_bytes, len(self._answers) / self._max_packs)

    async def finish(self, limit: float) -> None:
        """Write what is held at once, for at most `limit` seconds, and nack the rest."""
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
            _log.warning("unwritten packs are nacked", packs=left)
        self._answers.nack_all()

    def end(self) -> None:
        """Take no more packs, and write at once what is batched."""
        self._end.set()
        self._changed.set()
        for queue in self._queues.values():
            queue.wake()

    def _take(self, delivery: Delivery) -> None:
        new = self._answers.receive(delivery)
        if new is not None:
            self._open(new)

    def _open(self, opened: Pack) -> None:
        delivery = opened.deliveries[0]
        before = tracing.carried(delivery.attributes)
        opened.span = tracing.begin("load", before, kind=tracing.Kind.CONSUMER)
        opened.span.note(pack=opened.key[0], rows=delivery.count, attempt=delivery.attempt)
        try:
            batch = rows.unpack(delivery.data, delivery.attributes)
            opened.table, opened.origin = _table(delivery.attributes), tally_rows.origin(batch)
            target = Target(opened.table, delivery.attributes["fingerprint"])
            opened.retry = not self._writer.takes(target)
            if batch.num_rows and not opened.retry:
                self._enqueue(target, batch.replace_schema_metadata(None), opened)
        except Poison as error:
            opened.dead = str(error)
            opened.unwritten = delivery.count
        except NewerFormat as error:
            opened.retry = True
            self._note_newer(str(error))
        except Exception as error:  # noqa: BLE001 - whatever one pack raises, the others go on
            self._note_fault(opened, error)
            opened.retry = True
        if not opened.open_slices:
            self._finish(opened)

    def _finish(self, done: Pack) -> None:
        """Answer a pack that has no open slice, once its receipt is written if it is to have one."""
        origin, done.origin = done.origin, None
        if origin is None or not origin.hits or done.dead is not None or done.retry:
            self._answers.settle(done)
        elif not self._writer.takes(self._tallies):
            self._note_lost_receipt()
            self._answers.settle(done)
        else:
            done.receipted = True
            made = tally_rows.receipt(done.table, origin, done.rejected)
            self._enqueue(self._tallies, tally_rows.batch([(made, time.time_ns() // 1_000)]), done)

    def _note_lost_receipt(self) -> None:
        if packs := self._lost_receipts.add(1):
            _log.error("rows are loaded, but not counted as such in the table tallies", packs=packs)

    def _note_fault(self, failed: Pack, error: Exception) -> None:
        if packs := self._faults.add(1):
            _log.error("pack failed", packs=packs, pack=failed.key[0], fault=fault(error))

    def _note_newer(self, text: str) -> None:
        self._metrics.newer.inc()
        if text not in self._newer and len(self._newer) < 10:
            self._newer.add(text)
            _log.warning("packs of a newer format are nacked; a newer loader reads them", why=text)

    def _enqueue(self, target: Target, batch: pa.RecordBatch, owner: Pack) -> None:
        for piece, size in self._pieces(batch):
            if size > MAX_ROW_BYTES:
                detail = f"the row has {size} bytes, BigQuery takes at most {MAX_ROW_BYTES}"
                self._reject(target, piece, owner, "too_large", [detail])
                continue
            one = Slice(owner, piece.num_rows, size)
            owner.open_slices += 1
            self._hold(one, 1)
            self._queue(target).add(one, piece)

    def _queue(self, target: Target) -> TableQueue:
        queue = self._queues.get(target)
        if queue is None:
            queue = self._queues[target] = TableQueue(target, self._limits, self._end)
            self._start(f"dispatch {target.table}", self._dispatch(queue))
        return queue

    async def _dispatch(self, queue: TableQueue) -> None:
        """Start an append whenever rows are due and a slot is free, until none waits or is being written."""
        try:
            while (batch := await queue.next_batch()) is not None:
                self._start(f"write {queue.target.table}", self._write(queue, batch))
        finally:
            del self._queues[queue.target]

    def _pieces(self, batch: pa.RecordBatch) -> list[tuple[pa.RecordBatch, int]]:
        """The rows, split so that each piece fits an append, with the size of its Arrow buffers."""
        whole = batch.get_total_buffer_size()  # never too low, and ten times as fast as nbytes
        if whole <= self._cfg.batch_bytes:
            return [(batch, whole)]
        return [(piece, piece.nbytes) for piece in rows.split(batch, self._cfg.batch_bytes)]

    def _reject(self, target: Target, bad: pa.RecordBatch, owner: Pack, reason: str, details: list[str]) -> None:
        if target.table == REJECTS:
            owner.dead = f"the table {REJECTS} itself does not take a row: {details[0]}"
            owner.unwritten += bad.num_rows
            return
        owner.rejected += bad.num_rows
        self._metrics.rejected[reason].inc(bad.num_rows)
        table = self._schema.tables.get(target.table) or Table(target.table, columns=(), partition="")
        self._enqueue(self._rejects, reject_rows.build(bad, table, self._schema.rejects, reason, details), owner)

    async def _write(self, queue: TableQueue, batch: AppendBatch) -> None:
        traced = tracing.on and batch.target.table != TALLIES  # a trace is of events
        before = tracing.together(one.pack.span for one in batch.slices) if traced else ()
        with tracing.span("append", before, kind=tracing.Kind.CLIENT) as span:
            span.note(table=batch.target.table, rows=batch.rows.num_rows, packs=len(batch.slices))
            try:
                result = await self._writer.write(batch)
            except Exception as error:  # noqa: BLE001 - its packs are redelivered, the others are not affected
                if batches := self._faults.add(1):
                    _log.error("batch failed", batches=batches, table=batch.target.table, fault=fault(error))
                result = WriteResult(refused=list(batch.slices))
            if result.refused:
                span.fail(f"{len(result.refused)} slices were refused")
        queue.written()
        self._conclude(batch, result)

    def _conclude(self, batch: AppendBatch, result: WriteResult) -> None:
        for bad in result.bad:
            if bad.slice.pack.receipted:
                self._note_lost_receipt()
                continue
            try:
                self._reject(batch.target, bad.rows, bad.slice.pack, "bigquery", bad.details)
            except Exception as error:  # noqa: BLE001 - the pack is redelivered, the others of the batch are answered
                self._note_fault(bad.slice.pack, error)
                bad.slice.pack.retry = True
        for one in result.refused:
            if one.pack.receipted:
                self._note_lost_receipt()
                continue
            one.pack.retry = True
            one.pack.unwritten += one.rows - sum(bad.rows.num_rows for bad in result.bad if bad.slice is one)
        for one in batch.slices:
            self._hold(one, -1)
            one.pack.open_slices -= 1
            if not one.pack.open_slices:
                self._finish(one.pack)

    def _hold(self, one: Slice, sign: int) -> None:
        self._held += sign * one.bytes
        self._metrics.held_bytes.inc(sign * one.bytes)
        self._metrics.held_rows.inc(sign * one.rows)
        self._changed.set()

    def _start(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        task = self._background.start(name, work, ending=lambda: True)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
