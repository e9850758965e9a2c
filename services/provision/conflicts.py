"""The table `conflicts`: rows that compaction took out of a log table, since another event has their key. Pure."""

from __future__ import annotations

from services.shared.schema import CONFLICTS, Column, Schema, Source, Table

_COLUMNS = (
    ("day", "DATE", "event.day", "UTC day of the event; the partition"),
    ("table", "STRING", "conflict.table", "The table whose view does not show the row"),
    ("event_id", "STRING", "event.id", "The id of the event"),
    ("received_at", "TIMESTAMP", "hit.received_at", "When the collector received it"),
    ("moved_at", "TIMESTAMP", "conflict.moved_at", "When compaction moved it here"),
    ("fingerprint", "STRING", "conflict.fingerprint", "SHA-256 of the key and all values that were compared"),
    ("key", "JSON", "conflict.key", "The values it has in common with the row that the view shows"),
    ("whole_row", "JSON", "conflict.whole_row", "The row, with all columns of the log table"),
)


def table(schema: Schema) -> Table:
    """The table, as provisioned: of the same form as those of the schema file, with a log table and a view over it.

    Two compactions at once may append a row twice; the view shows each content of a table once. A partition expires
    when the last table's does; what has to go before that, compaction deletes.
    """
    days = [one.expire_days for one in schema.tables.values()]
    columns = (
        Column(name, kind, (Source(*source.split(".")),), required=True, description=description)
        for name, kind, source, description in _COLUMNS
    )
    return Table(
        name=CONFLICTS,
        columns=tuple(columns),
        partition="day",
        cluster=("table", "event_id"),
        description="One row for each event whose key another event has; see services/ops/README.md",
        expire_days=max((one for one in days if one is not None), default=None) if None not in days else None,
        unique=("table", "fingerprint"),
    )
