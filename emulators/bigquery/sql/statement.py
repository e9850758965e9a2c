"""Which kind of statement a text is: a query, a change of rows, or a change of the catalog."""

from __future__ import annotations

from dataclasses import dataclass

from sqlglot import exp

from emulators.bigquery.errors import invalid_query, unsupported
from emulators.bigquery.sql import ddl, dialect, dml, row_access, table_functions, translate
from emulators.bigquery.sql.scope import Context
from emulators.bigquery.sql.translate import Query

QUERIES = (exp.Select, exp.Union, exp.Intersect, exp.Except, exp.Subquery)
CHANGES = (exp.Insert, exp.Update, exp.Delete, exp.Merge, exp.TruncateTable)
DEFINITIONS = (exp.Create, exp.Drop, exp.Alter)
NOTHING = "SELECT 1 WHERE FALSE"


@dataclass(frozen=True)
class Statement:
    kind: str  # BigQuery's statementType
    query: Query  # what it reads and gives; changes give no columns
    change: dml.Change | None = None
    definition: ddl.Definition | None = None
    policy: row_access.PolicyChange | None = None
    function: table_functions.FunctionChange | None = None


def read_text(text: str, context: Context) -> Statement:
    """The statement in `text`; ApiError for anything else."""
    if table_functions.asked(text):
        function = table_functions.read(text, context)
        return Statement(function.kind, Query(NOTHING, (), (), ()), function=function)
    return read(dialect.parse(text), context)


def read(node: exp.Expression, context: Context) -> Statement:
    """Translate any statement the emulator knows; ApiError naming the others."""
    try:
        return _read(node, context)
    except RecursionError:
        raise invalid_query("Query is nested too deeply") from None


def _read(node: exp.Expression, context: Context) -> Statement:
    if isinstance(node, QUERIES):
        return Statement("SELECT", translate.translate(node, context))
    if isinstance(node, CHANGES):
        change = dml.read(node, context)
        query = Query(NOTHING, (), change.scans, tuple(context.tables.values()))
        return Statement(change.kind, query, change=change)
    if isinstance(node, DEFINITIONS):
        definition = ddl.read(node, context)
        scans = definition.query.scans if definition.query is not None else ()
        query = Query(NOTHING, (), scans, tuple(context.tables.values()))
        return Statement(definition.kind, query, definition=definition)
    if isinstance(node, exp.Command) and row_access.asked(node):
        policy = row_access.read(node, context)
        return Statement(policy.kind, Query(NOTHING, (), (), ()), policy=policy)
    raise unsupported(f"this statement: {node.sql(dialect='bigquery')[:200]}")
