"""The latest raw requests, from a subscription of the page's own to the topic of hits, which goes when the page does.

It counts those of collectors too, by the hour of their receipt: the proof need not wait for their tally, once a minute.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter, OrderedDict, deque
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from google.api_core import exceptions
from google.pubsub_v1 import SubscriberAsyncClient
from google.pubsub_v1.types import PullRequest

from local.story import Reading
from services.ops import tap
from services.processor import log_entry
from services.shared import backoff, fault, hit
from services.shared.errors import Poison
from services.shared.format_version import NewerFormat
from services.shared.hit import Hit
from services.shared.lru_set import LruSet
from services.shared.policy import Policy

KEPT = 2_000  # hits
MOST_BYTES = 32_000_000  # of them
HOURS = 48
_PACKS = 20_000  # known not to be counted twice
_NEVER_ESCAPED = re.compile(r"[A-Za-z0-9._~-]+")  # in a URL or in JSON
_CALL = {"timeout": 5.0, "retry": None}


class RawHits:
    """`run` never ends; `leave` removes the subscription.

    `counts` has the hits of collectors seen since it runs, by the hour of their receipt, `earlier` those of them that
    were received before `since`, in microseconds; `made` says whether it runs.
    """

    def __init__(self, project: str, topic: str, reading: Reading, policy: Policy, since: int = 0) -> None:
        self._wanted = tap.subscription(project, topic, "page")
        self.subscription = self._wanted.name
        self._reading, self._policy = reading, policy
        self._kept: OrderedDict[str, Hit] = OrderedDict()
        self._sizes: deque[int] = deque()
        self._bytes = 0
        self._packs = LruSet[str](_PACKS)
        self._client: Any = None
        self.made = False
        self._since = since
        self.counts: Counter[str] = Counter()
        self.earlier: Counter[str] = Counter()
        self.error: str | None = None

    async def run(self) -> None:
        wait = backoff.Backoff(0.2, 5.0)
        while True:
            try:
                if not self.made:
                    await self._make()
                answer = await self._client.pull(
                    request=PullRequest(subscription=self.subscription, max_messages=tap.MESSAGES),
                    timeout=tap.PULL_SECONDS,
                    retry=None,
                )
                for received in answer.received_messages:
                    self._take(received.message)
                if answer.received_messages:
                    ids = [received.ack_id for received in answer.received_messages]
                    await self._client.acknowledge(subscription=self.subscription, ack_ids=ids, **_CALL)
                self.error = None
                wait.reset()
            except exceptions.DeadlineExceeded:  # of a pull: nothing came
                if not self.made:
                    self.error = "Pub/Sub does not answer"
            except exceptions.GoogleAPICallError as error:
                self.made = self.made and not isinstance(error, exceptions.NotFound)
                self.error = fault.words(error.message or error)[:200]
                await asyncio.sleep(wait.wait())

    async def leave(self) -> None:
        if self._client is None:
            return
        try:
            if self.made:
                await self._client.delete_subscription(subscription=self.subscription, **_CALL)
        except exceptions.GoogleAPICallError as error:  # it expires by itself
            self.error = str(error.message)
        finally:
            await self._client.transport.close()

    async def _make(self) -> None:
        if self._client is None:
            self._client = SubscriberAsyncClient()
        with suppress(exceptions.AlreadyExists):  # an answer was lost
            await self._client.create_subscription(request=self._wanted, **_CALL)
        self.made, self.error = True, None

    def _take(self, message: Any) -> None:
        """What cannot be read is the processor's to complain about."""
        attributes = dict(message.attributes)
        pack = attributes.get("pack") or message.message_id
        collected = "schema" in attributes and {hit.INGESTED, hit.REPLAYED}.isdisjoint(attributes)
        new = pack not in self._packs
        self._packs.add(pack)
        try:
            if "schema" in attributes:
                hits = [one for one in hit.read(message.data, attributes).hits if one.tally is None]
            else:
                entries = log_entry.decode(message.data, message.message_id, _microseconds(message.publish_time))
                hits = log_entry.protected(entries, self._policy).hits
        except (Poison, NewerFormat):
            return
        for one in hits:
            if new and collected:
                self.counts[hour(one.at)] += 1
                self.earlier[hour(one.at)] += one.at < self._since
            self._keep(one)
        for old in sorted(self.counts)[:-HOURS]:
            del self.counts[old], self.earlier[old]

    def _keep(self, one: Hit) -> None:
        if one.id in self._kept:
            return
        size = sum(map(len, (one.query, one.text, bytes(one.body), bytes(one.envelope), *one.headers.values()))) + 500
        self._kept[one.id] = one
        self._sizes.append(size)
        self._bytes += size
        while len(self._kept) > KEPT or self._bytes > MOST_BYTES:
            self._kept.popitem(last=False)
            self._bytes -= self._sizes.popleft()

    def kept(self) -> list[Hit]:
        """Oldest first."""
        return list(self._kept.values())

    def find(self, event_id: str, now: int) -> Hit | None:
        """The hit of an event: by the id that the collector gave, else by the client's own; the newest of several."""
        if (found := self._kept.get(event_id)) is not None:
            return found
        wanted = event_id.partition("#")[0]  # an id in a query string that several items share is numbered
        for one in self._mentioning(wanted):
            if self._reading.event_id(one, now) == event_id:
                return one
        return None

    def holding(self, marker: str, now: int) -> str | None:
        """The id of the newest event whose request holds this text, which no other does."""
        return next((self._reading.event_id(one, now) for one in self._mentioning(marker)), None)

    def _mentioning(self, wanted: str) -> Iterator[Hit]:
        kept = self.kept()  # a copy: this runs in a thread, while more come
        return (one for one in reversed(kept) if _mentions(one, wanted))


def hour(at: int) -> str:
    """Of microseconds since 1970: 2026-03-01T12:00:00Z."""
    return datetime.fromtimestamp(at // 3_600_000_000 * 3600, UTC).isoformat().replace("+00:00", "Z")


def _mentions(one: Hit, wanted: str) -> bool:
    if _NEVER_ESCAPED.fullmatch(wanted):
        return wanted in one.query or wanted in one.text or wanted.encode() in bytes(one.body)
    return True


def _microseconds(at: Any) -> int:
    return int(at.timestamp() * 1_000_000)
