"""The statements that the project sends: written down at the emulator's door, and kept in statements.json.

    make asked-sql        runs the tests and keeps what they, the services and the commands asked

Projects, days and identifiers differ from run to run, so each is replaced by one of its kind, and a statement is kept
once. A view is kept as the query that it is.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tests.emulators.bigquery.oracle import Table

FILE = Path(__file__).with_name("statements.json")
# Statements that GoogleSQL does not take and BigQuery does, each with its authority.
KNOWN = {
    # BigQuery's own views: https://cloud.google.com/bigquery/docs/information-schema-intro
    re.compile(r"\bINFORMATION_SCHEMA\.(TABLES|COLUMNS|VIEWS|PARTITIONS)\b"),
    # A path quoted as a whole is split by BigQuery, so that the table has its last name:
    # https://cloud.google.com/bigquery/docs/reference/standard-sql/lexical#table_names
    re.compile(r"SELECT log\.n FROM `project\.d\.log`"),
}
UNSTEADY = [
    (re.compile(r"\b\d{4}-\d\d-\d\d\b"), "2026-03-01"),
    (re.compile(r"\b\d\d:\d\d:\d\d(\.\d+)?"), "12:00:00"),
    (re.compile(r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b"), "00000000-0000-4000-8000-000000000000"),
    (re.compile(r"\b[0-9a-f]{16,64}\b"), "0" * 16),
]  # fmt: skip


def steady(line: dict[str, Any]) -> dict[str, Any]:
    """The statement with nothing in it that is another in the next run."""
    text = json.dumps(line)
    text = text.replace(line["project"], "project")
    for pattern, instead in UNSTEADY:
        text = pattern.sub(instead, text)
    made: dict[str, Any] = json.loads(text)
    return made


def kept() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(FILE.read_text())
    return found


def distinct(lines: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    seen: set[str] = set()
    for line in lines:
        # Numbers and texts make no other statement.
        shape = re.sub(r"'[^']*'|\b\d+\b", "0", line["sql"])
        if shape not in seen:
            seen.add(shape)
            yield line


def tables(line: dict[str, Any]) -> list[Table]:
    functions = line.get("functions", {}).items()
    made = [Table(name, one["columns"], arguments=[*one["arguments"].values()]) for name, one in functions]
    return [Table(name, columns) for name, columns in line["tables"].items()] + made


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("asked", type=Path, help="what BIGQUERY_ASKED wrote")
    lines = [steady(json.loads(line)) for line in options.parse_args().asked.read_text().splitlines()]
    made = sorted(distinct(lines), key=lambda line: (line["kind"], line["sql"]))
    FILE.write_text(json.dumps(made, indent=1, ensure_ascii=False) + "\n")
    print(f"{len(made)} statements of {len(lines)} in {FILE}")


if __name__ == "__main__":
    main()
