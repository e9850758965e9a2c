"""The entry points of translation: each kind of syntax node, and each special function, has one registered handler.

Expressions contain queries and queries contain expressions, so neither imports the other: both register here and both
call `compile_` and `query`. `translate` imports every module that registers handlers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlglot import exp

from emulators.bigquery.errors import unsupported
from emulators.bigquery.sql.dialect import only
from emulators.bigquery.sql.expr import Expr
from emulators.bigquery.sql.parts import PARTS
from emulators.bigquery.sql.scope import Relation, Scope, With

Node = exp.Expression
Handler = Callable[[Any, Scope], Expr]
Call = Callable[[str, list[Node], Scope], Expr]
QueryHandler = Callable[[Any, Scope], Relation]
_handlers: dict[type[Any], Handler] = {}
_calls: dict[str, Call] = {}
_queries: dict[type[Any], QueryHandler] = {}


def handles(*kinds: type[Any]) -> Callable[[Handler], Handler]:
    """Register the handler of expressions of these kinds."""

    def register(handler: Handler) -> Handler:
        _handlers.update(dict.fromkeys(kinds, handler))
        return handler

    return register


def calls(*names: str) -> Callable[[Call], Call]:
    """Register functions by name; a handler gets the name and the arguments as they were written."""

    def register(handler: Call) -> Call:
        _calls.update(dict.fromkeys(names, handler))
        return handler

    return register


def handles_query(*kinds: type[Any]) -> Callable[[QueryHandler], QueryHandler]:
    """Register the handler of queries of these kinds."""

    def register(handler: QueryHandler) -> QueryHandler:
        _queries.update(dict.fromkeys(kinds, handler))
        return handler

    return register


def special_call(name: str) -> Call | None:
    """The handler of a function that `calls` registered, or None."""
    return _calls.get(name)


def compile_(node: Node, scope: Scope) -> Expr:
    """Translate one expression; ApiError invalidQuery for what is wrong or not known."""
    handler = _handlers.get(type(node))
    if handler is None:
        raise unsupported(f"{type(node).__name__}: {node.sql(dialect='bigquery')[:200]}")
    only(node, *PARTS.get(type(node), ("this", "expression")))
    return handler(node, scope)


def query(node: Node, outer: Scope) -> Relation:
    """Translate a query; ApiError for what is not one or is not known."""
    if node.args.get("with_") is not None:
        outer = _with_items(node.args["with_"], outer)
    handler = _queries.get(type(node))
    if handler is None:
        raise unsupported(f"{type(node).__name__}: {node.sql(dialect='bigquery')[:200]}")
    return handler(node, outer)


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
