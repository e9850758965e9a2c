"""What GoogleSQL's grammar refuses though sqlglot reads it: reserved words, chains of comparisons, literal NULLs."""

from __future__ import annotations

from sqlglot import exp
from sqlglot.generators.bigquery import BigQueryGenerator

from emulators.bigquery.errors import invalid_query

RESERVED = frozenset(word.upper() for word in BigQueryGenerator.RESERVED_KEYWORDS)
# All of one rank, which a chain needs parentheses for. NOT stands for those that sqlglot reads as NOT (a IN b).
COMPARISONS = (
    *(exp.EQ, exp.NEQ, exp.LT, exp.LTE, exp.GT, exp.GTE, exp.NullSafeEQ, exp.NullSafeNEQ),
    *(exp.Like, exp.In, exp.Between, exp.Is, exp.Not),
)
OPERANDS = ("this", "expression", "low", "high")


def check(statement: exp.Expression) -> None:
    """ApiError invalidQuery for what is not GoogleSQL."""
    for node in statement.walk():
        if isinstance(node, exp.Identifier):
            _check_word(node)
        elif isinstance(node, COMPARISONS) and not isinstance(node, exp.Not):
            _check_chain(node)


def _check_word(node: exp.Identifier) -> None:
    """A reserved word is a name only in backquotes, or after the dot of a path."""
    if node.args.get("quoted") or node.name.upper() not in RESERVED or _after_dot(node):
        return
    raise invalid_query(
        f"Syntax error: Unexpected keyword {node.name.upper()}: to use a reserved word as a name, "
        f"write it in backquotes, `{node.name}`"
    )


def _after_dot(node: exp.Identifier) -> bool:
    parent = node.parent
    if isinstance(parent, (exp.Column, exp.Table)):
        return parent.parts[0] is not node
    return isinstance(parent, exp.Dot) and parent.expression is node


def _check_chain(node: exp.Expression) -> None:
    parts = ("this",) if isinstance(node, exp.In) else OPERANDS
    if any(isinstance(node.args.get(part), COMPARISONS) for part in parts):
        raise invalid_query(
            f"Syntax error: a comparison inside another must be parenthesized: {node.sql(dialect='bigquery')[:200]}"
        )


def operands(operator: str, *nodes: exp.Expression) -> None:
    """ApiError where an operand is the word NULL: BigQuery takes NULLs of columns and parameters, not written ones."""
    for node in nodes:
        if isinstance(node.unnest(), exp.Null):
            raise invalid_query(f"Operands of {operator} cannot be literal NULL")
