"""CREATE and DROP of row access policies, which sqlglot reads as a plain command.

The filter is compiled like a WHERE of the table, so that what BigQuery could not evaluate is refused here too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from sqlglot import exp
from sqlglot.errors import SqlglotError
from sqlglot.tokenizer_core import TokenType

from emulators.bigquery.catalog import RowPolicy, Table
from emulators.bigquery.errors import invalid_query
from emulators.bigquery.sql import dialect, translate
from emulators.bigquery.sql.scope import Context

Key = tuple[str, str, str]
_ASKED = re.compile(r"(CREATE(\s+OR\s+REPLACE)?|DROP(\s+ALL)?)\s+ROW\b", re.IGNORECASE)


@dataclass(frozen=True)
class PolicyChange:
    """A policy made or dropped; without `policy` and `name` all of the table are dropped."""

    kind: str  # CREATE_ROW_ACCESS_POLICY, DROP_ROW_ACCESS_POLICY, DROP_ALL_ROW_ACCESS_POLICIES
    key: Key
    policy: RowPolicy | None = None
    name: str = ""
    replace: bool = False  # OR REPLACE
    unless: bool = False  # IF NOT EXISTS of CREATE, IF EXISTS of DROP


def asked(node: exp.Expression) -> bool:
    return isinstance(node, exp.Command) and _ASKED.match(_text(node)) is not None


def read(node: exp.Command, context: Context) -> PolicyChange:
    """ApiError invalidQuery for any other command, and for a policy that BigQuery would not take."""
    words = _Words(_text(node))
    return _create(words, context) if str(node.this).upper() == "CREATE" else _drop(words, context)


def _text(node: exp.Expression) -> str:
    rest = node.args.get("expression")  # a text, or the literal that holds it
    return f"{node.this} {rest.name if isinstance(rest, exp.Expression) else rest}"


class _Words:
    """The statement, word by word."""

    def __init__(self, text: str) -> None:
        self.text, self._at = text, 0
        try:
            self._tokens: list[Any] = dialect.tokens(text)
        except SqlglotError as error:
            raise invalid_query(f"Syntax error: {str(error)[:200]}") from error

    def take(self, *words: str) -> bool:
        """Whether these words stand here, in any case and without quotes; if so they are passed."""
        found = self._tokens[self._at : self._at + len(words)]
        if len(found) < len(words) or any(not self._is(token, word) for token, word in zip(found, words, strict=True)):
            return False
        self._at += len(words)
        return True

    def _is(self, token: Any, word: str) -> bool:
        return bool(token.text.upper() == word) and self.text[token.start] not in "'\"`"

    def expect(self, *words: str) -> None:
        if not self.take(*words):
            raise self.wrong(f"Expected {' '.join(words)}")

    def wrong(self, expected: str) -> Exception:
        here = self._tokens[self._at].text if self._at < len(self._tokens) else "end of statement"
        return invalid_query(f"Syntax error: {expected} but got {here[:100]}")

    def end(self) -> None:
        if self._at < len(self._tokens):
            raise self.wrong("Expected end of statement")

    def name(self) -> str:
        token = self._tokens[self._at] if self._at < len(self._tokens) else None
        if token is None or not (token.text.isidentifier() or self.text[token.start] == "`"):
            raise self.wrong("Expected the name of a row access policy")
        self._at += 1
        return str(token.text)

    def text_literal(self) -> str:
        token = self._tokens[self._at] if self._at < len(self._tokens) else None
        if token is None or token.token_type != TokenType.STRING:
            raise self.wrong("Expected string literal")
        self._at += 1
        return str(token.text)

    def until(self, *words: str) -> str:
        """The text before the first of the words, or to the end."""
        start = self._at
        while self._at < len(self._tokens) and not any(self._is(self._tokens[self._at], word) for word in words):
            self._at += 1
        if start == self._at:
            raise self.wrong("Expected the name of a table")
        return self.text[self._tokens[start].start : self._tokens[self._at - 1].end + 1]

    def parenthesized(self) -> str:
        """The text between the parenthesis that opens here and the one that closes it."""
        self.expect("(")
        start, depth = self._at, 1
        while self._at < len(self._tokens):
            kind = self._tokens[self._at].token_type
            depth += (kind == TokenType.L_PAREN) - (kind == TokenType.R_PAREN)
            self._at += 1
            if depth == 0:
                return self.text[self._tokens[start - 1].end + 1 : self._tokens[self._at - 1].start].strip()
        raise self.wrong('Expected ")"')


def _create(words: _Words, context: Context) -> PolicyChange:
    words.expect("CREATE")
    replace = words.take("OR", "REPLACE")
    words.expect("ROW")
    words.take("ACCESS")
    words.expect("POLICY")
    unless = words.take("IF", "NOT", "EXISTS")
    if replace and unless:
        raise invalid_query("CREATE ROW ACCESS POLICY cannot have both OR REPLACE and IF NOT EXISTS")
    name = words.name()
    words.expect("ON")
    key = _key(words.until("GRANT", "FILTER"), context)
    if not words.take("GRANT", "TO"):
        raise invalid_query("Missing TO <grantee_list> clause")
    words.expect("(")
    grantees = [words.text_literal()]
    while words.take(","):
        grantees.append(words.text_literal())
    words.expect(")")
    words.expect("FILTER", "USING")
    filter_ = words.parenthesized()
    words.end()
    if not filter_:
        raise invalid_query('Syntax error: Unexpected ")" after FILTER USING (')
    _check_filter(context.catalog.table(*key), filter_, context)
    policy = RowPolicy(name, filter_, tuple(_member(grantee) for grantee in grantees))
    return PolicyChange("CREATE_ROW_ACCESS_POLICY", key, policy, name, replace, unless)


def _drop(words: _Words, context: Context) -> PolicyChange:
    words.expect("DROP")
    if words.take("ALL", "ROW"):
        words.take("ACCESS")
        words.expect("POLICIES")
        words.expect("ON")
        return PolicyChange("DROP_ALL_ROW_ACCESS_POLICIES", _key(words.until(), context))
    words.expect("ROW")
    words.take("ACCESS")
    words.expect("POLICY")
    unless = words.take("IF", "EXISTS")
    name = words.name()
    words.expect("ON")
    return PolicyChange("DROP_ROW_ACCESS_POLICY", _key(words.until(), context), name=name, unless=unless)


def _key(path: str, context: Context) -> Key:
    parsed = dialect.parse(f"SELECT 1 FROM {path}")  # noqa: S608 - parsed, not run
    tables = list(parsed.find_all(exp.Table))
    more = {key for key, value in parsed.args.items() if value} - {"kind", "expressions", "from_"}
    if len(tables) != 1 or more:
        raise invalid_query(f"Syntax error: a table name is expected, not {path[:200]}")
    table = tables[0]
    dialect.only(table, "this", "db", "catalog")
    if table.db:
        return table.catalog or context.project, table.db, table.name
    if context.default is None:
        raise invalid_query(f'Table "{table.name}" must be qualified with a dataset (e.g. dataset.table).')
    return *context.default, table.name


def _check_filter(table: Table, filter_: str, context: Context) -> None:
    """The filter stands on a table, is BOOL, and reads columns that are there and not JSON."""
    if table.view is not None:
        raise invalid_query(f"Row access policies cannot be created on {table.title}, which is a VIEW")
    path = f"`{table.project}`.`{table.dataset}`.`{table.name}`"
    apart = Context(context.catalog, context.project, None, {}, [], context.now, filters_required=False)
    node = dialect.parse(f"SELECT 1 FROM {path} WHERE ({filter_}\n)")  # noqa: S608 - compiled, not run
    if not isinstance(node, exp.Select) or not isinstance(node.args.get("where"), exp.Where):
        raise invalid_query("Syntax error: FILTER USING takes one expression")
    translate.translate(node, apart)
    for column in node.args["where"].find_all(exp.Column):
        found = table.column(column.parts[0].name) or table.column(column.name)
        if found is not None and found.type == "JSON":
            raise invalid_query(f"Row access policies cannot be applied to column {found.name} of type JSON")


def _member(text: str) -> str:
    """ApiError where it has not the form of an IAM member; whether it exists nobody knows here."""
    kind, colon, rest = text.partition(":")
    if text in ("allUsers", "allAuthenticatedUsers"):
        return text
    if not colon or not rest or kind not in ("user", "group", "serviceAccount", "domain", "principal", "principalSet"):
        raise invalid_query(f"Invalid grantee: {text[:200]}")
    return text
