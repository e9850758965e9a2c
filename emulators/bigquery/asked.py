"""Records every statement the emulator answers, one JSON object per line, if BIGQUERY_ASKED names a file."""

from __future__ import annotations

import json
import os
from pathlib import Path

from emulators.bigquery.sql.scope import Context
from emulators.bigquery.sql.statement import Statement

VARIABLE = "BIGQUERY_ASKED"


def described(sql: str, statement: Statement, context: Context) -> str | None:
    """The statement, the types of its parameters and the tables that it may name as they are now, if anyone asks."""
    if not os.environ.get(VARIABLE):
        return None
    functions = {
        ".".join(function.key): {"arguments": dict(function.arguments), "columns": dict(function.columns)}
        for function in context.catalog.functions.values()
        if function.project == context.project and function.name in sql
    }
    return json.dumps(
        ({"functions": functions} if functions else {})
        | {
            "sql": sql,
            "kind": statement.kind,
            "project": context.project,
            "default": ".".join(context.default) if context.default else None,
            "named": {name: given.type for name, given in context.named.items()},
            "positional": [given.type for given in context.positional],
            "tables": {
                ".".join(table.key): {column.name: column.type for column in table.columns}
                for table in context.catalog.tables.values()
                if table.project == context.project and table.name in sql
            },
        }
    )


def keep(line: str | None) -> None:
    """Append it to the file in one write, since several emulators may share the file."""
    if line is not None:
        with Path(os.environ[VARIABLE]).open("a") as asked:
            asked.write(line + "\n")
