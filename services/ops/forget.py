"""Deletes people from every table of the schema file, from `conflicts` and from dead letters, and writes a receipt.

The receipt, a row of the table `erasures`, says how many rows went, and what may still hold the people until when. What
was on its way meanwhile arrives later: run the same command again once `again_after` has passed, which completes it.
It may be interrupted at any time, and run again.
"""

from __future__ import annotations

import argparse
import asyncio
import getpass
import json
import secrets
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from google.api_core import exceptions
from google.auth.exceptions import GoogleAuthError
from google.cloud import pubsub_v1
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn

from services.ops import (
    dead_letter,
    dead_letter_erasure,
    dead_letter_queue,
    deployment,
    in_flight,
    option,
    output,
    people,
    receipts,
)
from services.ops.dead_letter_erasure import Letters
from services.ops.dead_letter_queue import DeadLetterQueue
from services.ops.deployment import TIMEOUT, CommandRefused
from services.ops.people import People
from services.ops.person_search import Found, PersonSearch, StillBuffered
from services.ops.receipts import Receipt, Receipts, Remainder
from services.shared import emulators, identity, resource_names, schema_file
from services.shared.publisher import Publisher, Unconfirmed
from services.shared.resource_names import subscription_path

ARRIVAL_SECONDS = 600.0
BUFFER_SECONDS = 5_400.0  # after which BigQuery changes rows wherever they came from
PUBLISH_SECONDS = 60.0
STATEMENT_SECONDS = 60.0  # that an interrupted run waits for what it deletes at that moment
FAIL_SAFE = timedelta(days=7)  # after time travel; only Google's support can restore from it
RETENTION = timedelta(days=7)  # of a subscription that cannot be seen, as provisioned


def add_options(parser: argparse.ArgumentParser) -> None:
    deployment.add_project(parser)
    deployment.add_dataset(parser)
    people.add_options(parser)
    parser.add_argument("--dry-run", action="store_true", help="count, delete nothing, and write no receipt")
    parser.add_argument("--by", default=None, help="who runs it, for the receipt (the user of this machine)")
    parser.add_argument("--json", action="store_true", help="the receipt as one JSON object")
    parser.add_argument(
        "--receipts", action="store_true", help="only show the receipts: of these people, or all if nobody is named"
    )
    parser.add_argument(
        "--pending", action="store_true", help="only show the receipts that wait for a second run; 1 if one is due"
    )
    parser.add_argument(
        "--buffer-wait",
        type=option.number(0),
        default=BUFFER_SECONDS,
        metavar="SECONDS",
        help="how long to wait for rows in BigQuery's streaming buffer (%(default)s)",
    )
    parser.add_argument(
        "--admin",
        action="append",
        default=[],
        type=option.url,
        metavar="ADMIN_URL",
        help="the admin port of a process, for each of them, loaders first: then it waits for what is on its way",
    )
    parser.add_argument(
        "--admin-wait",
        type=option.number(0),
        default=ARRIVAL_SECONDS,
        metavar="SECONDS",
        help="for how long (%(default)s)",
    )
    for name, default, text in (
        ("hits-subscription", resource_names.HITS_SUBSCRIPTION, "for how long it keeps hits"),
        ("rows-subscription", resource_names.ROWS_SUBSCRIPTION, "for how long it keeps rows"),
    ):
        parser.add_argument(
            f"--{name}", type=option.name("subscription"), default=default, help=f"{text} (%(default)s)"
        )
    parser.add_argument(
        "--dead-topic",
        type=option.name("topic"),
        default=resource_names.DEAD_TOPIC,
        help="where the other events of a dead letter go again (%(default)s)",
    )
    dead_letter_queue.add_options(parser)


async def run(options: argparse.Namespace) -> int:
    """The exit code is 1 if something is left that has to be dealt with."""
    schema = schema_file.load(options.schema)
    if options.receipts or options.pending:
        return await asyncio.to_thread(_show, options, schema)
    meant = people.read(options, schema)
    client = deployment.bigquery_client(options.project)
    await asyncio.to_thread(emulators.check, emulators.PUBSUB)
    book = Receipts(client, options.project, options.dataset)
    if not options.dry_run:
        await asyncio.to_thread(book.check)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with output.progress(*columns) as progress:
        task = progress.add_task("looking", total=None)

        def waiting(text: str) -> None:
            progress.update(task, description=text or "deleting")

        def step(text: str, total: int | None = None) -> None:
            progress.update(task, description=text, advance=1, total=total)

        search = PersonSearch(client, options.project, options.dataset, schema, meant, waiting=waiting)
        erasure = Erasure(options, search, step)
        try:
            await erasure.run()
        except (KeyboardInterrupt, asyncio.CancelledError):
            erasure.remains.append(Remainder("this run", "it was interrupted; run it again", open=True))
            _write(options, client, book, meant, erasure)
            raise
    receipt = _write(options, client, book, meant, erasure)
    _print(options, meant, receipt, erasure)
    return 1 if any(one.open for one in receipt.remains) else 0


@dataclass
class Erasure:
    """One run: what went so far, and what is left of it."""

    options: argparse.Namespace
    search: PersonSearch
    step: Callable[..., None]
    deleted: dict[str, int] = field(default_factory=dict)
    letters: Letters = field(default_factory=Letters)
    remains: list[Remainder] = field(default_factory=list)

    async def run(self) -> None:
        """Dead letters first, which may be replayed into the tables; `conflicts` last, as compaction fills it."""
        if self.options.admin:
            self.step("waiting for what is on its way")
            left = await in_flight.left_after(self.options.admin, self.options.admin_wait)
            if left:
                why = f"{left} hits had not arrived after {self.options.admin_wait:g} s"
                self.remains.append(Remainder("services and subscriptions", why))
        await self._dead_letters()
        try:
            targets, columns, absent = await asyncio.to_thread(self.search.tables)
        except exceptions.GoogleAPIError as error:  # dead letters may be gone, which the receipt has to say
            self.remains.append(Remainder("all tables", deployment.one_line(error), open=True))
            return
        for name in absent:
            self.remains.append(Remainder(f"table {name}", "there is no such table; the provisioner makes it"))
        self.step("looking", 2 * len(targets) + 1)
        for target in targets:
            self.deleted[target.name] = 0
            try:
                found = await asyncio.to_thread(self.search.find, target, columns[target.name])
                self.step(f"deleting from {target.name}")
                await self._delete_in_thread(found)
            except (StillBuffered, exceptions.GoogleAPIError) as error:  # the other tables are not affected
                self.remains.append(Remainder(f"table {target.name}", deployment.one_line(error), open=True))
            self.step("looking")

    async def _delete_in_thread(self, found: Found) -> None:
        deleting = asyncio.create_task(asyncio.to_thread(self._delete, found))
        try:
            await asyncio.wait({deleting})  # which, cancelled, does not cancel it: the receipt counts what it deletes
        except asyncio.CancelledError:
            self.search.end()
            place = f"table {found.target.name}"
            still = Remainder(place, "a statement still ran, and no receipt counts its rows", open=True)
            self.remains.append(still)
            if (await asyncio.wait({deleting}, timeout=STATEMENT_SECONDS))[0]:
                self.remains.remove(still)
                deleting.exception()  # what ended it, the interruption ends as well
            raise
        await deleting

    def _delete(self, found: Found) -> None:
        if self.options.dry_run:
            self.deleted[found.target.name] = found.rows
            return
        for count in self.search.delete(found, buffer_seconds=self.options.buffer_wait):
            self.deleted[found.target.name] += count

    async def _dead_letters(self) -> None:
        options, counts, place = self.options, self.letters, f"dead letters of {self.options.subscription}"
        try:
            async with DeadLetterQueue(options.project, options.subscription, wait=options.wait) as queue:
                if options.dry_run:
                    await dead_letter_erasure.erase(queue, self.search.matcher, None, options.dead_topic, counts)
                else:
                    async with Publisher(options.project, in_flight=1, timeout=PUBLISH_SECONDS) as publisher:
                        await dead_letter_erasure.erase(
                            queue, self.search.matcher, publisher, options.dead_topic, counts
                        )
        except (CommandRefused, Unconfirmed, GoogleAuthError, exceptions.GoogleAPIError) as error:
            self.remains.append(Remainder(place, f"{deployment.one_line(error)}; run it again", open=True))
        if counts.full:
            self.remains.append(Remainder(place, "there are more than could be read; replay or drop some", open=True))
        if self.search.matcher.tenant:
            why = "what cannot be read of them is of no tenant that is known, and stays; leave --tenant out for it"
            self.remains.append(Remainder(place, why))
        if counts.unreadable:
            listed = ", ".join(map(dead_letter.printable, counts.unreadable[:20]))
            count = len(counts.unreadable)
            why = f"{count} can be read by nobody; `pixelpipe dead show`, then `pixelpipe dead drop` ({listed})"
            self.remains.append(Remainder(place, why))


def _write(options: argparse.Namespace, client: Any, book: Receipts, meant: People, erasure: Erasure) -> Receipt:
    """The receipt, written unless it is a dry run."""
    now = datetime.now(UTC).replace(microsecond=0)
    earlier = [] if options.dry_run else book.of(meant)
    # One about others too waits for a second run about all of them.
    earlier = [one for one in earlier if len(one.who) == len(meant.digests(b""))]
    waiting = receipts.unfinished(earlier)
    went = sum(erasure.deleted.values()) + erasure.letters.events
    travel = now + _time_travel(client, options) if sum(erasure.deleted.values()) and not options.dry_run else None
    again_after = waiting[0].again_after if waiting else now + _retention(options)
    is_open = any(one.open for one in erasure.remains)
    second = bool(waiting) and receipts.is_due(waiting[0], now)
    nothing_new = not waiting and bool(earlier) and not went
    complete = not is_open and not options.dry_run and (second or nothing_new)
    salt = secrets.token_bytes(16)
    receipt = Receipt(
        erasure_id=identity.uuid7(time.time_ns() // 1000),
        erased_at=now,
        erased_by=options.by or _user(),
        tenant=meant.tenant or None,
        people=meant.count,
        salt=salt.hex(),
        who=meant.digests(salt),
        deleted=erasure.deleted,
        dead_letters=erasure.letters.events,
        time_travel_until=travel,
        again_after=None if complete else again_after,
        remains=[*erasure.remains, *_elsewhere(travel, None if complete else again_after)],
        follows=[one.erasure_id for one in waiting],
        complete=complete,
    )
    if not options.dry_run:
        try:
            book.write(receipt)
        except exceptions.GoogleAPIError as error:
            print(json.dumps(receipt.shown()))
            why = f"the rows are deleted, and the receipt could not be written: {deployment.one_line(error)}"
            raise CommandRefused(f"{why}; keep what is printed here, and run it again") from error
    return receipt


def _elsewhere(travel: datetime | None, again_after: datetime | None) -> list[Remainder]:
    """Where this command cannot reach, and until when that holds what it held."""
    found = []
    if travel is not None:
        found += [
            Remainder("time travel", "queries of the past still show the deleted rows", _text(travel)),
            Remainder("fail-safe", "Google's support can restore the deleted rows", _text(travel + FAIL_SAFE)),
        ]
    if again_after is not None:
        why = "what is on its way arrives in the tables after this run; run it again then"
        found.append(Remainder("subscriptions of hits and rows", why, _text(again_after)))
    return [
        *found,
        Remainder("spools of collectors", "on their disks until Pub/Sub takes it: pixelpipe_collector_spool_hits is 0"),
        Remainder("archive", "if one was provisioned: until its lifecycle rule deletes the objects"),
        Remainder("copies", "exports, snapshots and tables that are not in the schema file"),
    ]


def _time_travel(client: Any, options: argparse.Namespace) -> timedelta:
    with suppress(exceptions.GoogleAPIError):  # to see the dataset is a permission of its own; then the most holds
        return deployment.time_travel(client, f"{options.project}.{options.dataset}")
    return deployment.MOST_TIME_TRAVEL


def _retention(options: argparse.Namespace) -> timedelta:
    """How long something can be on its way: it may wait as a hit, and then as a row."""
    whole = timedelta()
    with pubsub_v1.SubscriberClient() as client:
        for name in (options.hits_subscription, options.rows_subscription):
            kept = RETENTION
            with suppress(exceptions.GoogleAPIError):  # to see it is a permission of its own; then it is as provisioned
                found = client.get_subscription(subscription=subscription_path(options.project, name), timeout=TIMEOUT)
                kept = found.message_retention_duration
            whole += kept
    return whole


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container whose user has no name
        return "unknown"


def _print(options: argparse.Namespace, meant: People, receipt: Receipt, erasure: Erasure) -> None:
    found = {**receipt.shown(), **people.described(meant), "rows": sum(receipt.deleted.values())}
    if options.dry_run:
        for name in ("erasure_id", "erased_at", "erased_by", "again_after", "follows", "complete", "time_travel_until"):
            del found[name]
        found = {"dry_run": True, **found}
    if options.json:
        print(json.dumps(found))
        return
    verb = "would be deleted" if options.dry_run else "deleted"
    for name, count in receipt.deleted.items():
        print(f"{name}: {count} rows {verb}")
    print(f"dead letters: {receipt.dead_letters} events of {erasure.letters.letters} messages {verb}")
    for one in receipt.remains:
        until = f" (until {one.until})" if one.until else ""
        print(f"{'LEFT' if one.open else 'not reached'}: {one.place}: {one.why}{until}")
    if not options.dry_run:
        state = "complete" if receipt.complete else f"run it again after {found['again_after']}"
        print(f"receipt {receipt.erasure_id}: {state}")


def _show(options: argparse.Namespace, schema: Any) -> int:
    """The receipts, a JSON object each."""
    book = Receipts(deployment.bigquery_client(options.project), options.project, options.dataset)
    book.check()
    ids = (options.user_id, options.anonymous_id, options.visitor_id, options.where, options.file)
    found = book.of(people.read(options, schema)) if any((*ids, options.everyone)) else list(book.all())
    if options.pending:
        found = receipts.unfinished(found)
    for one in found:
        print(json.dumps(one.shown()))
    due = sum(map(receipts.is_due, found)) if options.pending else 0
    print(f"forget: {len(found)} receipts" + (f", {due} of them due" if options.pending else ""), file=sys.stderr)
    return 1 if due else 0


def _text(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")
