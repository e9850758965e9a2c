"""One dead letter: where it came from, why it is there, what it was, and what can be decoded of it. Pure."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
import pyarrow as pa

from services.processor import log_entry
from services.provision.archive import REPLAYED
from services.shared import hit, rows, zstd_frame
from services.shared.errors import Poison
from services.shared.hit import Hit

# What our services add, and what Pub/Sub adds where its own dead-letter policy forwards a message.
_OURS = ("dead_reason", "dead_source", REPLAYED)
_PUBSUB = "CloudPubSubDeadLetterSource"
_EXCERPT = 1_000  # bytes or characters shown of what cannot be decoded


@dataclass(frozen=True)
class DeadLetter:
    """A message of the dead-letter subscription."""

    id: str
    published: datetime
    attributes: Mapping[str, str]
    data: bytes

    @property
    def source(self) -> str | None:
        """The name of the subscription it came from; None where nothing says so."""
        source = self.attributes.get("dead_source") or self.attributes.get(f"{_PUBSUB}Subscription")
        return source.rpartition("/")[2] if source else None

    @property
    def reason(self) -> str:
        """Why it was dead-lettered, in the words of the service that did, or by Pub/Sub's attributes."""
        if reason := self.attributes.get("dead_reason"):
            return reason
        if f"{_PUBSUB}Subscription" in self.attributes:
            attempts = self.attributes.get(f"{_PUBSUB}DeliveryCount", "all")
            return f"given up by Pub/Sub after {attempts} deliveries"
        return "unknown"

    def original_attributes(self) -> dict[str, str]:
        """The attributes it had before it was dead-lettered."""
        return {
            name: value for name, value in self.attributes.items() if name not in _OURS and not name.startswith(_PUBSUB)
        }

    def summary(self) -> dict[str, Any]:
        """What a list shows: `count` is what the message says itself, None where it does not; `bytes` of the data."""
        return {
            "id": self.id,
            "published": self.published.isoformat().replace("+00:00", "Z"),
            "source": self.source,
            "schema": self.attributes.get("schema"),
            "count": self.attributes.get("count"),
            "bytes": len(self.data),
            "reason": self.reason,
        }


def read(letter: DeadLetter, limit: int) -> dict[str, Any]:
    """What can be read of the data, at most `limit` events of it.

    `problem` is what its reader would say today, None where it is readable now; `events` is what can be read all the
    same, the number of all of them is `found`; `excerpt` stands instead where nothing can.
    """
    schema = letter.attributes.get("schema")
    if schema == hit.SCHEMA:
        return _hits(letter, limit)
    if schema == rows.SCHEMA:
        return _rows(letter, limit)
    if schema is not None:
        return {"problem": f"schema {schema!r} is not known", **_excerpt(letter.data)}
    return _entries(letter, limit)


def _hits(letter: DeadLetter, limit: int) -> dict[str, Any]:
    problem = None
    try:
        hit.unpack(letter.data, letter.attributes)
    except Poison as error:
        problem = str(error)
    try:
        lines = zstd_frame.decompress(letter.data).splitlines()
    except Poison:
        return {"problem": problem, **_excerpt(letter.data)}
    events: list[Any] = []
    for line in lines[:limit]:
        try:
            events.append(_members(msgspec.json.decode(line, type=Hit)))
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            events.append({"problem": str(error), **_excerpt(line)})
    return {"problem": problem, "found": len(lines), "events": events}


def _members(one: Hit) -> dict[str, Any]:
    """Of a hit; body and envelope as text, since they may be JSON that Python cannot hold."""
    found: dict[str, Any] = msgspec.to_builtins(one, enc_hook=lambda raw: bytes(raw).decode(errors="backslashreplace"))
    return found


def _rows(letter: DeadLetter, limit: int) -> dict[str, Any]:
    problem = None
    try:
        rows.unpack(letter.data, letter.attributes)
    except Poison as error:
        problem = str(error)
    try:
        with pa.ipc.open_stream(zstd_frame.decompress(letter.data)) as stream:
            table = stream.read_all()
        table.validate(full=True)
        columns = {field.name: str(field.type) for field in table.schema}
        events = table.slice(0, limit).to_pylist()
    except (Poison, pa.ArrowException, OSError, ValueError, OverflowError):
        return {"problem": problem, **_excerpt(letter.data)}
    return {"problem": problem, "columns": columns, "found": table.num_rows, "events": events}


def _entries(letter: DeadLetter, limit: int) -> dict[str, Any]:
    try:
        found = log_entry.decode(letter.data, letter.id, int(letter.published.timestamp() * 1_000_000))
    except Poison as error:
        return {"problem": str(error), **_excerpt(letter.data)}
    events = [_members(one) for one in found.hits[:limit]]
    problem = found.unreadable[0].reason if found.unreadable else None
    return {"problem": problem, "found": len(found.hits), "events": events}


def _excerpt(data: bytes) -> dict[str, Any]:
    try:
        return {"excerpt": data.decode()[:_EXCERPT]}
    except UnicodeDecodeError:
        return {"excerpt_base64": base64.b64encode(data[:_EXCERPT]).decode()}


def printable(text: str) -> str:
    """One line without control characters; attributes and events are strangers' input."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def to_json(value: Any, indent: int | None = None) -> str:
    """JSON of plain ASCII; what JSON has no form for, such as a time, becomes text."""
    return json.dumps(value, default=str, indent=indent)
