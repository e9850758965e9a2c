"""Calls of table functions in FROM: the function's query, with its arguments in the place of its parameters."""

from __future__ import annotations

from dataclasses import replace

from sqlglot import exp

from emulators.bigquery.catalog import TableFunction
from emulators.bigquery.errors import invalid_query, unsupported
from emulators.bigquery.sql import dialect
from emulators.bigquery.sql.casts import coerce
from emulators.bigquery.sql.compiler import compile_, query
from emulators.bigquery.sql.expr import Expr, coercible, signature
from emulators.bigquery.sql.scope import Context, Relation, Scope


def called(node: exp.Table, scope: Scope) -> tuple[TableFunction, Relation]:
    """The function that FROM calls, and its rows; ApiError invalidQuery without it, or for other arguments."""
    context = scope.context
    function = _function(node, context)
    apart = Scope(context)  # arguments see no columns: there is no LATERAL in BigQuery
    apart.forbid("arguments of a table function")
    given = []
    for argument in node.this.expressions:
        if isinstance(argument, exp.Kwarg):
            raise unsupported(f"named arguments: {argument.sql(dialect='bigquery')[:200]}")
        given.append(compile_(argument, apart))
    wanted = [type_ for _, type_ in function.arguments]
    if len(given) != len(wanted) or not all(map(coercible, given, wanted)):
        raise invalid_query(
            f"No matching signature for table-valued function {function.title} for argument types: {signature(given)}. "
            f"Supported signature: ({', '.join(wanted)})"
        )
    values = {
        name.lower(): _value(name, coerce(value, type_))
        for value, (name, type_) in zip(given, function.arguments, strict=True)
    }
    return function, relation(function, context, values)


def relation(function: TableFunction, context: Context, arguments: dict[str, Expr]) -> Relation:
    """The function's query for these arguments; ApiError where its text is no query that BigQuery takes."""
    with context.written_out("Table function", function.title, function.project, arguments):
        return query(dialect.parse(function.body), Scope(context))


def _value(name: str, expr: Expr) -> Expr:
    """An argument has its parameter's type and name, and is no literal any more that could take another type."""
    return replace(expr, literal=False, name=name, probe=expr.sql if expr.constant else None)


def _function(node: exp.Table, context: Context) -> TableFunction:
    name = node.this.this
    path = [part.name for part in (node.args.get("catalog"), node.args.get("db")) if part is not None]
    path += (name.name if isinstance(name, exp.Identifier) else str(name)).split(".")
    if len(path) == 1 and context.default is not None:
        path = [*context.default, *path]
    elif len(path) == 2:
        path = [context.project, *path]
    found = context.catalog.functions.get((path[0], path[1], path[2])) if len(path) == 3 else None
    if found is None:
        raise invalid_query(f"Table-valued function not found: {'.'.join(path)[:200]}")
    return found
