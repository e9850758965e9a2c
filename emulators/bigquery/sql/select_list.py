"""The select list: its columns, stars with EXCEPT and REPLACE, and the names it gives to other clauses."""

from __future__ import annotations

from dataclasses import dataclass

from sqlglot import exp

from emulators.bigquery.errors import invalid_query, unsupported
from emulators.bigquery.nested_types import is_struct
from emulators.bigquery.sql import nested
from emulators.bigquery.sql.columns import resolve
from emulators.bigquery.sql.compiler import compile_
from emulators.bigquery.sql.dialect import only
from emulators.bigquery.sql.expr import NULL, Expr
from emulators.bigquery.sql.scope import Scope


@dataclass(frozen=True)
class Item:
    """One column of the select list; `alias` is the name it was given, not one it merely implies."""

    expr: Expr
    name: str | None
    alias: bool


def items_of(node: exp.Select, scope: Scope) -> list[Item]:
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


def unambiguous(names: dict[str, Item], scope: Scope, clause: str, only_name: str | None = None) -> dict[str, Expr]:
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
