"""Reads SQL expressions as far as a schema file needs: each is one value. Pure.

Whether BigQuery takes one, and which type it has, the provisioner asks BigQuery.
"""

from __future__ import annotations

import re

MOST = 4_000  # characters of one
# Of GoogleSQL: comments, texts (raw ones and bytes too), names in backquotes, words and numbers, and single signs.
_TOKEN = re.compile(
    r"""(?P<space>\s+)|(?P<comment>--|\#|/\*)"""
    r"""|(?P<text>(?P<prefix>[rRbB]{0,2})(?:'''(?:[^'\\]|\\.|'(?!''))*'''"""
    r'''|"""(?:[^"\\]|\\.|"(?!""))*"""'''
    r"""|'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*"))"""
    r"""|(?P<quoted>`(?:[^`\\]|\\.)+`)|(?P<word>[A-Za-z_]\w*)|(?P<number>[0-9.][\w.]*)|(?P<open>[(\[])|(?P<close>[)\]])"""
    r"""|(?P<unclosed>['"`])|(?P<sign>.)""",
    re.ASCII | re.DOTALL,
)
# Words that are names of columns only where nothing else can be meant: parts of dates, and types.
_ELSE = frozenset((
    "microsecond", "millisecond", "second", "minute", "hour", "day", "dayofweek", "dayofyear", "week", "isoweek",
    "month", "quarter", "year", "isoyear", "interval", "date", "time", "datetime", "timestamp", "string", "bytes",
    "bool", "int64", "float64", "numeric", "bignumeric", "json",
))  # fmt: skip
_CLOSES = {")": "(", "]": "["}
_REFUSED = {
    "SELECT": "reads rows of its own; it may read only the columns of its row",
    "OVER": "looks at other rows, of which the log table may hold duplicates; it may read only the columns of its row",
}


def problem(text: str) -> str | None:
    """Why a text cannot be an expression of its own; None if nothing speaks against it."""
    if len(text) > MOST:
        return f"{len(text):,} characters; at most {MOST:,}"
    opened: list[str] = []
    found = False
    for token in _TOKEN.finditer(text):
        kind, shown = token.lastgroup, token[0]
        match kind:
            case "comment":
                return f"{shown} begins a comment; write it in YAML, after a #"
            case "unclosed":
                return f"{shown} begins a text that does not end"
            case "open":
                opened.append(shown)
            case "close" if not opened or opened.pop() != _CLOSES[shown]:
                return f"{shown} closes what is not open"
            case "sign" if shown in ";@?" or not shown.isascii():
                return f"{shown!r} has no place in an expression"
            case "sign" if shown == "," and not opened:
                return "a comma outside of parentheses: it is one value"
            case "word" if shown.upper() in _REFUSED:
                return f"{shown.upper()} {_REFUSED[shown.upper()]}"
        found = found or kind != "space"
    if opened:
        return f"{opened[-1]} is not closed"
    return None if found else "it is empty"


def names(text: str) -> list[str]:
    """The names it reads that can only be columns, not functions, fields inside other values, or parts of dates."""
    tokens = [token for token in _TOKEN.finditer(text) if token.lastgroup != "space"]
    found = []
    for index, token in enumerate(tokens):
        if token.lastgroup not in ("word", "quoted"):
            continue
        after = tokens[index + 1][0] if index + 1 < len(tokens) else ""
        before = tokens[index - 1][0] if index else ""
        if token.lastgroup == "quoted" or (after != "(" and token[0].lower() not in _ELSE):
            found += [token[0].strip("`")] if before != "." else []
    return found
