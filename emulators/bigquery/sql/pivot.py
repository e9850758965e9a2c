"""PIVOT, written as the GROUP BY that it stands for."""

from __future__ import annotations

import re

from sqlglot import exp

from emulators.bigquery.errors import invalid_query, unsupported
from emulators.bigquery.sql.compiler import query
from emulators.bigquery.sql.dialect import only
from emulators.bigquery.sql.scope import Scope

# Aggregates that pass over NULL, so that a value of another column can be left out as one.
PASSING_NULLS = {
    "SUM", "AVG", "MIN", "MAX", "COUNT", "ANY_VALUE", "STRING_AGG", "LOGICAL_AND", "LOGICAL_OR",
    "APPROX_COUNT_DISTINCT", "STDDEV", "STDDEV_SAMP", "STDDEV_POP", "VARIANCE", "VAR_SAMP", "VAR_POP",
}  # fmt: skip
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def rewritten(node: exp.Expression, scope: Scope) -> exp.Subquery:
    """The item of FROM without its PIVOT, as a subquery with one column for each value and aggregate."""
    pivots = node.args["pivots"]
    pivot = pivots[0]
    if len(pivots) != 1 or pivot.args.get("unpivot"):
        raise unsupported("UNPIVOT, or several PIVOTs of one table")
    fields = pivot.args.get("fields") or []
    if len(fields) != 1 or not isinstance(fields[0], exp.In):
        raise unsupported(f"{pivot.sql(dialect='bigquery')[:200]}")
    source = node.copy()
    source.set("pivots", None)
    source.set("joins", None)
    aggregates = pivot.expressions
    used = {column.name.lower() for part in (*aggregates, fields[0].this) for column in part.find_all(exp.Column)}
    keys = [name for name in _columns(source, scope) if name.lower() not in used]
    listed: list[exp.Expression] = [exp.column(exp.to_identifier(name, quoted=True)) for name in keys]
    for given in fields[0].expressions:
        listed += [_column(fields[0].this, given, aggregate, len(aggregates)) for aggregate in aggregates]
    select = exp.Select(expressions=listed, from_=exp.From(this=source))
    if keys:
        grouped = [exp.column(exp.to_identifier(name, quoted=True)) for name in keys]
        select.set("group", exp.Group(expressions=grouped))
    alias = pivot.args.get("alias")
    if alias is not None:
        only(alias, "this")
    return exp.Subquery(this=select, alias=alias, joins=node.args.get("joins"))


def _columns(source: exp.Expression, scope: Scope) -> list[str]:
    """The names of a source's columns, found without leaving a trace in the statement."""
    context = scope.context
    scans, reads, tables = len(context.scans), set(context.reads), dict(context.tables)
    star = exp.Select(expressions=[exp.Star()], from_=exp.From(this=source.copy()))
    outputs = query(star, scope.outer or Scope(context)).outputs
    del context.scans[scans:]
    context.reads, context.tables = reads, tables
    if any(output.name is None for output in outputs):
        raise invalid_query("PIVOT is not allowed with an input column that has no name")
    return [output.name for output in outputs if output.name is not None]


def _column(subject: exp.Expression, given: exp.Expression, aggregate: exp.Expression, number: int) -> exp.Expression:
    value = given.this if isinstance(given, exp.PivotAlias) else given
    if value.find(exp.Column, exp.Subquery, exp.Parameter, exp.Placeholder) is not None:
        raise invalid_query("IN expression in PIVOT clause must be constant")
    call = aggregate.this if isinstance(aggregate, exp.Alias) else aggregate
    prefix = aggregate.alias if isinstance(aggregate, exp.Alias) else ""
    if not prefix and number > 1:
        raise invalid_query(
            "PIVOT expression must specify an alias unless it is the only pivot expression in the PIVOT clause"
        )
    name = given.args["alias"].name if isinstance(given, exp.PivotAlias) else _name(value)
    name = f"{prefix}_{name}" if prefix else f"_{name}" if name[0].isdigit() else name
    same = exp.NullSafeEQ(this=subject.copy(), expression=value.copy())
    return exp.Alias(this=_only_where(call, same), alias=exp.to_identifier(name, quoted=True))


def _name(value: exp.Expression) -> str:
    """What a column is called after its value."""
    if isinstance(value, exp.Literal) and (NAME.fullmatch(value.this) if value.is_string else value.this.isdigit()):
        return str(value.this)
    if isinstance(value, exp.Null):
        return "NULL"
    raise unsupported(f"{value.sql(dialect='bigquery')} in PIVOT without an alias")


def _only_where(call: exp.Expression, condition: exp.Expression) -> exp.Expression:
    """The aggregate over the rows for which the condition holds."""
    name = call.name.upper() if isinstance(call, exp.Anonymous) else ""
    first = call.expressions[0] if name and call.expressions else None
    if name == "COUNT" and isinstance(first, exp.Star) and len(call.expressions) == 1:
        return exp.Anonymous(this="COUNTIF", expressions=[condition])
    if name == "COUNTIF" and first is not None and len(call.expressions) == 1:
        both = exp.And(this=condition, expression=exp.Paren(this=first.copy()))
        return exp.Anonymous(this="COUNTIF", expressions=[both])
    if name not in PASSING_NULLS or first is None:
        raise unsupported(f"{call.sql(dialect='bigquery')[:200]} in PIVOT")
    inner = first.expressions[0] if isinstance(first, exp.Distinct) and len(first.expressions) == 1 else first
    if isinstance(inner, (exp.Distinct, exp.Order, exp.Limit, exp.IgnoreNulls, exp.RespectNulls, exp.HavingMax)):
        raise unsupported(f"{call.sql(dialect='bigquery')[:200]} in PIVOT")
    kept: exp.Expression = exp.If(this=condition, true=inner.copy(), false=exp.Null())
    if isinstance(first, exp.Distinct):
        kept = exp.Distinct(expressions=[kept])
    return exp.Anonymous(this=name, expressions=[kept, *(rest.copy() for rest in call.expressions[1:])])
