"""What clients send: events that become a row, or a reject of the processor or of the loader."""

from __future__ import annotations

import re
from dataclasses import dataclass

from services.shared import zstd_frame

REFUSED_TYPE = "refused"  # the type of an event whose row BigQuery refuses every time

# What becomes of an event in the end: a row, or a reject of the processor or of the loader.
KINDS = {"good": "events", "no_user": "rejects", "refused": "rejects"}

_EVENT_ID = re.compile(rb'event_id(?:=|": ")([0-9a-z-]+)')


@dataclass
class Event:
    id: str
    kind: str
    acknowledged: str | None = None  # when and by whom

    @property
    def members(self) -> dict[str, str]:
        members = {"event_id": self.id, "type": REFUSED_TYPE if self.kind == "refused" else "view"}
        return members if self.kind == "no_user" else {**members, "user_id": "u"}


def events_of(pack: bytes) -> list[str]:
    """The ids of the events in the data of a pack of hits."""
    return [found.decode() for found in _EVENT_ID.findall(zstd_frame.decompress(pack))]
