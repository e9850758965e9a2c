"""Dead letters: messages that no service could use, or that Pub/Sub gave up delivering.

`list` and `show` change nothing. `replay` publishes the original messages again to the topics they came from, and acks
each dead letter only after that is confirmed. `drop` deletes dead letters for good. `count` counts their hits for
the view `reconciliation`, as `reconcile` does before it asks it. What is not acked is nacked, and redelivered after the
subscription's backoff: a second, and longer each time.
"""

from __future__ import annotations

import argparse
import asyncio
import fnmatch
import hashlib
import json
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from services.ops import dead_letter, dead_letter_queue, dead_tally, deployment, option, output
from services.ops.dead_letter import DeadLetter, printable
from services.ops.dead_letter_queue import DeadLetterQueue
from services.ops.deployment import CommandRefused
from services.provision.archive import REPLAYED
from services.shared import config, resource_names
from services.shared.publisher import Publisher, Unconfirmed

IN_FLIGHT = 8  # messages being published at a time
PUBLISH_SECONDS = 60.0
_COLUMNS = (("id", 20), ("published", 27), ("source", 26), ("schema", 8), ("count", 6), ("bytes", 9))


@dataclass
class DeadReplayCounts:
    """How many dead letters match: `skipped` equal one that this run has published before."""

    found: int = 0
    published: int = 0
    skipped: int = 0
    failed: int = 0


def add_options(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True)
    listing = actions.add_parser("list", help="one line per dead letter")
    listing.add_argument("--json", action="store_true", help="one JSON object per dead letter")
    show = actions.add_parser("show", help="one dead letter as JSON, decoded as far as possible")
    show.add_argument("id", help="of the message, as `list` shows it")
    show.add_argument("--events", type=option.whole(0), default=20, help="at most so many events of it (%(default)s)")
    replay = actions.add_parser("replay", help="publish the originals again, then ack")
    replay.add_argument("--id", action="append", default=[], help="only this dead letter; may be repeated")
    replay.add_argument("--dry-run", action="store_true", help="count by reason and topic, and publish nothing")
    for name, default, text in (
        ("hits-topic", resource_names.HITS_TOPIC, "topic of hits"),
        ("hits-subscription", resource_names.HITS_SUBSCRIPTION, "its subscription, as dead letters name it"),
        ("rows-topic", resource_names.ROWS_TOPIC, "topic of rows"),
        ("rows-subscription", resource_names.ROWS_SUBSCRIPTION, "its subscription, as dead letters name it"),
    ):
        kind = option.name(name.rpartition("-")[2])
        replay.add_argument(f"--{name}", type=kind, default=default, help=f"{text} (%(default)s)")
    drop = actions.add_parser("drop", help="delete dead letters for good")
    drop.add_argument("id", nargs="+", help="of the message, as `list` shows it")
    drop.add_argument("--yes", action="store_true", help="do it; without this nothing is dropped")
    count = actions.add_parser("count", help="count hits by hour and protocol, and write that to the table `tallies`")
    deployment.add_dataset(count)
    for command in (listing, replay):
        command.add_argument("--reason", default="*", metavar="GLOB", help="only those with such a reason")
    for command in (show, replay, drop, count):
        output.add_json(command)
    for command in (listing, show, replay, drop, count):
        deployment.add_project(command)
        dead_letter_queue.add_options(command)


async def run(options: argparse.Namespace) -> int:
    """The exit code is 1 if a dead letter was not found, or could not be published."""
    async with DeadLetterQueue(options.project, options.subscription, wait=options.wait) as queue:
        with output.working("reading dead letters"):
            code = await _ACTIONS[options.action](options, queue)
        if queue.full:
            print("dead: as many dead letters as fit are held; there may be more", file=sys.stderr)
        return code


async def _list(options: argparse.Namespace, queue: DeadLetterQueue) -> int:
    shown = 0
    async for one in queue.messages():
        if not fnmatch.fnmatchcase(one.reason, options.reason):
            continue
        shown += 1
        if options.json:
            print(dead_letter.to_json(one.summary()), flush=True)
        else:
            if shown == 1:
                print(_line({name: name.upper() for name in one.summary()}))
            print(_line({name: "-" if value is None else value for name, value in one.summary().items()}), flush=True)
    print("1 dead letter" if shown == 1 else f"{shown} dead letters", file=sys.stderr)
    return 0


def _line(values: dict[str, object]) -> str:
    cells = [f"{printable(str(values[name])):<{width}}" for name, width in _COLUMNS]
    return " ".join([*cells, printable(str(values["reason"]))])


async def _show(options: argparse.Namespace, queue: DeadLetterQueue) -> int:
    async for one in queue.messages():
        if one.id == options.id:
            content = dead_letter.read(one, options.events)
            output.show(options, {**one.summary(), "attributes": dict(one.attributes), **content}, indent=2)
            return 0
    raise CommandRefused(_not_found([options.id]))


async def _drop(options: argparse.Namespace, queue: DeadLetterQueue) -> int:
    if not options.yes:
        raise CommandRefused(
            "what is dropped is gone for good; look at it with `pixelpipe dead show ID`, then add --yes"
        )
    missing = set(options.id)
    async for one in queue.messages():
        if one.id in missing:
            missing.remove(one.id)
            await queue.settle(one)
        if not missing:
            break
    output.show(options, {"dropped": [one for one in dict.fromkeys(options.id) if one not in missing]})
    if missing:
        raise CommandRefused(_not_found(sorted(missing)))
    return 0


async def _count(options: argparse.Namespace, queue: DeadLetterQueue) -> int:
    client = deployment.bigquery_client(options.project)
    found = await dead_tally.counted(queue, options.schema)
    await asyncio.to_thread(dead_tally.write, client, options.project, options.dataset, found)
    output.show(options, {"hits": found.hits, "counts": found.shown(), "first_event_ids": found.ids})
    return 0


def _not_found(ids: list[str]) -> str:
    named = ", ".join(map(config.shown, ids))
    return f"no dead letter {named} was delivered; if it was read moments ago, try again a little later"


async def _replay(options: argparse.Namespace, queue: DeadLetterQueue) -> int:
    topics = {options.hits_subscription: options.hits_topic, options.rows_subscription: options.rows_topic}
    missing = set(options.id)
    async with Publisher(options.project, in_flight=IN_FLIGHT, timeout=PUBLISH_SECONDS) as publisher:
        replay = _Replayer(queue, publisher, topics, dry_run=options.dry_run)
        async with asyncio.TaskGroup() as tasks:
            async for one in queue.messages():
                if not fnmatch.fnmatchcase(one.reason, options.reason) or (options.id and one.id not in options.id):
                    continue
                missing.discard(one.id)
                if not await replay.take(one, tasks) or (options.id and not missing):
                    break
    output.show(options, replay.report())
    if missing:
        raise CommandRefused(_not_found(sorted(missing)))
    return 1 if replay.outcome.failed else 0


class _Replayer:
    """Publishes originals, a few at a time, and acks each dead letter whose original Pub/Sub has confirmed."""

    def __init__(
        self, queue: DeadLetterQueue, publisher: Publisher, topics: Mapping[str, str], *, dry_run: bool
    ) -> None:
        self._queue, self._publisher, self._topics, self._dry_run = queue, publisher, topics, dry_run
        self._slots = asyncio.Semaphore(IN_FLIGHT)
        self._seen: set[bytes] = set()
        self._kinds = Counter[tuple[str, str]]()
        self._unconfirmed = False
        self.outcome = DeadReplayCounts()

    async def take(self, one: DeadLetter, tasks: asyncio.TaskGroup) -> bool:
        """Whether to go on: not once Pub/Sub did not confirm."""
        self.outcome.found += 1
        topic = self._topics.get(one.source or "")
        same = hashlib.sha256(one.data + json.dumps(sorted(one.original_attributes().items())).encode()).digest()
        if topic is None:
            self._fail(one, f"its source {one.source!r} is neither {' nor '.join(self._topics)}")
        elif same in self._seen:
            # If the cause is not repaired, it is dead-lettered again during this run: replaying that would never end.
            self.outcome.skipped += 1
        else:
            self._seen.add(same)
            self._kinds[one.reason, topic] += 1
            if not self._dry_run:
                await self._slots.acquire()
                tasks.create_task(self._publish(one, topic))
        return not self._unconfirmed

    def report(self) -> dict[str, Any]:
        if not self._dry_run:
            return asdict(self.outcome)
        kinds = [
            {"reason": reason, "topic": topic, "dead_letters": count} for (reason, topic), count in self._kinds.items()
        ]
        return {"dry_run": True, **asdict(self.outcome), "to_publish": self._kinds.total(), "dead_letters": kinds}

    async def _publish(self, one: DeadLetter, topic: str) -> None:
        try:
            again = {**one.original_attributes(), REPLAYED: one.attributes.get(REPLAYED, "dead")}
            await self._publisher.publish(topic, one.data, again)
        except Unconfirmed as error:
            self._unconfirmed = True
            self._fail(one, f"not confirmed: {deployment.one_line(error)}")
        else:
            await self._queue.settle(one)
            self.outcome.published += 1
        finally:
            self._slots.release()

    def _fail(self, one: DeadLetter, text: str) -> None:
        self.outcome.failed += 1
        print(f"dead: {one.id} not published: {printable(text)}", file=sys.stderr)


_ACTIONS = {"list": _list, "show": _show, "replay": _replay, "drop": _drop, "count": _count}
