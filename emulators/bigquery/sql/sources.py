"""FROM: tables, views, WITH items, subqueries, arrays and the joins between them."""

from __future__ import annotations

from dataclasses import replace

from sqlglot import exp

from emulators.bigquery.catalog import Table
from emulators.bigquery.errors import ApiError, invalid_query, unsupported
from emulators.bigquery.nested_types import is_struct
from emulators.bigquery.sql import conditions, dialect, information_schema, nested, operators, pivot, table_calls
from emulators.bigquery.sql.casts import boolean
from emulators.bigquery.sql.compiler import compile_, query
from emulators.bigquery.sql.dialect import only
from emulators.bigquery.sql.expr import NONE, Expr, combined, element, is_array
from emulators.bigquery.sql.scope import Output, Relation, Scope, Source
from emulators.bigquery.table_schema import quote

KINDS = {("", ""): "INNER", ("", "INNER"): "INNER", ("", "CROSS"): "CROSS"}
KINDS |= {(side, kind): side for side in ("LEFT", "RIGHT", "FULL") for kind in ("", "OUTER")}


def from_clause(node: exp.Select, scope: Scope) -> str:
    """The FROM clause in DuckDB text, or nothing; the sources become the scope's."""
    first = node.args.get("from_")
    if first is None:
        if node.args.get("joins"):
            raise unsupported("a join without FROM")
        return ""
    written = from_item(first.this, scope)
    for join in _joins(first.this) + list(node.args.get("joins") or []):
        written += _join(join, scope)
    return f" FROM {written}"


def _joins(node: exp.Expression) -> list[exp.Expression]:
    return list(node.args.get("joins") or [])


def from_item(node: exp.Expression, scope: Scope) -> str:
    """One item of FROM: DuckDB text with its alias."""
    if node.args.get("pivots"):
        node = pivot.rewritten(node, scope)
    if isinstance(node, exp.Table) and (path := _array_path(node, scope)) is not None:
        return _unnest(path, scope)
    if isinstance(node, exp.Table):
        source, sql = _table(node, scope)
    elif isinstance(node, exp.Subquery):
        only(node, "this", "alias", "with_", "order", "limit", "offset", "joins")
        alias = node.args.get("alias")
        if alias is not None:
            only(alias, "this")
        # A subquery in FROM sees the queries around the one it stands in, and none of its neighbours.
        bare = exp.Subquery(
            this=node.this, **{part: node.args.get(part) for part in ("with_", "order", "limit", "offset")}
        )
        relation = query(bare, _around(scope))
        source = Source(node.alias or None, scope.context.unique(), list(relation.outputs))
        sql = f"({relation.sql})"
    elif isinstance(node, exp.Unnest):
        return _unnest(node, scope)
    else:
        raise unsupported(f"{type(node).__name__} in FROM: {node.sql(dialect='bigquery')[:200]}")
    _add(source, scope)
    return f"{sql} AS {source.alias}"


def _add(source: Source, scope: Scope) -> None:
    if source.name is not None and any((s.name or "").lower() == source.name.lower() for s in scope.sources):
        raise invalid_query(f"Duplicate table alias {source.name} in the same FROM clause")
    scope.sources.append(source)


def _array_path(node: exp.Table, scope: Scope) -> exp.Unnest | None:
    """`t.items` in FROM, where `t` stands before it: the elements of an array."""
    parts = [part.name for part in node.parts]
    if len(parts) < 2 or scope.source(parts[0]) is None:
        return None
    only(node, "this", "db", "catalog", "alias")
    columns = [exp.to_identifier(node.alias or parts[-1])]
    path = exp.Column(**dict(zip(("this", "table", "db", "catalog"), reversed(node.parts), strict=False)))
    return exp.Unnest(expressions=[path], alias=exp.TableAlias(columns=columns))


def _around(scope: Scope) -> Scope:
    return scope.outer if scope.outer is not None else Scope(scope.context)


def _table(node: exp.Table, scope: Scope) -> tuple[Source, str]:
    only(node, "this", "db", "catalog", "alias", "joins")
    alias = node.args.get("alias")
    if alias is not None:
        only(alias, "this")
    context = scope.context
    if isinstance(node.this, exp.Anonymous):
        function, relation = table_calls.called(node, scope)
        return Source(node.alias or function.name, context.unique(), list(relation.outputs)), f"({relation.sql})"
    if not isinstance(node.this, exp.Identifier):
        raise unsupported(f"{node.sql(dialect='bigquery')[:200]} in FROM")
    if not node.db and (item := scope.with_item(node.name)) is not None:
        relation = query(item.query, item.scope)
        return Source(node.alias or node.name, context.unique(), list(relation.outputs)), f"({relation.sql})"
    upper = node.name.upper()
    if upper.startswith("INFORMATION_SCHEMA."):
        relation = information_schema.relation(upper.split(".", 1)[1], node.catalog, node.db, scope)
        return Source(
            node.alias or upper.split(".", 1)[1], context.unique(), list(relation.outputs)
        ), f"({relation.sql})"
    table = find(node, scope)
    name = node.alias or table.name
    if table.view is not None:
        relation = _view(table, scope)
        return Source(name, context.unique(), list(relation.outputs), table), f"({relation.sql})"
    return stored(table, name, scope), table.rows


def find(node: exp.Table, scope: Scope) -> Table:
    """The table or view a name stands for; ApiError 404 for one that is not there."""
    context = scope.context
    if any(sign in node.name for sign in "*@$"):
        raise unsupported(f"wildcard tables, snapshots and partition decorators: {node.name}")
    if node.db:
        project, dataset = node.catalog or context.project, node.db
    elif context.default is not None:
        project, dataset = context.default
    else:
        raise invalid_query(f'Table "{node.name}" must be qualified with a dataset (e.g. dataset.table).')
    try:
        return context.catalog.table(project, dataset, node.name)
    except ApiError as error:
        raise ApiError(404, "notFound", f"{error.message} was not found in location US") from None


def stored(table: Table, name: str, scope: Scope) -> Source:
    """A source that reads the rows of a table."""
    number = scope.context.scan(table)
    outputs = [
        Output(
            column.name,
            quote(column.name),
            column.type,
            frozenset([(number, column.name)]),
            frozenset([number]) if column.name == table.partition else NONE,
        )
        for column in table.columns
    ]
    return Source(name, scope.context.unique(), outputs, table)


def _view(table: Table, scope: Scope) -> Relation:
    context = scope.context
    context.tables[table.key] = table
    with context.written_out("View", table.title, table.project, {}):
        relation = query(dialect.parse(table.view or ""), Scope(context))
    return replace(relation, outputs=tuple(named(relation.outputs)))


def named(outputs: tuple[Output, ...]) -> list[Output]:
    """Names for columns without one, as BigQuery gives them: f0_, f1_ …; ApiError for a duplicate name."""
    found: list[Output] = []
    seen: set[str] = set()
    anonymous = 0
    for output in outputs:
        name = output.name
        if name is None:
            name = f"f{anonymous}_"
            anonymous += 1
        if name.lower() in seen:
            raise invalid_query(f"Duplicate column names in the result are not supported. Found duplicate(s): {name}")
        seen.add(name.lower())
        found.append(replace(output, name=name))
    return found


def _unnest(node: exp.Unnest, scope: Scope) -> str:
    only(node, "expressions", "alias", "offset")
    if len(node.expressions) != 1:
        raise unsupported("UNNEST of several arrays")
    array = compile_(node.expressions[0], scope)
    if not is_array(array.type):
        raise invalid_query(
            f"Values referenced in UNNEST must be arrays. UNNEST contains expression of type {array.type}"
        )
    context = scope.context
    alias = node.args.get("alias")
    columns = (alias.args.get("columns") or []) if alias is not None else []
    name = columns[0].name if columns else None
    context.reads |= array.reads
    output = Output(name, context.column(), element(array.type), array.reads)
    listed = f"unnest({array.sql}) AS {output.sql}"
    alias = context.unique()
    source = Source(None, alias, [output])
    if is_struct(output.type):
        found, written = _members(array, output, scope)
        source = Source(name, alias, found, whole=output)
        listed += written
    _add(source, scope)
    offset = node.args.get("offset")
    if offset:
        label = offset.name if isinstance(offset, exp.Identifier) else "offset"
        place = Output(label, context.column(), "INT64")
        listed += f", generate_subscripts({array.sql}, 1) - 1 AS {place.sql}"
        # A name of its own beside the element's, in the same rows.
        _add(Source(None, alias, [place]), scope)
    lateral = "" if array.constant else "LATERAL "
    return f"{lateral}(SELECT {listed}) AS {alias}"


def _members(array: Expr, whole: Output, scope: Scope) -> tuple[list[Output], str]:
    """The fields of an element as columns, and the DuckDB text that adds them."""
    found: list[Output] = []
    written = ""
    for field in nested.fields(Expr("e0", whole.type)):
        output = Output(field.name, scope.context.column(), field.type, array.reads)
        found.append(output)
        written += f", unnest(list_transform({array.sql}, lambda e0: {field.sql})) AS {output.sql}"
    return found, written


def _join(join: exp.Join, scope: Scope) -> str:
    only(join, "this", "side", "kind", "on", "using")
    side, kind = str(join.args.get("side") or "").upper(), str(join.args.get("kind") or "").upper()
    how = KINDS.get((side, kind))
    if how is None:
        raise unsupported(f"{side} {kind} JOIN")
    before = list(scope.sources)
    unnested = isinstance(join.this, exp.Unnest) or (
        isinstance(join.this, exp.Table) and _array_path(join.this, scope) is not None
    )
    if unnested and how not in ("INNER", "CROSS", "LEFT"):
        raise unsupported(f"{how} JOIN with UNNEST")
    if _joins(join.this):
        raise unsupported("joins in parentheses")
    right = from_item(join.this, scope)
    added = scope.sources[len(before) :]
    on, using = join.args.get("on"), join.args.get("using")
    condition = "TRUE"
    if on is not None:
        condition = _on(on, how, before, added, scope)
    elif using:
        condition = _using(using, how, before, added[0], scope)
    elif (how not in ("CROSS", "INNER") or kind == "INNER") and not unnested:
        raise invalid_query(f"{how} JOIN must have an immediately following ON or USING clause")
    if how in ("LEFT", "FULL"):
        _forget_partitions(added)
    if how in ("RIGHT", "FULL"):
        _forget_partitions(before)
    if how == "CROSS" or (how == "INNER" and on is None and not using):
        return f" CROSS JOIN {right}"
    return f" {how} JOIN {right} ON {condition}"


def _on(on: exp.Expression, how: str, before: list[Source], added: list[Source], scope: Scope) -> str:
    """ON: a condition that only drops rows of one side says nothing of the partitions of the other."""
    sides = {"INNER": before + added, "LEFT": added, "RIGHT": before}.get(how, [])
    among = frozenset().union(*(output.partition for source in sides for output in source.outputs))
    written = []
    for node in conditions.conjuncts(on):
        part = boolean(compile_(node, scope), "JOIN ON clause")
        conditions.note(part, scope, among)
        written.append(part.sql)
    return "(" + " AND ".join(written) + ")"


def _using(names: list[exp.Expression], how: str, before: list[Source], added: Source, scope: Scope) -> str:
    written = []
    for name in names:
        here = added.find(name.name)
        merged = scope.merged.get(name.name.lower())
        there = [merged] if merged else [s.column(o) for s in before for o in s.find(name.name)]
        if len(here) != 1 or len(there) != 1:
            raise invalid_query(f"Column {name.name} in USING clause not found on both sides of the join, or ambiguous")
        left, right = there[0], added.column(here[0])
        equal = operators.compare("=", left, right)
        scope.context.reads |= equal.reads
        written.append(equal.sql)
        if left.type != right.type:
            raise unsupported(f"USING({name.name}) of {left.type} and {right.type}")
        scope.merged[name.name.lower()] = _merged(how, left, right, name.name)
    return "(" + " AND ".join(written) + ")"


def _merged(how: str, left: Expr, right: Expr, name: str) -> Expr:
    if how == "FULL":
        both = combined(f"coalesce({left.sql}, {right.sql})", left.type, [left, right])
        return replace(both, name=name, constant=False)
    kept = right if how == "RIGHT" else left
    return replace(kept, name=name, reads=left.reads | right.reads)


def _forget_partitions(sources: list[Source]) -> None:
    """Rows of this side may be padded with NULL, so a condition above the join does not filter what it reads."""
    for source in sources:
        source.padded = True
        source.outputs = [replace(output, partition=NONE) for output in source.outputs]
