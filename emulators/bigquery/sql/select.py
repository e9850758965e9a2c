"""Queries: SELECT, set operations and WITH, each to one DuckDB query and the columns it gives."""

from __future__ import annotations

from dataclasses import dataclass, replace

from sqlglot import exp

from emulators.bigquery.errors import invalid_query, unsupported
from emulators.bigquery.nested_types import is_struct
from emulators.bigquery.sql import aggregates, literals, nested, structs  # noqa: F401 - literals for its handlers
from emulators.bigquery.sql.casts import boolean, coerce
from emulators.bigquery.sql.dialect import only
from emulators.bigquery.sql.expr import NONE, NULL, PARTITION, Expr, groupable, supertype
from emulators.bigquery.sql.expression import compile_, resolve
from emulators.bigquery.sql.scope import Output, Relation, Scope, Source, With
from emulators.bigquery.table_schema import quote

SELECT_PARTS = (
    "expressions",
    "from_",
    "joins",
    "where",
    "group",
    "having",
    "qualify",
    "order",
    "limit",
    "offset",
    "distinct",
    "with_",
    "windows",
    "kind",
)
BARE = {
    "where": "have a WHERE clause",
    "group": "have a GROUP BY clause",
    "having": "have a HAVING clause",
    "qualify": "have a QUALIFY clause",
    "order": "have an ORDER BY clause",
    "distinct": "use SELECT DISTINCT",
}
MAX_BRANCHES = 1_000  # planning takes the square of their number
SET_PARTS = ("this", "expression", "distinct", "with_", "order", "limit", "offset")


@dataclass(frozen=True)
class Item:
    """One column of the select list; `alias` is the name it was given, not one it merely implies."""

    expr: Expr
    name: str | None
    alias: bool


def subquery(node: exp.Expression, outer: Scope) -> Relation:
    """A query inside another, which sees the names of the other."""
    relation = query(node, outer)
    return structs.as_struct(relation, outer) if _selects_struct(node) else relation


def _selects_struct(node: exp.Expression) -> bool:
    while isinstance(node, exp.Subquery):
        node = node.this
    return isinstance(node, exp.Select) and str(node.args.get("kind") or "").upper() == "STRUCT"


def query(node: exp.Expression, outer: Scope) -> Relation:
    """Translate a query; ApiError for what is not one or is not known."""
    if node.args.get("with_") is not None:
        outer = _with_items(node.args["with_"], outer)
    if isinstance(node, exp.Select):
        return _select(node, outer)
    if isinstance(node, (exp.Union, exp.Intersect, exp.Except)):
        return _set_operation(node, outer)
    if isinstance(node, exp.Subquery):
        only(node, "this", "with_", "order", "limit", "offset", "alias")
        return _finished(query(node.this, outer), node, outer)
    raise unsupported(f"{type(node).__name__}: {node.sql(dialect='bigquery')[:200]}")


def _with_items(node: exp.Expression, outer: Scope) -> Scope:
    if node.args.get("recursive"):
        raise unsupported("WITH RECURSIVE")
    scope = outer
    for item in node.expressions:
        only(item, "this", "alias")
        if item.args["alias"].args.get("columns"):
            raise unsupported("column names after a WITH item")
        following = scope.child()
        following.with_items[item.alias.lower()] = With(item.this, scope)
        scope = following
    return scope


def _select(node: exp.Select, outer: Scope) -> Relation:
    from emulators.bigquery.sql.sources import from_clause

    only(node, *SELECT_PARTS)
    if str(node.args.get("kind") or "STRUCT").upper() != "STRUCT":
        raise unsupported(f"SELECT AS {node.args['kind']}")
    scope = outer.child()
    context = scope.context
    for window in node.args.get("windows") or []:
        scope.named_windows[window.this.name.lower()] = window
    _forbid(scope, "FROM clause")
    clauses = [from_clause(node, scope)]
    where = node.args.get("where")
    if where is not None:
        _forbid(scope, "WHERE clause")
        clauses.append(" WHERE " + filtered(where.this, scope))
    without = None if node.args.get("from_") is not None else "SELECT without FROM clause"
    if without is not None:
        _check_bare(node)
    _forbid(scope, without)
    items = _items(node, scope)
    names = {item.name.lower(): item for item in items if item.alias and item.name is not None}
    group = node.args.get("group")
    keys = _group_keys(group, items, names, scope)
    if keys is not None:
        listed = ", ".join(key.sql for key in keys)
        clauses.append(" GROUP BY " + (f"ROLLUP ({listed})" if _rollup(group) is not None else listed or "()"))
    conditions: list[Expr] = []
    # Without rows there is no group at all, where DuckDB gives the one of everything.
    some = "count(*) > 0" if group is not None and _rollup(group) is not None else None
    for clause in ("having", "qualify"):
        if node.args.get(clause) is None:
            if some and clause == "having":
                clauses.append(f" HAVING {some}")
            continue
        scope.aliases = _unambiguous(names, scope, clause)
        scope.windows_allowed = "HAVING clause" if clause == "having" else None
        condition = boolean(compile_(node.args[clause].this, scope), f"{clause.upper()} clause")
        scope.aliases, scope.windows_allowed = {}, None
        also = f"{some} AND " if some and clause == "having" else ""
        clauses.append(f" {clause.upper()} {also}{condition.sql}")
        context.reads |= condition.reads
        conditions.append(condition)
    aggregate = keys is not None or any(part.aggregate for part in [*(item.expr for item in items), *conditions])
    distinct = bool(node.args.get("distinct"))
    if distinct:
        only(node.args["distinct"])
        for item in items:
            groupable(item.expr, "SELECT DISTINCT")
    limited = node.args.get("limit") is not None or node.args.get("offset") is not None
    outputs = tuple(
        Output(
            item.name,
            context.column(),
            item.expr.type,
            item.expr.reads,
            NONE if limited else _filterable(item.expr, keys if aggregate else None, aggregate, scope),
        )
        for item in items
    )
    listed = ", ".join(f"{_typed(item.expr)} AS {output.sql}" for item, output in zip(items, outputs, strict=True))
    sql = f"SELECT {'DISTINCT ' if distinct else ''}{listed}{''.join(clauses)}"
    if distinct:
        return _finished(Relation(sql, outputs), node, outer)
    tail = _order(node, items, names, scope) + _limits(node, scope)
    return Relation(sql + tail, outputs)


def _check_bare(node: exp.Select) -> None:
    """A query without FROM has one row, of which there is nothing to choose, group or sort."""
    for part, words in BARE.items():
        if node.args.get(part):
            raise invalid_query(f"Query without FROM clause cannot {words}")


def _typed(expr: Expr) -> str:
    """A bare NULL is an INT64 once it is a column."""
    return "CAST(NULL AS BIGINT)" if expr.type == NULL else expr.sql


def _forbid(scope: Scope, clause: str | None) -> None:
    scope.aggregates_allowed = scope.windows_allowed = clause


def filtered(condition: exp.Expression, scope: Scope) -> str:
    """A WHERE condition as DuckDB text; notes what it says of partitions in the scans it speaks of."""
    written: list[str] = []
    for node in conjuncts(condition):
        part = boolean(compile_(node, scope), "WHERE clause")
        note(part, scope)
        written.append(part.sql)
    return " AND ".join(written)


def note(part: Expr, scope: Scope, among: frozenset[int] | None = None) -> None:
    """Remember a condition that must hold: what it reads, and which partitions it leaves of which scans."""
    scope.context.reads |= part.reads
    if part.probe is None:
        return
    for number in part.prunes if among is None else part.prunes & among:
        scan = scope.context.scans[number]
        if scan.table.partition is not None:
            scan.probes.append(part.probe.replace(PARTITION, quote(scan.table.partition)))


def conjuncts(node: exp.Expression) -> list[exp.Expression]:
    found: list[exp.Expression] = []
    waiting = [node]
    while waiting:
        here = waiting.pop()
        if isinstance(here, exp.Paren) and isinstance(here.this, (exp.And, exp.Paren)):
            waiting.append(here.this)
        elif isinstance(here, exp.And):
            waiting += [here.expression, here.this]
        else:
            found.append(here)
    return found


def _items(node: exp.Select, scope: Scope) -> list[Item]:
    items: list[Item] = []
    for given in node.expressions:
        if isinstance(given, exp.Star) or (isinstance(given, exp.Column) and isinstance(given.this, exp.Star)):
            items += _star(given, scope)
        elif isinstance(given, exp.Dot) and isinstance(given.expression, exp.Star):
            items += _changed(given.expression, _members(compile_(given.this, scope)), scope)
        elif isinstance(given, exp.Alias):
            items.append(Item(compile_(given.this, scope), given.alias, True))
        else:
            expr = compile_(given, scope)
            items.append(Item(expr, expr.name, expr.name is not None))
    for item in items:
        if item.expr.type == f"ARRAY<{NULL}>":
            raise unsupported("an empty array without a type: write ARRAY<INT64>[]")
    return items


def _star(node: exp.Expression, scope: Scope) -> list[Item]:
    star = node if isinstance(node, exp.Star) else node.this
    if isinstance(node, exp.Column):
        path = [part.name for part in node.parts[:-1]]
        source = scope.source(".".join(path))
        if source is None:
            items = _members(resolve(path, scope))
        else:
            items = [Item(source.column(output), output.name, False) for output in source.outputs]
    else:
        if not scope.sources:
            raise invalid_query("SELECT * must have a FROM clause")
        items = [Item(expr, expr.name, False) for expr in scope.merged.values()]
        for source in scope.sources:
            items += [
                Item(source.column(output), output.name, False)
                for output in source.outputs
                if output.name is None or output.name.lower() not in scope.merged
            ]
    return _changed(star, items, scope)


def _members(value: Expr) -> list[Item]:
    """The fields of a STRUCT, for `value.*`."""
    if not is_struct(value.type):
        raise invalid_query(f"Dot-star is not supported for type {value.type}")
    return [Item(field, field.name, False) for field in nested.fields(value)]


def _changed(star: exp.Expression, items: list[Item], scope: Scope) -> list[Item]:
    """What a star stands for, with its EXCEPT and REPLACE."""
    only(star, "except_", "replace")
    present = {item.name.lower() for item in items if item.name is not None}
    dropped = {part.name.lower() for part in star.args.get("except_") or []}
    replaced = {part.alias.lower(): compile_(part.this, scope) for part in star.args.get("replace") or []}
    for name in [*dropped, *replaced]:
        if name not in present:
            raise invalid_query(
                f"Column {name} in SELECT * {'EXCEPT' if name in dropped else 'REPLACE'} list does not exist"
            )
    return [
        Item(replaced.get((item.name or "").lower(), item.expr), item.name, item.alias)
        for item in items
        if (item.name or "").lower() not in dropped
    ]


def _group_keys(
    node: exp.Expression | None, items: list[Item], names: dict[str, Item], scope: Scope
) -> list[Expr] | None:
    if node is None:
        return None
    if node.args.get("all"):
        only(node, "all")
        return _all_keys(items, scope)
    only(node, "expressions")
    rollup = _rollup(node)
    keys: list[Expr] = []
    _forbid(scope, "GROUP BY clause")
    for given in (rollup or node).expressions:
        if isinstance(given, exp.Literal) and not given.is_string:
            index = int(given.this) if given.this.isdigit() else 0
            if not 1 <= index <= len(items):
                raise invalid_query(f"GROUP BY column number {given.this} is not in the SELECT list")
            key = items[index - 1].expr
        elif isinstance(given, exp.Column) and len(given.parts) == 1 and given.name.lower() in names:
            key = _unambiguous(names, scope, "GROUP BY", given.name.lower())[given.name.lower()]
        else:
            key = compile_(given, scope)
        if key.aggregate or key.window:
            raise invalid_query("Aggregate and analytic functions are not allowed in GROUP BY")
        keys.append(groupable(key, "Grouping by expressions"))
        scope.context.reads |= key.reads
    _forbid(scope, None)
    # A constant is no position, as DuckDB would take it for.
    return [replace(key, sql=f"({key.sql})") if key.constant else key for key in keys]


def _all_keys(items: list[Item], scope: Scope) -> list[Expr]:
    """GROUP BY ALL: every item that depends on a row and on no others."""
    keys = [item.expr for item in items if not (item.expr.aggregate or item.expr.window or item.expr.constant)]
    for key in keys:
        scope.context.reads |= groupable(key, "Grouping by expressions").reads
    return keys


def _rollup(node: exp.Expression | None) -> exp.Expression | None:
    """The ROLLUP that the clause consists of; ApiError when it has one beside other keys."""
    found = [item for item in node.expressions if isinstance(item, exp.Rollup)] if node is not None else []
    if found and (node is None or len(node.expressions) != 1):
        raise unsupported("GROUP BY with ROLLUP and other keys")
    return found[0] if found else None


def _unambiguous(names: dict[str, Item], scope: Scope, clause: str, only_name: str | None = None) -> dict[str, Expr]:
    """Aliases that a clause may use; one that a FROM column has too, with another meaning, is an error if used."""
    usable: dict[str, Expr] = {}
    for name, item in names.items():
        column = next((s.column(o) for s in scope.sources for o in s.find(name)), None)
        if column is None or column.sql == item.expr.sql:
            usable[name] = item.expr
        elif name == only_name:
            raise unsupported(
                f"{name} in {clause}, which names both a column and another item of SELECT: rename the item"
            )
    return usable


def _filterable(expr: Expr, keys: list[Expr] | None, aggregate: bool, scope: Scope) -> frozenset[int]:
    """Scans that a condition on this column from outside would filter as well as one inside."""
    if not expr.partition or expr.probe != PARTITION:
        return NONE
    if aggregate and not any(key.sql == expr.sql for key in keys or []):
        return NONE
    kept = expr.partition
    for window in scope.windows:
        kept &= window
    return kept


def _order(node: exp.Expression, items: list[Item], names: dict[str, Item], scope: Scope) -> str:
    order = node.args.get("order")
    if order is None:
        return ""
    only(order, "expressions")
    scope.aliases = {name: item.expr for name, item in names.items()}

    def key(given: exp.Expression) -> Expr:
        if isinstance(given, exp.Literal) and not given.is_string:
            index = int(given.this) if given.this.isdigit() else 0
            if not 1 <= index <= len(items):
                raise invalid_query(f"ORDER BY column number {given.this} is not in the SELECT list")
            return items[index - 1].expr
        return compile_(given, scope)

    written, keys = aggregates.order_by(order, key)
    scope.aliases = {}
    for found in keys:
        scope.context.reads |= found.reads
    return written


def _limits(node: exp.Expression, scope: Scope) -> str:
    written = ""
    for word in ("limit", "offset"):
        clause = node.args.get(word)
        if clause is None:
            continue
        only(clause, "expression")
        number = compile_(clause.expression, scope)
        if number.type != "INT64" or not number.literal:
            raise invalid_query(f"{word.upper()} expects an integer literal or parameter")
        written += f" {word.upper()} {number.sql}"
    return written


def _finished(relation: Relation, node: exp.Expression, outer: Scope) -> Relation:
    """The query with the ORDER BY and LIMIT that stand outside of it, where only its own columns have names."""
    if not any(node.args.get(part) is not None for part in ("order", "limit", "offset")):
        return relation
    scope = outer.child()
    source = Source(None, scope.context.unique(), list(relation.outputs))
    scope.sources.append(source)
    items = [Item(source.column(output), output.name, False) for output in relation.outputs]
    tail = _order(node, items, {}, scope) + _limits(node, scope)
    outputs = tuple(replace(output, partition=NONE) for output in relation.outputs)
    if node.args.get("limit") is None and node.args.get("offset") is None:
        outputs = relation.outputs
    return Relation(f"SELECT * FROM ({relation.sql}) AS {source.alias}{tail}", outputs)  # noqa: S608


def _set_operation(node: exp.SetOperation, outer: Scope) -> Relation:
    only(node, *SET_PARTS)
    branches: list[exp.Expression] = []
    here: exp.Expression = node
    same = (type(node), bool(node.args.get("distinct")))
    while isinstance(here, exp.SetOperation) and (type(here), bool(here.args.get("distinct"))) == same:
        if here is not node and any(here.args.get(part) for part in ("with_", "order", "limit", "offset")):
            break
        branches.append(here.expression)
        here = here.this
    branches.append(here)
    if len(branches) > MAX_BRANCHES:
        raise invalid_query(f"Query is too complex: a set operation of more than {MAX_BRANCHES} queries")
    relations = [query(branch, outer) for branch in reversed(branches)]
    word = {exp.Union: "UNION", exp.Intersect: "INTERSECT", exp.Except: "EXCEPT"}[type(node)]
    if len({len(relation.outputs) for relation in relations}) != 1:
        raise invalid_query(f"Queries in {word} have mismatched column count")
    distinct = bool(node.args.get("distinct"))
    if word != "UNION" and not distinct:
        raise unsupported(f"{word} ALL")
    context = outer.context
    outputs: list[Output] = []
    types: list[str] = []
    for position, first in enumerate(relations[0].outputs):
        columns = [relation.outputs[position] for relation in relations]
        exprs = [Expr(column.sql, column.type, constant=False) for column in columns]
        type_ = supertype(exprs, f"{word} column {position + 1}")
        if distinct:
            groupable(Expr("", type_), f"{word} DISTINCT")
        types.append(type_)
        through = word == "UNION" and all(column.type == type_ for column in columns)
        outputs.append(
            Output(
                first.name,
                context.column(),
                type_,
                frozenset().union(*(column.reads for column in columns)),
                frozenset().union(*(column.partition for column in columns)) if through else NONE,
            )
        )
    parts = []
    for relation in relations:
        listed = ", ".join(
            f"{coerce(Expr(column.sql, column.type, constant=False), type_).sql} AS {output.sql}"
            for column, type_, output in zip(relation.outputs, types, outputs, strict=True)
        )
        parts.append(f"SELECT {listed} FROM ({relation.sql})")  # noqa: S608
    joined = f" {word}{'' if distinct else ' ALL'} ".join(parts)
    if distinct:
        for output in outputs:
            context.reads |= output.reads
    return _finished(Relation(joined, tuple(outputs)), node, outer)
