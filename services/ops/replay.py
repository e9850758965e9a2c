"""Publishes the events of `rejects` again, once schema or code are repaired: hits to the processor, rows to the loader.

Events keep their ids, so what is replayed twice counts once. Rejects stay: they are history. Without --all, an event
that is in its table by now is skipped. With --archive it publishes all hits of a span of time again, from the archive.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections import defaultdict
from dataclasses import asdict, dataclass, field
from typing import Any

import pyarrow as pa
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from services.loader import reject_rows
from services.ops import archive_command, deployment, hit_packs, option, output, reconstruct
from services.ops.dead_letter import printable
from services.ops.reconstruct import NotReplayable
from services.ops.rejects import Count, Reject, Rejects, Wanted
from services.processor import parse
from services.provision.archive import REPLAYED
from services.shared import emulators, hit, resource_names, rows, schema_file
from services.shared.config import ConfigError
from services.shared.publisher import Publisher, Unconfirmed
from services.shared.schema import Schema

IN_FLIGHT = 8  # packs being published at a time
PUBLISH_SECONDS = 60.0
SHOWN_FAILURES = 20


@dataclass
class ReplayCounts:
    """How many rejects: `found` is the sum of the others; `left` were not read, for --limit or after a failure."""

    found: int = 0
    published: int = 0
    skipped: int = 0
    failed: int = 0
    left: int = 0


@dataclass
class _Batch:
    """What goes into packs next: encoded hits, and rows by table. At most a page of rejects is in it."""

    hits: list[bytes] = field(default_factory=list)
    rows: dict[str, list[pa.RecordBatch]] = field(default_factory=lambda: defaultdict(list))


def add_options(parser: argparse.ArgumentParser) -> None:
    deployment.add_project(parser)
    deployment.add_dataset(parser)
    for name, text in (
        ("reason", "only rejects of this reason"),
        ("table", "only rejects meant for this table"),
        ("event-id", "only this event"),
    ):
        parser.add_argument(f"--{name}", action="append", default=[], help=f"{text}; may be repeated")
    parser.add_argument(
        "--stage",
        action="append",
        default=[],
        choices=(parse.STAGE, reject_rows.STAGE),
        help="only rejects of this service",
    )
    archive_command.add_options(parser)
    parser.add_argument(
        "--since", type=option.moment, metavar="TIME", help="received at or after (ISO 8601, UTC by default)"
    )
    parser.add_argument("--until", type=option.moment, metavar="TIME", help="received before")
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--pending", action="store_true", default=True, help="skip events that are in a table by now (the default)"
    )
    which.add_argument("--all", dest="pending", action="store_false", help="publish those again too")
    parser.add_argument(
        "--tenant",
        help="give events of no tenant to this one of the schema file, such as with --reason unknown_tenant: their keys"
        " are not stored",
    )
    parser.add_argument("--limit", type=option.whole(1), help="publish at most so many")
    output.add_json(parser)
    parser.add_argument("--dry-run", action="store_true", help="count by reason and table, and publish nothing")
    parser.add_argument(
        "--hits-topic", type=option.name("topic"), default=resource_names.HITS_TOPIC, help="where hits go (%(default)s)"
    )
    parser.add_argument(
        "--rows-topic", type=option.name("topic"), default=resource_names.ROWS_TOPIC, help="where rows go (%(default)s)"
    )


async def run(options: argparse.Namespace) -> int:
    """Print the outcome as one JSON object. The exit code is 1 if an event could not be published."""
    archive_command.check(options)
    if options.archive is not None:
        return await archive_command.run(options)
    schema = schema_file.load(options.schema)
    if options.tenant is not None and options.tenant not in schema.tenants.by_name:
        listed = ", ".join(schema.tenants.by_name) or "none"
        raise ConfigError(f"--tenant {options.tenant!r}: the schema file lists no such tenant ({listed})")
    client = deployment.bigquery_client(options.project)
    emulators.check(emulators.PUBSUB)
    wanted = Wanted(
        tuple(options.reason),
        tuple(options.table),
        tuple(options.stage),
        tuple(options.event_id),
        options.since,
        options.until,
    )
    rejects = Rejects(client, options.project, options.dataset, schema, wanted, pending=options.pending)
    with output.working("counting rejects"):
        counts = await asyncio.to_thread(rejects.counts)
    if options.dry_run:
        output.show(options, _plan(counts, options.limit))
        return 0
    found = sum(count.rejects for count in counts)
    outcome = ReplayCounts()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with output.progress(*columns) as progress:
        async with Publisher(options.project, in_flight=IN_FLIGHT, timeout=PUBLISH_SECONDS) as publisher:
            shown = progress.add_task("replaying", total=found)
            replay = Replay(
                schema, publisher, options.hits_topic, options.rows_topic, outcome, options.limit, options.tenant or ""
            )
            await _all_pages(rejects, replay, progress, shown)
    outcome.left = max(0, found - outcome.published - outcome.skipped - outcome.failed)
    outcome.found = outcome.published + outcome.skipped + outcome.failed + outcome.left
    if replay.unprinted:
        print(f"replay: {replay.unprinted} more events not published", file=sys.stderr)
    output.show(options, asdict(outcome))
    return 1 if outcome.failed else 0


def _plan(counts: list[Count], limit: int | None) -> dict[str, Any]:
    found, skipped = sum(count.rejects for count in counts), sum(count.loaded for count in counts)
    to_publish = found - skipped if limit is None else min(limit, found - skipped)
    return {
        "dry_run": True,
        "found": found,
        "skipped": skipped,
        "to_publish": to_publish,
        "rejects": [asdict(count) for count in counts],
    }


async def _all_pages(rejects: Rejects, replay: Replay, progress: Progress, shown: TaskID) -> None:
    pages = rejects.pages()
    while (page := await asyncio.to_thread(next, pages, None)) is not None:
        more = await replay.page(page)
        outcome = replay.outcome
        progress.update(shown, completed=outcome.published + outcome.skipped + outcome.failed)
        if not more:
            return


class Replay:
    """Publishes pages of rejects and counts in `outcome`; prints the first failures, `unprinted` counts the others."""

    def __init__(
        self,
        schema: Schema,
        publisher: Publisher,
        hits_topic: str,
        rows_topic: str,
        outcome: ReplayCounts,
        limit: int | None,
        tenant: str = "",
    ) -> None:
        self._schema, self._publisher, self._tenant = schema, publisher, tenant
        self._hits_topic, self._rows_topic = hits_topic, rows_topic
        self.outcome, self._left = outcome, limit
        self.unprinted = 0
        self._printed = 0
        self._unconfirmed = False

    async def page(self, page: list[Reject]) -> bool:
        """Whether to go on: not at the limit, nor once Pub/Sub did not confirm."""
        batch = _Batch()
        for reject in page:
            if reject.loaded:
                self.outcome.skipped += 1
                continue
            if self._left == 0:
                break
            try:
                self._add(batch, reject)
            except NotReplayable as error:
                self._fail(1, f"{reject.event_id}: {error}")
                continue
            if self._left is not None:
                self._left -= 1
        await self._publish(batch)
        return not self._unconfirmed and self._left != 0

    def _add(self, batch: _Batch, reject: Reject) -> None:
        if reject.stage == reject_rows.STAGE:
            table, row = reconstruct.row_of(reject, self._schema)
            batch.rows[table].append(row)
        else:
            batch.hits.append(reconstruct.hit_of(reject, self._tenant))

    async def _publish(self, batch: _Batch) -> None:
        async with asyncio.TaskGroup() as tasks:
            for lines in hit_packs.grouped(batch.hits):
                # A new id: the processor has seen the old pack, and would drop it unread.
                data, attributes = hit.pack(lines, hit_packs.new_id())
                attributes[REPLAYED] = hit.FROM_REJECTS
                tasks.create_task(self._send(self._hits_topic, data, attributes, len(lines)))
            for table, single in batch.rows.items():
                whole = pa.concat_batches(single)
                for part in rows.split(whole):
                    data, attributes = rows.pack(part, table, hit_packs.new_id())
                    tasks.create_task(self._send(self._rows_topic, data, attributes, part.num_rows))

    async def _send(self, topic: str, data: bytes, attributes: dict[str, str], count: int) -> None:
        try:
            await self._publisher.publish(topic, data, attributes)
        except Unconfirmed as error:
            self._unconfirmed = True
            self._fail(count, f"{count} events: not confirmed: {deployment.one_line(error)}")
        else:
            self.outcome.published += count

    def _fail(self, count: int, text: str) -> None:
        self.outcome.failed += count
        if self._printed == SHOWN_FAILURES:
            self.unprinted += count
            return
        self._printed += 1
        print(f"replay: not published: {printable(text)}", file=sys.stderr)
