"""UNION, INTERSECT and EXCEPT."""

from __future__ import annotations

from sqlglot import exp

from emulators.bigquery.errors import invalid_query, unsupported
from emulators.bigquery.sql.casts import coerce
from emulators.bigquery.sql.compiler import handles_query, query
from emulators.bigquery.sql.dialect import only
from emulators.bigquery.sql.expr import NONE, Expr, groupable, supertype
from emulators.bigquery.sql.ordering import finished
from emulators.bigquery.sql.scope import Output, Relation, Scope

MAX_BRANCHES = 1_000  # planning takes the square of their number

SET_PARTS = ("this", "expression", "distinct", "with_", "order", "limit", "offset")


@handles_query(exp.Union, exp.Intersect, exp.Except)
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
    return finished(Relation(joined, tuple(outputs)), node, outer)
