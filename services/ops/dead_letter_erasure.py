"""Takes people out of dead letters: what is left of a message is published again, and then the message is acked."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pyarrow as pa

from services.ops.dead_letter import DeadLetter
from services.ops.dead_letter_queue import DeadLetterQueue
from services.ops.person_match import Matcher
from services.processor import log_entry
from services.shared import hit, rows, zstd_frame
from services.shared.errors import Poison
from services.shared.hit import Hit
from services.shared.publisher import Publisher

Message = tuple[bytes, dict[str, str]]


@dataclass(frozen=True)
class Split:
    """A dead letter: its `events` of the people as JSON has them, and the `rest` of it, None where nothing is left."""

    events: list[Any]
    rest: Message | None


@dataclass
class Letters:
    """What became of the dead letters: `events` were in `letters` of them, `unreadable` have ids nobody can read."""

    letters: int = 0
    events: int = 0
    unreadable: list[str] = field(default_factory=list)
    full: bool = False  # there may be more than this process could hold


def split(letter: DeadLetter, matcher: Matcher) -> Split | None:
    """Which events of it are the people's; None for a message of which no part can be read."""
    schema = letter.attributes.get("schema")
    try:
        if schema == hit.SCHEMA:
            return _hits(letter, matcher)
        if schema == rows.SCHEMA:
            return _rows(letter, matcher)
        if schema is None:
            return _entries(letter, matcher)
    except Poison:
        pass
    return _text(letter.data, matcher)


def _hits(letter: DeadLetter, matcher: Matcher) -> Split:
    lines = [line for line in zstd_frame.decompress(letter.data).splitlines() if line.strip()]
    events, kept = [], []
    for line in lines:
        try:
            one = msgspec.json.decode(line, type=Hit)
            is_meant = matcher.hit(one)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            is_meant = matcher.unread(line.decode(errors="replace"))
        if is_meant:
            events.append(line.decode(errors="replace"))
        else:
            kept.append(line)
    if not kept:
        return Split(events, None)
    attributes = _counted(letter.attributes, len(lines), len(kept))
    return Split(events, (zstd_frame.compress(b"\n".join(kept)), attributes))


def _rows(letter: DeadLetter, matcher: Matcher) -> Split:
    try:
        with pa.ipc.open_stream(zstd_frame.decompress(letter.data)) as stream:
            batches = list(stream)
        for batch in batches:
            batch.validate(full=True)
        events: list[Any] = []
        kept = []
        table = letter.attributes.get("table")
        for batch in batches:
            found = [matcher.row(table, row) for row in batch.to_pylist()]
            events += [row for row, is_meant in zip(batch.to_pylist(), found, strict=True) if is_meant]
            kept.append(batch.filter(pa.array([not is_meant for is_meant in found], pa.bool_())))
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, batches[0].schema) as stream:
            for batch in kept:
                stream.write_batch(batch)
    except (pa.ArrowException, OSError, ValueError, OverflowError, IndexError) as error:
        raise Poison(f"arrow: {error}") from error
    left = sum(batch.num_rows for batch in kept)
    if not left:
        return Split(events, None)
    attributes = _counted(letter.attributes, left + len(events), left)
    return Split(events, (zstd_frame.compress(sink.getvalue()), attributes))


def _entries(letter: DeadLetter, matcher: Matcher) -> Split:
    """Log entries, one or an array of them: each is one event."""
    published = int(letter.published.timestamp() * 1_000_000)
    events: list[bytes] = []
    kept: list[bytes] = []
    for part in log_entry.elements(letter.data):
        entry = bytes(part)
        try:
            found = log_entry.decode(entry, letter.id, published)
            is_meant = any(map(matcher.log_entry, found.hits))
        except Poison:
            is_meant = matcher.unread(entry.decode(errors="replace"))
        (events if is_meant else kept).append(entry)
    rest = (b"[" + b",".join(kept) + b"]", dict(letter.attributes)) if kept else None
    return Split([entry.decode(errors="replace") for entry in events], rest)


def _text(data: bytes, matcher: Matcher) -> Split | None:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return None
    return Split([text], None) if matcher.unread(text) else Split([], (data, {}))


def _counted(attributes: Any, before: int, now: int) -> dict[str, str]:
    """The attributes, with the number of what is left where they had the right one."""
    changed = dict(attributes)
    if changed.get("count") == str(before):
        changed["count"] = str(now)
    return changed


async def erase(
    queue: DeadLetterQueue, matcher: Matcher, publisher: Publisher | None, topic: str, counts: Letters
) -> None:
    """Take the people out of all dead letters, counting in `counts`; without a publisher nothing is changed.

    Raises Unconfirmed where Pub/Sub does not confirm the rest of a message, which then stays as it was.
    """
    async for letter in queue.messages():
        found = split(letter, matcher)
        if found is None:
            counts.unreadable.append(letter.id)
        elif found.events:
            if publisher is not None:
                if found.rest is not None:
                    await publisher.publish(topic, *found.rest)
                await queue.settle(letter)
            counts.letters += 1
            counts.events += len(found.events)
    counts.full = queue.full


def events_of(letter: DeadLetter, matcher: Matcher) -> Iterator[Any]:
    """The people's events of a dead letter, as objects where they are JSON."""
    found = split(letter, matcher)
    for event in () if found is None else found.events:
        try:
            yield json.loads(event) if isinstance(event, str) else event
        except ValueError:
            yield event
