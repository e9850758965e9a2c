"""INSERT, UPDATE, DELETE, TRUNCATE and MERGE to one DuckDB statement each."""

from __future__ import annotations

from dataclasses import dataclass

from sqlglot import exp

from emulators.bigquery.catalog import WRITTEN, Table
from emulators.bigquery.errors import invalid_query, unsupported
from emulators.bigquery.sql import conditions, nested, translate
from emulators.bigquery.sql.casts import boolean, coerce
from emulators.bigquery.sql.compiler import compile_, query
from emulators.bigquery.sql.dialect import only
from emulators.bigquery.sql.expr import Expr, coercible
from emulators.bigquery.sql.scope import Context, Relation, Scope, Source
from emulators.bigquery.sql.sources import find, from_item, stored
from emulators.bigquery.table_schema import Column, quote


@dataclass(frozen=True)
class Change:
    """A change of rows: `sql` runs on the writer thread. `doubled` is a query that must find nothing before."""

    kind: str
    table: Table
    sql: str
    scans: tuple[translate.ScanPlan, ...]
    doubled: str | None = None


def read(node: exp.Expression, context: Context) -> Change:
    scope = Scope(context).child()
    if isinstance(node, exp.Insert):
        change = _insert(node, scope)
    elif isinstance(node, exp.Delete):
        change = _delete(node, scope)
    elif isinstance(node, exp.Update):
        change = _update(node, scope)
    elif isinstance(node, exp.Merge):
        change = _merge(node, scope)
    elif isinstance(node, exp.TruncateTable):
        only(node, "expressions")
        table = target(node.expressions[0], scope)
        change = ("TRUNCATE_TABLE", table, f"DELETE FROM {table.rows}", None)  # noqa: S608 - made of an id
    else:
        raise unsupported(f"this statement: {node.sql(dialect='bigquery')[:200]}")
    translate.check_partition_filters(context)
    kind, table, sql, doubled = change
    return Change(kind, table, sql, translate.plans(context, context.reads), doubled)


Made = tuple[str, Table, str, str | None]


def target(node: exp.Expression | None, scope: Scope) -> Table:
    """The table a statement changes; ApiError for a view or anything else that is not a table."""
    if not isinstance(node, exp.Table):
        raise invalid_query("Syntax error: a table name is expected")
    only(node, "this", "db", "catalog", "alias")
    table = find(node, scope)
    if table.view is not None:
        raise invalid_query(f"{table.title} is a view: rows of views cannot be changed")
    scope.context.tables[table.key] = table
    return table


def _targeted(node: exp.Expression | None, scope: Scope) -> tuple[Table, Source]:
    table = target(node, scope)
    name = node.alias if isinstance(node, exp.Table) and node.alias else table.name
    source = stored(table, name, scope)
    scope.sources.append(source)
    return table, source


def _insert(node: exp.Insert, scope: Scope) -> Made:
    only(node, "this", "expression", "with_")
    listed: list[Column]
    if isinstance(node.this, exp.Schema):
        table = target(node.this.this, scope)
        listed = [_column(table, item.name) for item in node.this.expressions]
    else:
        table = target(node.this, scope)
        listed = list(table.columns)
    if len({column.name for column in listed}) != len(listed):
        raise invalid_query("INSERT has a column twice")
    if isinstance(node.expression, exp.Values):
        relation = _values(node.expression, listed, scope)
    else:
        found = query(node.expression, scope)
        scope.context.reads.update(*(output.reads for output in found.outputs))
        relation = _assigned(found, listed)
    names = ", ".join(quote(column.name) for column in listed)
    return "INSERT", table, f"INSERT INTO {table.rows} ({names}) {relation}", None


def _column(table: Table, name: str) -> Column:
    column = table.column(name)
    if column is None:
        raise invalid_query(f"Column {name} is not present in table {table.title}")
    return column


def _values(node: exp.Values, listed: list[Column], scope: Scope) -> str:
    rows = []
    for item in node.expressions:
        if not isinstance(item, exp.Tuple) or len(item.expressions) != len(listed):
            raise invalid_query("Inserted row has wrong column count")
        cells = [_cell(compile_(given, scope), column) for given, column in zip(item.expressions, listed, strict=True)]
        rows.append("(" + ", ".join(cells) + ")")
    return "VALUES " + ", ".join(rows)


def _cell(value: Expr, column: Column) -> str:
    """A value as it is assigned to a column."""
    if not coercible(value, column.type):
        raise invalid_query(
            f"Value has type {value.type} which cannot be inserted into column {column.name}, "
            f"which has type {column.type}"
        )
    return nested.stored(coerce(value, column.type).sql, column)


def _assigned(relation: Relation, listed: list[Column]) -> str:
    if len(relation.outputs) != len(listed):
        raise invalid_query(f"Inserted row has wrong column count; Has {len(relation.outputs)}, expected {len(listed)}")
    cells = ", ".join(
        _cell(Expr(output.sql, output.type, constant=False), column)
        for output, column in zip(relation.outputs, listed, strict=True)
    )
    return f"SELECT {cells} FROM ({relation.sql})"  # noqa: S608 - generated


def _where(node: exp.Expression, scope: Scope) -> str:
    where = node.args.get("where")
    if where is None:
        kind = type(node).__name__.upper()
        raise invalid_query(f"{kind} must have a WHERE clause")
    scope.aggregates_allowed = scope.windows_allowed = "WHERE clause"
    return conditions.filtered(where.this, scope)


def _delete(node: exp.Delete, scope: Scope) -> Made:
    only(node, "this", "where", "tables")
    given = node.this or (node.args["tables"][0] if len(node.args.get("tables") or []) == 1 else None)
    table, source = _targeted(given, scope)
    return "DELETE", table, f"DELETE FROM {table.rows} AS {source.alias} WHERE {_where(node, scope)}", None  # noqa: S608


def _update(node: exp.Update, scope: Scope) -> Made:
    only(node, "this", "expressions", "where")
    table, source = _targeted(node.this, scope)
    where = _where(node, scope)
    return "UPDATE", table, f"UPDATE {table.rows} AS {source.alias} SET {_set(node, table, scope)} WHERE {where}", None  # noqa: S608


def _set(node: exp.Expression, table: Table, scope: Scope) -> str:
    written: dict[str, str] = {}
    for item in node.expressions:
        if not isinstance(item, exp.EQ) or not isinstance(item.this, exp.Column):
            raise unsupported(f"SET {item.sql(dialect='bigquery')}")
        column = _column(table, item.this.name)
        if column.name in written:
            raise invalid_query(f"Update item {column.name} assigned more than once")
        value = compile_(item.expression, scope)
        scope.context.reads |= value.reads
        written[column.name] = _cell(value, column)
    return ", ".join([*(f"{quote(name)} = {value}" for name, value in written.items()), f"{WRITTEN} = now()"])


def _merge(node: exp.Merge, scope: Scope) -> Made:
    only(node, "this", "using", "on", "whens")
    table, into = _targeted(node.this, scope)
    using = node.args["using"]
    source = from_item(using, scope)
    on = " AND ".join(_on(part, scope) for part in conditions.conjuncts(node.args["on"]))
    clauses: list[str] = []
    changing: list[str] = []
    for when in node.args["whens"].expressions:
        only(when, "matched", "source", "condition", "then")
        condition = when.args.get("condition")
        extra = boolean(compile_(condition, scope), "WHEN condition") if condition is not None else None
        if extra is not None:
            scope.context.reads |= extra.reads
        if when.args.get("matched"):
            changing.append(extra.sql if extra is not None else "TRUE")
        clauses.append(_when(when, extra, table, scope))
    doubled = None
    if changing:
        doubled = (
            f"SELECT 1 FROM {table.rows} AS {into.alias} JOIN {source} ON {on} "  # noqa: S608 - generated
            f"WHERE ({' OR '.join(changing)}) GROUP BY {into.alias}.rowid HAVING count(*) > 1 LIMIT 1"
        )
    sql = f"MERGE INTO {table.rows} AS {into.alias} USING {source} ON ({on}) {' '.join(clauses)}"
    return "MERGE", table, sql, doubled


def _on(node: exp.Expression, scope: Scope) -> str:
    part = boolean(compile_(node, scope), "MERGE ON clause")
    conditions.note(part, scope)
    return part.sql


def _when(when: exp.Expression, extra: Expr | None, table: Table, scope: Scope) -> str:
    matched, by_source = bool(when.args.get("matched")), bool(when.args.get("source"))
    head = "WHEN MATCHED" if matched else f"WHEN NOT MATCHED BY {'SOURCE' if by_source else 'TARGET'}"
    head += f" AND {extra.sql}" if extra is not None else ""
    then = when.args["then"]
    if isinstance(then, exp.Update) and (matched or by_source):
        only(then, "expressions")
        return f"{head} THEN UPDATE SET {_set(then, table, scope)}"
    if isinstance(then, exp.Var) and then.name.upper() == "DELETE" and (matched or by_source):
        return f"{head} THEN DELETE"
    if isinstance(then, exp.Insert) and not matched and not by_source:
        return f"{head} THEN {_merge_insert(then, table, scope)}"
    raise unsupported(f"WHEN … THEN {then.sql(dialect='bigquery')}")


def _merge_insert(node: exp.Insert, table: Table, scope: Scope) -> str:
    values = node.expression
    if not isinstance(values, exp.Tuple):
        raise unsupported("MERGE with INSERT ROW: list the columns and values")
    listed = (
        [_column(table, item.name) for item in node.this.expressions]
        if isinstance(node.this, exp.Tuple)
        else list(table.columns)
    )
    if len(values.expressions) != len(listed):
        raise invalid_query("Inserted row has wrong column count")
    cells: list[str] = []
    for given, column in zip(values.expressions, listed, strict=True):
        value = compile_(given, scope)
        scope.context.reads |= value.reads
        cells.append(_cell(value, column))
    return f"INSERT ({', '.join(quote(column.name) for column in listed)}) VALUES ({', '.join(cells)})"  # noqa: S608
