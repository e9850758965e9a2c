"""GoogleSQL text to a syntax tree: sqlglot's BigQuery grammar, with every function left as it was written.

sqlglot would translate function calls by its own rules. Here the tree keeps names and arguments, so that the
emulator's own table of functions decides, and a name that is not in it is an error.
"""

from __future__ import annotations

import logging
from typing import Any, ClassVar

import sqlglot
from sqlglot import exp
from sqlglot.dialects.bigquery import BigQuery
from sqlglot.errors import SqlglotError
from sqlglot.parsers.bigquery import BigQueryParser
from sqlglot.tokenizer_core import TokenType

from emulators.bigquery.errors import invalid_query, unsupported
from emulators.bigquery.sql import grammar

MAX_LENGTH = 1024 * 1024  # characters, BigQuery's limit for unresolved query text
KEPT_SYNTAX = ("CAST", "SAFE_CAST", "EXTRACT")  # calls whose arguments are not plain expressions


def _placeholder(parser: Any) -> exp.Placeholder:
    """A ? that remembers where it stood: the tree does not keep the order of the text."""
    node = exp.Placeholder()
    node.meta["start"] = parser._prev.start
    return node


class Verbatim(BigQuery):
    class Parser(BigQueryParser):
        # LIST[…] is not a constructor here, and `list[0]` would lose its column to one.
        ARRAY_CONSTRUCTORS: ClassVar[dict[str, Any]] = {"ARRAY": exp.Array}
        FUNCTIONS: ClassVar[dict[str, Any]] = {}
        FUNCTION_PARSERS: ClassVar[dict[str, Any]] = {
            name: parser for name, parser in BigQueryParser.FUNCTION_PARSERS.items() if name in KEPT_SYNTAX
        }
        PLACEHOLDER_PARSERS: ClassVar[dict[Any, Any]] = {
            **BigQueryParser.PLACEHOLDER_PARSERS,
            TokenType.PLACEHOLDER: _placeholder,
        }

        def _parse_bracket(self, this: Any = None) -> Any:
            # ARRAY(SELECT …)[0] and `array`[0] are not ARRAY[0], which the name alone would make them.
            if isinstance(this, exp.Anonymous) or (isinstance(this, exp.Column) and this.this.args.get("quoted")):
                bracket = super()._parse_bracket(exp.Paren(this=this))
                return this if bracket is None or bracket.this is this else bracket
            return super()._parse_bracket(this)


# sqlglot warns of constructs that it reads as a plain command; those are refused here, in words.
logging.getLogger("sqlglot").setLevel(logging.ERROR)
_dialect = Verbatim()


def parse(sql: str) -> exp.Expression:
    """The one statement in `sql`; ApiError invalidQuery for anything else."""
    if len(sql) > MAX_LENGTH:
        raise invalid_query(f"Query is too long: {len(sql)} characters, at most {MAX_LENGTH} are allowed")
    try:
        statements = [statement for statement in sqlglot.parse(sql, dialect=_dialect) if statement is not None]
    except RecursionError:
        raise invalid_query("Query is nested too deeply") from None
    except SqlglotError as error:
        raise invalid_query(f"Syntax error: {_plain(error)}") from error
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        # sqlglot trips over some texts that no dialect has.
        raise invalid_query(f"Syntax error: {sql[:200]}") from error
    if not statements:
        raise invalid_query("Syntax error: Unexpected end of statement")
    if len(statements) > 1:
        raise unsupported("scripts: send one statement at a time")
    statement = statements[0]
    if not isinstance(statement, exp.Expression):
        raise unsupported(f"this statement: {sql[:200]}")
    grammar.check(statement)
    for node in statement.find_all(exp.Placeholder):
        if "start" not in node.meta:
            raise invalid_query(f"Syntax error: Unexpected {node.sql()[:200]}")
    asked = sorted(statement.find_all(exp.Placeholder), key=lambda node: int(node.meta["start"]))
    for position, node in enumerate(asked):
        node.meta["position"] = position
    return statement


def tokens(sql: str) -> list[Any]:
    """The tokens of a statement that sqlglot cannot parse. Raises SqlglotError if it cannot be tokenized."""
    return list(_dialect.tokenize(sql))


def only(node: exp.Expression, *known: str) -> None:
    """Refuse a node that says more than the parts named: what is not translated must not be dropped."""
    for key, value in node.args.items():
        if key not in known and value not in (None, False, [], ""):
            raise unsupported(f"{key.strip('_').upper()} in {node.sql(dialect='bigquery')[:200]}")


def _plain(error: SqlglotError) -> str:
    found = getattr(error, "errors", None)
    if found:
        first = found[0]
        return f"{first.get('description')} at [{first.get('line')}:{first.get('col')}]"
    return str(error).split("\n", 1)[0]
