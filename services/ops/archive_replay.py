"""Publishes hits of the archive again: whole packs as they were, under new ids, for the processor of today.

Hits keep their ids and times, so their events and days are the same, and the views count each once.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import msgspec
from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn

from services.ops import deployment, hit_packs, output
from services.ops.archive import Archive, ArchivedMessage, ArchivedObject, BrokenObject
from services.ops.dead_letter import printable
from services.processor import log_entry
from services.provision.archive import REPLAYED
from services.shared import format_version, hit, zstd_frame
from services.shared.errors import Poison
from services.shared.format_version import NewerFormat
from services.shared.lru_set import LruSet
from services.shared.publisher import Publisher, Unconfirmed

IN_FLIGHT = 8  # packs being published at a time
PUBLISH_SECONDS = 60.0
HOUR_US = 3_600_000_000
_SHOWN = 20  # problems printed; all are counted
_REMEMBERED = 100_000  # pack ids: a pack that is in the archive twice is so within minutes
_TRACE = "traceparent"  # a trace that was over long ago


class _Received(msgspec.Struct):
    """The one field of a hit that says whether it is wanted."""

    at: hit.Microseconds


_decoder = msgspec.json.Decoder(_Received)


@dataclass
class ArchiveCounts:
    """`published` of the `hits` in the span are confirmed; `resume_after` is the last object that is done with."""

    objects: int = 0
    packs: int = 0
    hits: int = 0
    published: int = 0
    unreadable: int = 0  # messages that no processor can read
    broken: list[str] = field(default_factory=list)  # objects that could not be read to their end
    left: int = 0  # objects not read, after Pub/Sub did not confirm
    resume_after: str | None = None

    @property
    def whole(self) -> bool:
        return not (self.unreadable or self.broken or self.left)


@dataclass(frozen=True)
class _Selected:
    """What is sent for one message of the archive; `hours` are the receipts of its hits, in hours since 1970.

    A tally has none: it is sent, so that a dataset made anew can be reconciled, but it is no hit.
    """

    data: bytes
    attributes: dict[str, str]
    hours: Counter[int]


class ArchiveReader:
    """Reads what was received from `since` until before `until`, and counts in `counts` and `hours`.

    `hours` counts hits by the hour of their receipt, a pack that is there twice only once.
    """

    def __init__(self, archive: Archive, since: datetime, until: datetime) -> None:
        self._archive, self._since, self._until = archive, since, until
        self._span = range(_us(since), _us(until))
        self._seen = LruSet[str](_REMEMBERED)
        self._printed = 0
        self.counts = ArchiveCounts()
        self.hours: Counter[int] = Counter()

    def objects(self, after: str | None) -> list[ArchivedObject]:
        found = self._archive.objects(self._since, self._until)
        return [one for one in found if after is None or one.name > after]

    def read(self, one: ArchivedObject) -> Iterator[_Selected]:
        """What is to be sent of an object. One that breaks off is counted and named, and what came before is sent."""
        try:
            for message in self._archive.messages(one):
                try:
                    selected = self._select(message)
                except (Poison, NewerFormat) as error:
                    self.counts.unreadable += 1
                    self._say(f"{one.name}: message {message.id}: {error}")
                    continue
                if selected is not None:
                    self._count(message, selected)
                    yield selected
        except BrokenObject as error:
            self.counts.broken.append(one.name)
            self._say(f"{one.name}: {error}")
        self.counts.objects += 1

    def _count(self, message: ArchivedMessage, selected: _Selected) -> None:
        self.counts.packs += bool(selected.hours)
        self.counts.hits += selected.hours.total()
        pack = message.attributes.get("pack", message.id)
        if pack not in self._seen:
            self._seen.add(pack)
            self.hours += selected.hours

    def _select(self, message: ArchivedMessage) -> _Selected | None:
        """None where nothing of it is wanted. Raises Poison or NewerFormat."""
        if REPLAYED in message.attributes:  # the hit was archived when it was first published
            return None
        attributes = {**message.attributes, REPLAYED: "archive"}
        attributes.pop(_TRACE, None)
        if "schema" not in message.attributes:
            found = log_entry.decode(message.data, message.id, message.published)
            hours = Counter(one.at // HOUR_US for one in found.hits if one.at in self._span)
            return _Selected(message.data, attributes, hours) if hours else None
        format_version.check(message.attributes.get("schema"), hit.SCHEMA)
        lines = [line for line in zstd_frame.decompress(message.data).split(b"\n") if line.strip()]
        times = [_received(line) for line in lines]
        wanted = [line for line, at in zip(lines, times, strict=True) if at is None or at in self._span]
        hours = Counter(at // HOUR_US for at in times if at is not None and at in self._span)
        if not hours:
            return None
        if hit.TALLY in message.attributes:
            hours.clear()
        # Under the old id the processor would drop the pack as a redelivery.
        attributes |= {"pack": hit_packs.new_id(), hit.ORIGINAL: message.attributes.get("pack", message.id)}
        if len(wanted) == len(lines):
            return _Selected(message.data, attributes, hours)
        data, own = hit.pack(wanted, attributes["pack"])
        return _Selected(data, {**attributes, **own}, hours)

    def _say(self, text: str) -> None:
        if self._printed < _SHOWN:
            print(f"replay: not readable: {printable(text)}", file=sys.stderr)
        elif self._printed == _SHOWN:
            print("replay: more objects or messages are not readable", file=sys.stderr)
        self._printed += 1


def _us(moment: datetime) -> int:
    since = moment.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def _received(line: bytes) -> int | None:
    """None for a line that is no hit: the processor dead-letters it, with its pack's others as ever."""
    try:
        return _decoder.decode(line).at
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


async def run(reader: ArchiveReader, objects: list[ArchivedObject], publisher: Publisher | None, topic: str) -> None:
    """Read the objects, and publish what is wanted of them; without a publisher only count."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    counts = reader.counts
    with output.progress(*columns) as progress:
        shown = progress.add_task(
            "reading" if publisher is None else "replaying", total=sum(one.size for one in objects)
        )
        for number, one in enumerate(objects):
            try:
                await _one(reader, one, publisher, topic)
            except Unconfirmed as error:
                counts.left = len(objects) - number
                print(f"replay: stopped in {one.name}: not confirmed: {deployment.one_line(error)}", file=sys.stderr)
                return
            progress.update(shown, advance=one.size)
            if publisher is not None:
                counts.resume_after = one.name


async def _one(reader: ArchiveReader, one: ArchivedObject, publisher: Publisher | None, topic: str) -> None:
    """Raises Unconfirmed, once all that was on its way with it is settled."""
    packs = reader.read(one)
    while group := await asyncio.to_thread(_some, packs):
        if publisher is None:
            continue
        sent = (publisher.publish(topic, pack.data, pack.attributes) for pack in group)
        outcomes: list[Any] = await asyncio.gather(*sent, return_exceptions=True)
        for pack, outcome in zip(group, outcomes, strict=True):
            if not isinstance(outcome, BaseException):
                reader.counts.published += pack.hours.total()
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome


def _some(packs: Iterator[_Selected]) -> list[_Selected]:
    return [pack for _, pack in zip(range(IN_FLIGHT), packs, strict=False)]
