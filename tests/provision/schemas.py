"""Schema files for the tests of the provisioner: the default's needs, and whatever a test adds."""

from __future__ import annotations

from services.shared import schema_file
from services.shared.schema import Schema, Table

NEEDED = """
      day: {type: DATE, mode: REQUIRED, from: event.day, description: The partition}
      event_id: {type: STRING, mode: REQUIRED, from: event.id}
      received_at: {type: TIMESTAMP, mode: REQUIRED, from: hit.received_at}"""
REJECTS = f"""
  rejects:
    partition: day
    columns: {NEEDED}
      reason: {{type: STRING, mode: REQUIRED, from: reject.reason}}
      hit: {{type: JSON, from: reject.hit}}
"""
USER = "user_id: {type: STRING, mode: REQUIRED, from: param.user_id, description: Who did it}"
TYPE = "type: {type: STRING, from: param.type}"


def text(*columns: str, table: str = "partition: day", views: str = "none") -> str:
    """A file with the table `events`: `columns` and `table` are lines of YAML; `views` all, or what the file says."""
    own = "".join(f"\n      {column}" for column in columns)
    settings = "".join(f"\n    {line}" for line in table.splitlines())
    said = "" if views == "all" else f"views: {views}\n"
    return f"tables:\n  events:{settings}\n    columns: {NEEDED}{own}\n{REJECTS}{said}"


def schema(*columns: str, table: str = "partition: day", views: str = "none") -> Schema:
    return schema_file.parse(text(*columns, table=table, views=views))


def events(*columns: str, table: str = "partition: day") -> Table:
    return schema(*columns, table=table).tables["events"]
