"""CREATE and DROP TABLE FUNCTION, which sqlglot takes for another kind of function, or not at all."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from sqlglot import exp

from emulators.bigquery.catalog import TableKey
from emulators.bigquery.errors import invalid_query, unsupported
from emulators.bigquery.sql import dialect
from emulators.bigquery.sql.casts import sql_type
from emulators.bigquery.sql.scope import Context
from emulators.bigquery.sql.words import Words, key_of

_COMMENTS = r"(?:\s|--[^\n]*\n|#[^\n]*\n|/\*.*?\*/)*"
_ASKED = re.compile(rf"{_COMMENTS}(CREATE(\s+OR\s+REPLACE)?|DROP)\s+TABLE\s+FUNCTION\b", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True)
class FunctionChange:
    """A table function made or dropped."""

    kind: str  # CREATE_TABLE_FUNCTION, DROP_TABLE_FUNCTION
    key: TableKey
    arguments: tuple[tuple[str, str], ...] = ()
    body: str = ""
    description: str | None = None
    replace: bool = False  # OR REPLACE
    unless: bool = False  # IF NOT EXISTS of CREATE, IF EXISTS of DROP


def asked(text: str) -> bool:
    return _ASKED.match(text) is not None


def read(text: str, context: Context) -> FunctionChange:
    """ApiError invalidQuery for what is no such statement; whether the query is good is seen when it is kept."""
    words = Words(text)
    if words.take("DROP", "TABLE", "FUNCTION"):
        unless = words.take("IF", "EXISTS")
        return FunctionChange("DROP_TABLE_FUNCTION", key_of(words.rest(), context), unless=unless)
    words.expect("CREATE")
    replace = words.take("OR", "REPLACE")
    words.expect("TABLE", "FUNCTION")
    unless = words.take("IF", "NOT", "EXISTS")
    if replace and unless:
        raise invalid_query("CREATE TABLE FUNCTION cannot have both OR REPLACE and IF NOT EXISTS")
    key = key_of(words.until("("), context)
    arguments = tuple(_argument(item) for item in words.items())
    if words.take("RETURNS"):
        raise unsupported("RETURNS of a table function: its columns are those of its query")
    description = _description(words.items()) if words.take("OPTIONS") else None
    words.expect("AS")
    body = words.rest()
    inner = Words(body)
    if body.startswith("("):
        whole = inner.parenthesized()
        body = whole if inner.at_end() else body
    return FunctionChange("CREATE_TABLE_FUNCTION", key, arguments, body, description, replace, unless)


def _argument(item: str) -> tuple[str, str]:
    name, _, type_ = item.partition(" ")
    name = name.strip("`")
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) or not type_.strip():
        raise invalid_query(f"Syntax error: a parameter is a name and a type, not {item[:200]}")
    cast = dialect.parse(f"SELECT CAST(NULL AS {type_})").find(exp.Cast)
    if cast is None:
        raise unsupported(f"a parameter of type {type_[:200]}")
    return name, sql_type(cast.to)


def _description(items: list[str]) -> str | None:
    found: dict[str, Any] = {}
    for item in items:
        name, _, value = item.partition("=")
        given = dialect.parse(f"SELECT {value}").find(exp.Literal)
        if name.strip().lower() != "description" or given is None or not given.is_string:
            raise unsupported(f"the option {item[:200]} of a table function")
        found["description"] = given.this
    return found.get("description")
