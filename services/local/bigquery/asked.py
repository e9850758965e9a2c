"""What the emulator was asked: with BIGQUERY_ASKED=FILE every statement it understood, one JSON object a line."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from services.local.bigquery.sql.scope import Context
from services.local.bigquery.sql.statement import Statement

VARIABLE = "BIGQUERY_ASKED"


def note(sql: str, statement: Statement, context: Context) -> None:
    """Append the statement, with the types of its parameters and the columns of its tables, unless nobody wants it."""
    file = os.environ.get(VARIABLE)
    if not file:
        return
    line = {
        "sql": sql,
        "kind": statement.kind,
        "default": ".".join(context.default) if context.default else None,
        "named": _types(context),
        "positional": [given.type for given in context.positional],
        "tables": {
            ".".join(table.key): {column.name: column.type for column in table.columns}
            for table in statement.query.tables
        },
    }
    # One write of one line: several emulators may share the file.
    with Path(file).open("a") as asked:
        asked.write(json.dumps(line) + "\n")


def _types(context: Context) -> Mapping[str, str]:
    return {name: given.type for name, given in context.named.items()}
