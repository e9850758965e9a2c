"""Reads YAML nodes as names, texts and choices, and gathers an error for each node that is something else."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import Any

import yaml

_MOST_ERRORS = 50
_SHOWN = 80  # characters of a value that an error quotes
_NULL = "tag:yaml.org,2002:null"
_LONG_WORD = re.compile(rf"\S{{{_SHOWN + 20},}}")
# What people write who know other databases, or BigQuery's aliases.
_MEANT = {
    **dict.fromkeys(("INT", "INTEGER", "BIGINT", "SMALLINT", "TINYINT", "BYTEINT", "LONG"), "INT64"),
    **dict.fromkeys(("FLOAT", "FLOAT32", "DOUBLE", "REAL"), "FLOAT64"),
    **dict.fromkeys(("DECIMAL", "NUMBER", "MONEY"), "NUMERIC"),
    "BIGDECIMAL": "BIGNUMERIC",
    **dict.fromkeys(("BOOLEAN", "BIT"), "BOOL"),
    **dict.fromkeys(("TEXT", "VARCHAR", "CHAR", "UUID", "GEOGRAPHY"), "STRING"),
    **dict.fromkeys(("BINARY", "BLOB", "VARBINARY"), "BYTES"),
    "TIMESTAMPTZ": "TIMESTAMP",
    "RECORD": "STRUCT",
    **dict.fromkeys(("OBJECT", "MAP", "JSONB"), "JSON"),
    "ARRAY": "the type of its elements, with `mode: REPEATED`",
    "NOT NULL": "REQUIRED",
    "NULL": "NULLABLE",
    **dict.fromkeys(("YES", "ON", "1"), "true"),
    **dict.fromkeys(("NO", "OFF", "0"), "false"),
}


class NodeReader:
    """Every method returns something empty for a wrong node, and keeps the error; a node of None is no error."""

    def __init__(self, file: str, errors: list[tuple[int, int, str]] | None = None) -> None:
        """`errors` is the list to add to, which readers of one file share."""
        self._file = file
        self._errors = [] if errors is None else errors

    def _report(self) -> str:
        errors = sorted(set(self._errors))
        lines = [f"{self._file}:{line}:{column}: {text}" for line, column, text in errors[:_MOST_ERRORS]]
        if more := len(errors) - len(lines):
            lines.append(f"{self._file}: {more} more; these are the first {_MOST_ERRORS}")
        return "\n".join(lines)

    def _mapping(
        self, node: yaml.Node | None, where: str, allowed: Iterable[str] = (), required: Iterable[str] = ()
    ) -> dict[str, yaml.Node]:
        if not isinstance(node, yaml.MappingNode):
            self._error(node, f"{where}: a mapping (`name: value` lines) is wanted here, not {_shown(node)}")
            return {}
        keys: dict[str, yaml.Node] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                self._error(key, f"{where}: a name is wanted here, not {_shown(key)}")
                continue
            name = str(key.value)
            if name in keys:
                self._error(key, f"{where}: {quoted(name)} is there twice")
            elif allowed and name not in allowed:
                self._error(key, f"{where}: {quoted(name)} is not known here{near(name, allowed)}")
            keys[name] = value
        for name in required:
            if name not in keys:
                self._error(node, f"{where}: {name!r} is missing")
        return keys

    def _text(self, node: yaml.Node | None, where: str) -> str:
        if node is None:
            return ""
        if not isinstance(node, yaml.ScalarNode) or not node.value or node.tag == _NULL:
            self._error(node, f"{where}: a text is wanted here, not {_shown(node)}")
            return ""
        return str(node.value)

    def _texts(self, node: yaml.Node | None, where: str) -> list[str]:
        """One text or a list of different ones."""
        if not isinstance(node, yaml.SequenceNode):
            return [text] if (text := self._text(node, where)) else []
        if not node.value:
            self._error(node, f"{where}: the list is empty; name at least one")
        texts: dict[str, None] = {}
        for item in node.value:
            text = self._text(item, where)
            if text in texts:
                self._error(item, f"{where}: {quoted(text)} is there twice")
            elif text:
                texts[text] = None
        return list(texts)

    def _description(self, keys: dict[str, yaml.Node], where: str, most: int) -> str:
        node = keys.get("description")
        text = self._text(node, f"{where}: description")
        if len(text) > most:
            self._error(node, f"{where}: description: {len(text):,} characters; BigQuery takes at most {most:,}")
        return text

    def _choice(self, node: yaml.Node | None, where: str, choices: tuple[str, ...]) -> str:
        text = self._text(node, where)
        return self._choice_of(text, node, where, choices) if text else ""

    def _choice_of(self, text: str, node: yaml.Node | None, where: str, choices: tuple[str, ...]) -> str:
        if text not in choices:
            self._error(node, f"{where}: {quoted(text)} is none of {', '.join(choices)}{_meant(text, choices)}")
        return text

    def _error(self, node: yaml.Node | None, text: str) -> None:
        mark: Any = node.start_mark if node is not None else None
        line = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
        line = _LONG_WORD.sub(lambda found: found[0][:_SHOWN] + "…", line)
        self._errors.append((mark.line + 1, mark.column + 1, line) if mark else (1, 1, line))


def quoted(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "…")


def _shown(node: yaml.Node | None) -> str:
    """What is there instead, as an error shows it."""
    if isinstance(node, yaml.ScalarNode):
        if node.tag == _NULL and node.value:
            return f"{node.value}, which means nothing; put it in quotes if that is its name"
        return quoted(node.value) if node.value else "nothing"
    return "a list" if isinstance(node, yaml.SequenceNode) else "a mapping"


def _meant(word: str, choices: tuple[str, ...]) -> str:
    """What to use instead, if it can be guessed; case does not matter."""
    upper = word.upper()
    bare = re.split("[(<]", upper)[0].strip()  # without parameters, such as NUMERIC(10, 2) has
    meant = _MEANT.get(upper) or _MEANT.get(bare, bare)
    if meant in choices or " " in meant:
        return f"; use {meant}"
    by_lower = {choice.lower(): choice for choice in choices}
    match = difflib.get_close_matches(word.lower(), by_lower, n=1)
    return f"; did you mean {by_lower[match[0]]!r}?" if match else ""


def near(word: str, known: Iterable[str]) -> str:
    match = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {match[0]!r}?" if match else ""
