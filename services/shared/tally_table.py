"""The table `tallies`, as provisioned: of the same form as those of the schema file. Pure."""

from __future__ import annotations

from services.shared.schema import TALLIES, Column, Source, Table

EXPIRE_DAYS = 62

_COLUMNS = (
    ("day", "DATE", "event.day", True, "UTC day of the hour; the partition"),
    (
        "tally_id",
        "STRING",
        "event.id",
        True,
        "A collector's process, a pack of rows, or a run of `pixelpipe reconcile`",
    ),
    ("received_at", "TIMESTAMP", "hit.received_at", True, "When it was counted"),
    ("source", "STRING", "tally.source", True, "Who counted: collector, loader or dead_letters"),
    ("sequence", "INT64", "tally.sequence", True, "The number of the tally among those of its id, from 0"),
    ("final", "BOOL", "tally.final", True, "Whether it is a collector's last"),
    ("hour", "TIMESTAMP", "tally.hour", False, "The hour the hits were received in; NULL in a tally without hits"),
    ("protocol", "STRING", "tally.protocol", False, "What sent the hits, such as native or segment"),
    ("tenant", "STRING", "tally.tenant", False, "Whose they are, of the tenants in the schema file, by the collectors"),
    ("outcome", "STRING", "tally.outcome", False, "What became of them; see docs/guarantees.md"),
    ("hits", "INT64", "tally.hits", True, "How many: a collector's since it started, otherwise of this tally alone"),
)

TABLE = Table(
    name=TALLIES,
    columns=tuple(
        Column(name, kind, (Source(*source.split(".")),), required=required, description=text)
        for name, kind, source, required, text in _COLUMNS
    ),
    partition="day",
    cluster=("source",),
    description="What was counted on the way; the view `reconciliation` compares it: see docs/guarantees.md",
    expire_days=EXPIRE_DAYS,
    unique=("source", "sequence", "hour", "protocol", "tenant", "outcome"),
)
