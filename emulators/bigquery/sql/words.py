"""A statement word by word, for those that sqlglot cannot parse."""

from __future__ import annotations

from typing import Any

from sqlglot import exp
from sqlglot.errors import SqlglotError
from sqlglot.tokenizer_core import TokenType

from emulators.bigquery.catalog import TableKey
from emulators.bigquery.errors import invalid_query
from emulators.bigquery.sql import dialect
from emulators.bigquery.sql.scope import Context


class Words:
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

    def name(self, what: str) -> str:
        token = self._tokens[self._at] if self._at < len(self._tokens) else None
        if token is None or not (token.text.isidentifier() or self.text[token.start] == "`"):
            raise self.wrong(f"Expected the name of {what}")
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

    def rest(self) -> str:
        """The text from here to the end, without a semicolon there."""
        last = len(self._tokens)
        while last > self._at and self._tokens[last - 1].token_type == TokenType.SEMICOLON:
            last -= 1
        if last == self._at:
            raise self.wrong("Expected a query")
        start, self._at = self._tokens[self._at].start, len(self._tokens)
        return self.text[start : self._tokens[last - 1].end + 1]

    def at_end(self) -> bool:
        return all(token.token_type == TokenType.SEMICOLON for token in self._tokens[self._at :])

    def items(self) -> list[str]:
        """The texts between the commas of the parentheses that open here."""
        self.expect("(")
        found: list[str] = []
        start, depth = self._at, 0
        while self._at < len(self._tokens):
            token = self._tokens[self._at]
            if depth == 0 and (token.token_type in (TokenType.COMMA, TokenType.R_PAREN)):
                if start < self._at:
                    found.append(self.text[self._tokens[start].start : self._tokens[self._at - 1].end + 1])
                elif found or token.token_type == TokenType.COMMA:
                    raise self.wrong("Expected a parameter")
                self._at += 1
                start = self._at
                if token.token_type == TokenType.R_PAREN:
                    return found
                continue
            depth += sum((sign in "(<") - (sign in ")>") for sign in token.text if token.text[0] in "()<>")
            self._at += 1
        raise self.wrong('Expected ")"')


def key_of(path: str, context: Context) -> TableKey:
    """Project, dataset and name of a path; ApiError invalidQuery for what is none."""
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
