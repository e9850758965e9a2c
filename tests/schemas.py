"""Schema files for tests: one that is not the one at the root, which anybody may edit, and whatever a test needs."""

from __future__ import annotations

import pytest

from services.shared import schema_file
from services.shared.schema import SchemaError
from tests.process import SCHEMA_FILE as SCHEMA_FILE

SCHEMA = schema_file.load(SCHEMA_FILE)
NEEDED = """\
      day: {type: DATE, mode: REQUIRED, from: event.day}
      event_id: {type: STRING, mode: REQUIRED, from: event.id}
      received_at: {type: TIMESTAMP, mode: REQUIRED, from: hit.received_at}
"""
REJECTS = f"""\
  rejects:
    partition: day
    columns:
{NEEDED}\
      reason: {{type: STRING, mode: REQUIRED, from: reject.reason}}
      hit: {{type: JSON, from: reject.hit}}
"""
REST = """\
      problems: {type: JSON, from: event.problems}
      params: {type: JSON, from: param.*}
"""


def a_file(columns: str = "", table: str = "", name: str = "events", partition: str = "day") -> str:
    """A file of one table and the rejects; its `columns`, from line 8 on, and more about the `table` are lines."""
    return f"tables:\n  {name}:\n    partition: {partition}\n{table}    columns:\n{NEEDED}{columns}{REJECTS}"


def refused(text: str, file: str = "schema.yaml") -> list[str]:
    """What is said of a file that is refused, by line."""
    with pytest.raises(SchemaError) as caught:
        schema_file.parse(text, file)
    return str(caught.value).splitlines()


def refused_at(text: str, *wanted: tuple[int, int, str]) -> None:
    """Every error is wanted, by its line, its column and a part of its words, and there is no other."""
    errors = refused(text, "my.yaml")
    for line, column, words in wanted:
        assert any(error.startswith(f"my.yaml:{line}:{column}: ") and words in error for error in errors), errors
    assert len(errors) == len(wanted), errors
