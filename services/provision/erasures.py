"""The table `erasures`: one receipt for each run of `pixelpipe forget`. Pure."""

from __future__ import annotations

from services.shared.schema import ERASURES, Column, Source, Table

_COLUMNS = (
    ("day", "DATE", "event.day", True, "UTC day of the erasure; the partition"),
    ("erasure_id", "STRING", "event.id", True, "The id of the run, a UUIDv7"),
    ("erased_at", "TIMESTAMP", "hit.received_at", True, "When the run ended"),
    ("erased_by", "STRING", "erasure.erased_by", True, "Who ran it, as they say themselves"),
    ("people", "INT64", "erasure.people", True, "How many people the run was about"),
    ("salt", "STRING", "erasure.salt", True, "Random; the key of the hashes in `who`, in hexadecimal"),
    ("who", "JSON", "erasure.who", True, "HMAC-SHA256 of each id that was given; see services/ops/README.md"),
    ("deleted", "JSON", "erasure.deleted", True, "How many rows were deleted, by table"),
    ("dead_letters", "INT64", "erasure.dead_letters", True, "How many events were taken out of dead letters"),
    ("time_travel_until", "TIMESTAMP", "erasure.time_travel_until", False, "Until when time travel holds the rows"),
    ("again_after", "TIMESTAMP", "erasure.again_after", False, "When what was on its way has arrived: run it again"),
    ("remains", "JSON", "erasure.remains", True, "What is left, where and why"),
    ("follows", "JSON", "erasure.follows", True, "The ids of earlier receipts that this one completes"),
    ("tenant", "STRING", "erasure.tenant", False, "Whose people they were; NULL: those of all tenants"),
    ("complete", "BOOL", "erasure.complete", True, "Whether nothing is left to be deleted, nor on its way"),
)


def table() -> Table:
    """The table, as provisioned: of the same form as those of the schema file. Its partitions never expire."""
    columns = (
        Column(name, kind, (Source(*source.split(".")),), required=required, description=description)
        for name, kind, source, required, description in _COLUMNS
    )
    return Table(
        name=ERASURES,
        columns=tuple(columns),
        partition="day",
        description="One row for each run of `pixelpipe forget`, which names nobody; see services/ops/README.md",
    )
