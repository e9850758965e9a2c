"""All that the page looks with, made once and kept going: the state, the feed, the raw hits, and who asks BigQuery."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Any

import aiohttp
import msgspec

from local import find, item
from local.dead_letters import DeadLetters
from local.explanation import Explanation
from local.feed import Feed
from local.find import Finder
from local.proof import Proof
from local.raw_hits import RawHits
from local.refusal import Refused
from local.restart import Restarts
from local.sql_box import SqlBox
from local.state import Look
from local.story import Reading
from local.stream import Stream
from local.watched import Watched
from services.ops import sample_report
from services.processor import lookup_files
from services.processor.enrich.lookup_table import LookupFile
from services.processor.enrich.watched_file import Unusable
from services.processor.parse import STAGE
from services.processor.places import Places
from services.shared import hash_keys, privacy, resource_names
from services.shared.hit import Hit
from services.shared.policy import Policy
from services.shared.schema import Schema


@dataclass(frozen=True)
class Sights:
    """`raw_hits` is None where the page has no subscription of its own."""

    watched: Callable[[], Watched]
    look: Look
    feed: Feed
    raw_hits: RawHits | None
    restarts: Restarts
    finder: Finder
    reading: Reading
    explanation: Explanation
    sql_box: SqlBox
    proof: Proof
    dead_letters: DeadLetters
    stream: Stream
    session: aiohttp.ClientSession
    files: list[LookupFile | Places]

    async def keep_fresh(self, every_seconds: float = lookup_files.EVERY_SECONDS) -> None:
        """Take each file that was replaced, as the processor does, until cancelled."""
        while self.files:
            await asyncio.sleep(every_seconds)
            for file in self.files:
                with suppress(Unusable):  # the one before stays, and the processor says so
                    await asyncio.to_thread(file.refresh)

    async def story(self, event_id: str, table: str | None) -> dict[str, Any]:
        """Raises Refused for an event that is unknown."""
        now = time.time_ns() // 1000
        raw = await asyncio.to_thread(self.raw_hits.find, event_id, now) if self.raw_hits else None
        stored = await self.finder.one(self.reading.event_id(raw, now) if raw else event_id, table)
        if raw is None and stored is not None:
            raw = of_reject(stored)
        if raw is not None:
            found = self.reading.of_hit(raw, now, stored)
            if stored is None:
                found |= {"outcome": "in_flight", "note": "its row is not in BigQuery yet: this is what it becomes"}
            elif stored["kind"] == item.REJECT and found["outcome"] == "row":
                note = "the processor made a row of it, which BigQuery refused; fields of the reject say why"
                refusal = {name: stored[name] for name in ("column", "reason", "detail")}
                found |= {"outcome": "reject", "table": stored["table"], "note": note}
                found["refused"] = [*found["refused"], {**refusal, "value": None}]
            return found
        if stored is not None:
            return self.reading.of_item(stored)
        where = f"among the rows and rejects of the last {find.DAYS.days} days, and none is on its way"
        raise Refused(f"no event {event_id[:80]!r} {where}", HTTPStatus.NOT_FOUND)


def of_reject(stored: Mapping[str, Any]) -> Hit | None:
    """The raw hit that a reject of the processor holds; None for one that was cut for the page."""
    row = stored["row"]
    if row.get("stage") != STAGE or not isinstance(row.get("hit"), str):
        return None
    try:
        return msgspec.json.decode(row["hit"], type=Hit)
    except (msgspec.MsgspecError, RecursionError):
        return None


def make(
    watched: Callable[[], Watched],
    schema: Schema,
    client: Any,
    restarts: Restarts,
    session: aiohttp.ClientSession,
    environ: Mapping[str, str],
    *,
    tap: bool,
) -> Sights:
    """`environ` has the PIPE_* settings of the services; `tap` says whether the page may have a subscription.

    Raises ConfigError for settings that no service would start with.
    """
    now = watched()
    preset = environ.get("PIPE_PRIVACY", privacy.BALANCED)
    protection = schema.privacy[preset]
    policy = Policy(protection, hash_keys.of_setting(protection, environ.get("PIPE_HASH_KEY_FILE", "")), schema.tenants)
    # A cluster's files are not here: then their columns are NULL.
    parser, _, files = sample_report.reader(schema, preset, environ)
    reading = Reading(schema, parser, now.collector)
    feed = Feed(client, now.dataset, schema, remote=now.read_only)
    topic = environ.get("PIPE_HITS_TOPIC", resource_names.HITS_TOPIC)
    raw_hits = None
    if tap:
        began = int(datetime.fromisoformat(now.started).timestamp() * 1_000_000)
        raw_hits = RawHits(now.project, topic, reading, policy, began)
    look = Look(watched, restarts, environ)
    return Sights(
        watched=watched,
        look=look,
        feed=feed,
        raw_hits=raw_hits,
        restarts=restarts,
        finder=Finder(client, now.dataset, feed),
        reading=reading,
        explanation=Explanation(schema, reading, environ),
        sql_box=SqlBox(client, now.project, now.dataset, now.any_sql),
        proof=Proof(client, now.dataset, raw_hits),
        dead_letters=DeadLetters(now.project, environ.get("PIPE_DEAD_SUBSCRIPTION", resource_names.DEAD_SUBSCRIPTION)),
        stream=Stream(look, feed),
        session=session,
        files=files,
    )
