"""Receives hits, publishes their rows, and only then acknowledges."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

import pyarrow as pa

from services.processor import log_entry
from services.processor.metrics import UNPLACED, UNREADABLE, Metrics
from services.processor.parse import Parser
from services.processor.places import HeaderWatch
from services.processor.table_batches import Batcher, HitParser, TableBatches
from services.shared import hit, log, rows, tally_rows, tracing, zstd_frame
from services.shared.errors import Poison
from services.shared.format_version import NewerFormat
from services.shared.hit import Hit
from services.shared.lru_set import LruSet
from services.shared.policy import Policy
from services.shared.privacy import BALANCED
from services.shared.publisher import Publisher, Unconfirmed, dead_letter
from services.shared.schema import TALLIES, Schema
from services.shared.subscriber import Delivery, Subscriber
from services.shared.tally import Tally
from services.shared.throttle import Throttle

_REMEMBERED = 10_000  # pack ids; a redelivery comes within minutes, long before so many others
_LOG_SECONDS = 60.0  # between two lines about the same thing

_log = log.get("processor.worker")


@dataclass(frozen=True)
class Topics:
    rows: str
    dead: str


class _DeadLetter(NamedTuple):
    """A dead letter of one hit: its message, the reason for the metric, and an explanation."""

    data: bytes
    attributes: dict[str, str]
    reason: str
    detail: str


@dataclass
class _Decoded:
    """`tallies` have the time they were made; `collected`: a collector has counted the hits as received."""

    hits: list[Hit]
    collected: bool = False
    tallies: list[tuple[Tally, int]] = field(default_factory=list)
    dead_letters: list[_DeadLetter] = field(default_factory=list)


class _Processed(NamedTuple):
    """What became of the hits of a message, and how many rows there are beside theirs."""

    published: int
    sampled_out: int
    dead: int
    copies: int


def _now_us() -> int:
    return time.time_ns() // 1000


class Worker:
    """Holds at most `max_bytes` of hits, decompressed; one pack alone may be larger.

    `policy` is what protects people in log entries; by default the schema file's, with the preset `balanced`.

    `watch` sees all hits. `now_us` is the wall clock, in microseconds since 1970.
    """

    def __init__(
        self,
        schema: Schema,
        publisher: Publisher,
        topics: Topics,
        metrics: Metrics,
        *,
        max_bytes: int,
        policy: Policy | None = None,
        parser: HitParser | None = None,
        watch: HeaderWatch | None = None,
        now_us: Callable[[], int] = _now_us,
    ) -> None:
        self._max_bytes, self._held, self._now_us = max_bytes, 0, now_us
        self._changed = asyncio.Event()  # a message was answered
        self._publisher, self._topics, self._metrics = publisher, topics, metrics
        self._watch = watch
        self._policy = policy or Policy(schema.privacy[BALANCED], tenants=schema.tenants)
        self._batcher = Batcher(schema, parser or Parser(schema))
        self._faults, self._dead_hits, self._miscounts, self._newer = (Throttle(_LOG_SECONDS) for _ in range(4))
        self._done: LruSet[str] = LruSet(_REMEMBERED)

    async def run(self, subscriber: Subscriber) -> None:
        """Handle messages until the subscriber drains, then finish those in hand.

        The subscriber bounds how many there are; while their hits take too much memory, no more are taken from it.
        """
        async with asyncio.TaskGroup() as tasks:
            async for delivery in subscriber:
                compressed = log_entry.is_compressed(delivery.data)
                size = log_entry.MAX_BYTES if compressed else zstd_frame.held(delivery.data)
                while self._held and self._held + size > self._max_bytes:
                    self._changed.clear()
                    await self._changed.wait()
                self._held += size
                tasks.create_task(self._hold(delivery, subscriber.subscription, size))
                await asyncio.sleep(0)  # a full queue must not hold up acks and probes

    async def _hold(self, delivery: Delivery, source: str, size: int) -> None:
        try:
            before = tracing.carried(delivery.attributes)
            with tracing.span("process", before, kind=tracing.Kind.CONSUMER) as span:
                await self._handle(delivery, source, span)
        finally:
            self._held -= size
            self._changed.set()

    async def _handle(self, delivery: Delivery, source: str, span: tracing.Span) -> None:
        """Settle one message: ack once its rows are safe, dead-letter it if it is poison, nack it otherwise."""
        metrics = self._metrics
        metrics.message_bytes.inc(len(delivery.data))
        if delivery.attempt > 1:
            metrics.redelivered.inc()
        pack = delivery.attributes.get("pack", delivery.id)
        span.note(pack=pack, hits=delivery.count, attempt=delivery.attempt)
        try:
            if pack in self._done:
                metrics.duplicates.inc()
                outcomes, copies = {"duplicate": _count(delivery)}, 0
            else:
                done = await self._process(delivery, pack, source)
                outcomes = {"published": done.published, "sampled_out": done.sampled_out, "dead": done.dead}
                copies = done.copies
                self._done.add(pack)
        except Poison as poison:
            span.fail(str(poison))
            await self._dead_letter(delivery, source, str(poison))
        except NewerFormat as newer:  # a newer pod reads it; Pub/Sub's policy limits the deliveries
            span.fail(str(newer))
            metrics.newer.inc()
            if messages := self._newer.add(1):
                _log.warning(
                    "packs of a newer format are nacked; a newer processor reads them",
                    messages=messages,
                    why=str(newer),
                )
            self._nack(delivery)
        except Unconfirmed as error:
            span.fail(str(error))
            _log.warning("rows not confirmed", pack=pack, error=str(error))
            self._nack(delivery)
        except Exception as error:  # noqa: BLE001 - whatever it was, the message must be redelivered, and others go on
            span.fail(repr(error))
            _log.exception("message failed", pack=pack)
            self._nack(delivery)
        else:
            delivery.ack()
            metrics.acked.inc()
            for outcome, hits in outcomes.items():
                metrics.settled(_kind(delivery), outcome, hits)
            metrics.copies.inc(copies)

    def _nack(self, delivery: Delivery) -> None:
        delivery.nack()
        self._metrics.nacked.inc()

    async def _dead_letter(self, delivery: Delivery, source: str, reason: str) -> None:
        data, attributes = dead_letter(delivery.data, delivery.attributes, reason=reason, source=source)
        try:
            await self._publisher.publish(self._topics.dead, data, attributes)
        except Unconfirmed as error:
            _log.error("dead letter not confirmed", error=str(error))
            self._nack(delivery)
            return
        _log.error("message dead-lettered", message=delivery.id, reason=reason)
        delivery.ack()
        self._metrics.dead.inc()
        self._metrics.acked.inc()
        self._metrics.settled(_kind(delivery), "dead", _count(delivery))

    async def _process(self, delivery: Delivery, pack: str, source: str) -> _Processed:
        """How many hits are now rows and how many dead letters, all safe. Raises Poison if all would be the latter."""
        with self._metrics.parse_seconds.time(), tracing.step("parse"), _nothing_collected():
            found = self._decode(delivery, pack)
            made = self._batcher.make(found.hits, self._now_us())
        if self._watch is not None:
            self._watch.see(found.hits)
        self._count(found, made)
        dead_letters = found.dead_letters
        for one, fault in made.unplaced:
            detail = f"neither a row nor a reject can be made of it: {fault}"
            if not made.batches:  # the whole message, so that replaying it gives the same dead letter
                raise Poison(detail)
            message = hit.pack([hit.encode(one)], rows.pack_id(pack, "dead", len(dead_letters)))
            dead_letters.append(_DeadLetter(*message, UNPLACED, detail))
        original = delivery.attributes.get(hit.ORIGINAL, pack)
        parts = [
            (name, number, part)
            for name, batch in made.batches.items()
            for number, part in enumerate(_marked(name, batch, made.labels.get(name), original, found.collected))
        ]
        if made.sampled_out and found.collected:
            left_out = tally_rows.left_out(made.sampled_out, rows.pack_id(original, "sampled", 0))
            found.tallies.append((left_out, self._now_us()))
        if found.tallies:
            counts = rows.split(tally_rows.batch(found.tallies))
            parts += [(TALLIES, number, part) for number, part in enumerate(counts)]
        work = [self._publish(name, part, rows.pack_id(pack, name, number)) for name, number, part in parts]
        work += [self._publish_dead_letter(one, source) for one in dead_letters]
        sampled = len(made.sampled_out)
        published = len(found.hits) - len(made.unplaced) - sampled
        done = _Processed(published, sampled, len(dead_letters), made.copies.total())
        del found, made, dead_letters, parts  # publishing may take long, and needs only the Arrow data
        for outcome in await asyncio.gather(*work, return_exceptions=True):
            if isinstance(outcome, BaseException):
                raise outcome
        return done

    def _decode(self, delivery: Delivery, pack: str) -> _Decoded:
        if _kind(delivery) == "pack":
            self._metrics.packs.inc()
            lines = hit.read(delivery.data, delivery.attributes)
            if lines.miscount:
                self._metrics.miscounted.inc()
                if packs := self._miscounts.add(1):
                    _log.error("a pack does not hold as many hits as it says", packs=packs, pack=pack)
            found = _Decoded([one for one in lines.hits if one.tally is None], _is_collected(delivery))
            found.tallies += [(one.tally, one.at) for one in lines.hits if one.tally is not None]
            for number, (data, reason) in enumerate(lines.unreadable):
                message = hit.pack([data], rows.pack_id(pack, "dead", number))
                found.dead_letters.append(_DeadLetter(*message, UNREADABLE, f"hits: {reason}"))
            return found
        self._metrics.log_entries.inc()
        entries = log_entry.decode(delivery.data, delivery.id, delivery.published_us)
        entries = log_entry.protected(entries, self._policy)
        for why, count in entries.ignored.items():
            self._metrics.ignored[why].inc(count)
        # Under the id of a pack that is done, a replayed dead letter would be dropped.
        attributes = {name: value for name, value in delivery.attributes.items() if name != "pack"}
        dead_letters = [
            _DeadLetter(data, attributes, UNREADABLE, f"not a LogEntry: {reason}")
            for data, reason in entries.unreadable
        ]
        return _Decoded(entries.hits, dead_letters=dead_letters)

    def _count(self, found: _Decoded, made: TableBatches) -> None:
        self._metrics.hits.inc(len(found.hits))
        for reason in made.rejects.values():
            self._metrics.rejects[reason].inc()
        for labels, count in made.problems.items():
            self._metrics.problems.labels(*labels).inc(count)
        for table, count in made.left_out.items():
            self._metrics.sampled_out.labels(table).inc(count)
        for table, count in made.misfits.items():
            self._metrics.copies_misfit.labels(table).inc(count)
        if faults := self._faults.add(len(made.faults)):
            _log.warning("hits met a fault of the processor", faults=faults, fault=made.faults[-1])

    async def _publish_dead_letter(self, one: _DeadLetter, source: str) -> None:
        data, attributes = dead_letter(one.data, one.attributes, reason=one.detail, source=source)
        await self._publisher.publish(self._topics.dead, data, attributes)
        self._metrics.dead.inc()
        self._metrics.dead_hits[one.reason].inc()
        if hits := self._dead_hits.add(1):
            _log.warning("hits dead-lettered", hits=hits, reason=one.detail)

    async def _publish(self, name: str, batch: pa.RecordBatch, pack_id: str) -> None:
        data, attributes = rows.pack(batch, name, pack_id)
        count = batch.num_rows
        del batch  # only the packed bytes wait for Pub/Sub
        with (
            self._metrics.publish_seconds.time(),
            tracing.step("publish", kind=tracing.Kind.PRODUCER) as span,
        ):
            span.note(table=name, rows=count)
            await self._publisher.publish(self._topics.rows, data, {**attributes, **tracing.carry()})
        if name != TALLIES:
            self._metrics.rows[name].inc(count)
        self._metrics.row_bytes.inc(len(data))


def _kind(delivery: Delivery) -> str:
    return "pack" if "schema" in delivery.attributes else "log_entry"


def _is_collected(delivery: Delivery) -> bool:
    """Whether a collector counted the hits as received, and nobody counted them as arrived since."""
    attributes = delivery.attributes
    return hit.INGESTED not in attributes and attributes.get(hit.REPLAYED) != hit.FROM_REJECTS


def _marked(
    table: str, batch: pa.RecordBatch, labels: list[tuple[int, str]] | None, pack: str, collected: bool
) -> Iterator[pa.RecordBatch]:
    """The batch in parts that fit a message, each with the hours and protocols of its hits, unless it is of copies."""
    start = 0
    for number, part in enumerate(rows.split(batch)):
        if labels is None:
            yield part
            continue
        own = labels[start : start + part.num_rows]
        yield tally_rows.mark(part, own, rows.pack_id(pack, table, number), collected=collected)
        start += part.num_rows


def _count(delivery: Delivery) -> int:
    """How many hits a message holds that is not processed."""
    if hit.TALLY in delivery.attributes:
        return 0
    return delivery.count if _kind(delivery) == "pack" else log_entry.count(delivery.data)


@contextmanager
def _nothing_collected() -> Iterator[None]:
    """Pause the cyclic garbage collector: it would walk a body's many small arrays while they are built."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
