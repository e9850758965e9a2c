"""Receives hits, publishes their rows, and only then acknowledges."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa

from services.processor import log_entry
from services.processor.metrics import Metrics
from services.processor.parse import UNENCODABLE, Parser, Reject, Row
from services.shared import frame, hit, log, rows, tracing
from services.shared.hit import Hit
from services.shared.poison import Poison
from services.shared.pubsub import Delivery, Publisher, Puller, Unconfirmed, dead_letter
from services.shared.recent import Recent
from services.shared.schema import Schema

_REMEMBERED = 10_000  # pack ids; a redelivery comes within minutes, when far fewer have passed

_NO_ARROW = (pa.ArrowException, ValueError, TypeError, OverflowError)

_log = log.get("processor.worker")


@dataclass(frozen=True)
class Topics:
    rows: str
    dead: str


def _now_us() -> int:
    return time.time_ns() // 1000


class Worker:
    """Holds at most `max_bytes` of hits, decompressed; one pack alone may be larger.

    `now_us` is the wall clock, in microseconds since 1970.
    """

    def __init__(
        self,
        schema: Schema,
        publisher: Publisher,
        topics: Topics,
        metrics: Metrics,
        *,
        max_bytes: int,
        now_us: Callable[[], int] = _now_us,
    ) -> None:
        self._max_bytes, self._held, self._now_us = max_bytes, 0, now_us
        self._changed = asyncio.Event()  # a message was answered
        self._schema, self._publisher, self._topics, self._metrics = schema, publisher, topics, metrics
        self._parser = Parser(schema)
        self._arrow = {name: rows.arrow_schema(table) for name, table in schema.tables.items()}
        self._done: Recent[str] = Recent(_REMEMBERED)

    async def run(self, puller: Puller) -> None:
        """Handle messages until the puller drains, then finish those in hand.

        The puller bounds how many there are, and while their hits take too much memory, no more are taken from it.
        """
        async with asyncio.TaskGroup() as tasks:
            async for delivery in puller:
                size = frame.held(delivery.data)
                while self._held and self._held + size > self._max_bytes:
                    self._changed.clear()
                    await self._changed.wait()
                self._held += size
                tasks.create_task(self._hold(delivery, puller.subscription, size))
                await asyncio.sleep(0)  # a full queue must not keep answers and probes waiting

    async def _hold(self, delivery: Delivery, source: str, size: int) -> None:
        try:
            before = tracing.carried(delivery.attributes)
            with tracing.span("process", before, kind=tracing.Kind.CONSUMER) as span:
                await self._handle(delivery, source, span)
        finally:
            self._held -= size
            self._changed.set()

    async def _handle(self, delivery: Delivery, source: str, span: tracing.Span) -> None:
        """Answer for one message: ack after its rows are safe, dead letter if it is poison, nack for all else."""
        metrics = self._metrics
        metrics.message_bytes.inc(len(delivery.data))
        if delivery.attempt > 1:
            metrics.redelivered.inc()
        pack = delivery.attributes.get("pack", delivery.id)
        span.note(pack=pack, hits=delivery.count, attempt=delivery.attempt)
        try:
            if pack in self._done:
                metrics.duplicates.inc()
                hits, outcome = delivery.count, "duplicate"
            else:
                hits, outcome = await self._process(delivery, pack), "published"
                self._done.add(pack)
        except Poison as poison:
            span.fail(str(poison))
            await self._bury(delivery, source, str(poison))
        except Unconfirmed as error:
            span.fail(str(error))
            _log.warning("rows not confirmed", pack=pack, error=str(error))
            self._give_back(delivery)
        except Exception as error:  # noqa: BLE001 - whatever it was, the message must come again, and others go on
            span.fail(repr(error))
            _log.exception("message failed", pack=pack)
            self._give_back(delivery)
        else:
            delivery.ack()
            metrics.acked.inc()
            metrics.settled(_kind(delivery), outcome, hits)

    def _give_back(self, delivery: Delivery) -> None:
        delivery.nack()
        self._metrics.nacked.inc()

    async def _bury(self, delivery: Delivery, source: str, reason: str) -> None:
        data, attributes = dead_letter(delivery.data, delivery.attributes, reason=reason, source=source)
        try:
            await self._publisher.publish(self._topics.dead, data, attributes)
        except Unconfirmed as error:
            _log.error("dead letter not confirmed", error=str(error))
            self._give_back(delivery)
            return
        _log.error("message is poison", message=delivery.id, reason=reason)
        delivery.ack()
        self._metrics.dead.inc()
        self._metrics.acked.inc()
        self._metrics.settled(_kind(delivery), "dead", delivery.count)

    async def _process(self, delivery: Delivery, pack: str) -> int:
        """How many hits there were, now that all of their rows are published."""
        with self._metrics.parse_seconds.time(), tracing.step("parse"):
            hits = self._decode(delivery)
            batches = self._parse(hits, self._now_us())
        self._metrics.hits.inc(len(hits))
        publishing = [
            self._publish(name, part, rows.pack_id(pack, name, number))
            for name, batch in batches.items()
            for number, part in enumerate(rows.split(batch))
        ]
        count = len(hits)
        del hits, batches  # publishing may take long, and needs the Arrow alone
        await asyncio.gather(*publishing)
        return count

    def _decode(self, delivery: Delivery) -> list[Hit]:
        if _kind(delivery) == "pack":
            self._metrics.packs.inc()
            return hit.unpack(delivery.data, delivery.attributes)
        self._metrics.log_entries.inc()
        return [log_entry.decode(delivery.data, delivery.id, delivery.published_us)]

    def _parse(self, hits: list[Hit], now: int) -> dict[str, pa.RecordBatch]:
        """One batch a table; every hit is in exactly one of them."""
        results = [self._parser.parse(one, now) for one in hits]
        try:
            batches = self._batches(hits, results, now)
        except _NO_ARROW as error:
            # One value that Arrow does not take must not fail its pack: find it by trying each row alone.
            _log.error("a row does not fit its Arrow type", error=str(error))
            results = [self._fitting(result) for result in results]
            batches = self._batches(hits, results, now)
        for result in results:
            if isinstance(result, Reject):
                self._metrics.rejects[result.reason].inc()
        return batches

    def _batches(self, hits: list[Hit], results: list[Row | Reject], now: int) -> dict[str, pa.RecordBatch]:
        found: dict[str, list[list[object]]] = {}
        for one, result in zip(hits, results, strict=True):
            row = self._parser.reject_row(one, result, now) if isinstance(result, Reject) else result
            found.setdefault(row.table, []).append(row.values)
        return {name: self._batch(name, values) for name, values in found.items()}

    def _fitting(self, result: Row | Reject) -> Row | Reject:
        if isinstance(result, Row):
            try:
                self._batch(result.table, [result.values])
            except _NO_ARROW as error:
                return Reject(UNENCODABLE, str(error), result.table)
        return result

    def _batch(self, name: str, values: list[list[object]]) -> pa.RecordBatch:
        schema = self._arrow[name]
        columns = zip(*values, strict=True)
        arrays = [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
        return pa.RecordBatch.from_arrays(arrays, schema=schema)

    async def _publish(self, name: str, batch: pa.RecordBatch, pack_id: str) -> None:
        data, attributes = rows.pack(batch, name, pack_id)
        count = batch.num_rows
        del batch  # only the packed bytes need to wait for Pub/Sub
        with (
            self._metrics.publish_seconds.time(),
            tracing.step("publish", kind=tracing.Kind.PRODUCER) as span,
        ):
            span.note(table=name, rows=count)
            await self._publisher.publish(self._topics.rows, data, {**attributes, **tracing.carry()})
        self._metrics.rows[name].inc(count)
        self._metrics.row_bytes.inc(len(data))


def _kind(delivery: Delivery) -> str:
    return "pack" if "schema" in delivery.attributes else "log_entry"
