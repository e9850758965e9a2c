"""Names in expressions: columns, rows of FROM, and fields of STRUCT and JSON values."""

from __future__ import annotations

from sqlglot import exp

from emulators.bigquery.errors import invalid_query
from emulators.bigquery.sql.compiler import handles
from emulators.bigquery.sql.expr import Expr
from emulators.bigquery.sql.scope import Scope
from emulators.bigquery.sql.structs import member, row


@handles(exp.Column)
def _column(node: exp.Column, scope: Scope) -> Expr:
    path = [part.name for part in node.parts]
    return resolve(path, scope)


def resolve(path: list[str], scope: Scope) -> Expr:
    """A dotted name: source.column, column, and fields of a STRUCT or JSON column after either."""
    found: Expr | None = None
    source = scope.source(path[0]) if len(path) > 1 else None
    if source is not None:
        outputs = source.find(path[1])
        if not outputs:
            raise invalid_query(f"Name {path[1]} not found inside {path[0]}")
        if len(outputs) > 1:
            raise invalid_query(f"Column name {path[1]} is ambiguous")
        found, rest = source.column(outputs[0]), path[2:]
    else:
        found, rest = scope.bare(path[0]), path[1:]
        if found is None and (source := scope.source(path[0])) is not None:
            found = row(source)
        if found is None:
            raise invalid_query(f"Unrecognized name: {'.'.join(path)}")
    for key in rest:
        found = member(found, key)
    return found
