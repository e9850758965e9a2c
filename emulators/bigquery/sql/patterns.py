"""Functions of regular expressions: BigQuery and DuckDB share RE2, but not what they do without a match."""

from __future__ import annotations

import re

from emulators.bigquery.errors import invalid_query, unsupported
from emulators.bigquery.sql.casts import coerce
from emulators.bigquery.sql.expr import NULL, Expr, coercible, combined, null, signature

NAMES = {"REGEXP_CONTAINS": 2, "REGEXP_EXTRACT": 2, "REGEXP_EXTRACT_ALL": 2, "REGEXP_REPLACE": 3}
RESULTS = {
    "REGEXP_CONTAINS": "BOOL",
    "REGEXP_EXTRACT": "STRING",
    "REGEXP_EXTRACT_ALL": "ARRAY<STRING>",
    "REGEXP_REPLACE": "STRING",
}
SKIPPED = re.compile(r"\\Q.*?\\E|\\.|\[\^?\]?(?:\[:\w+:\]|\\.|[^\]\\])*\]", re.DOTALL)
ASSERTION = re.compile(r"[\^$]|\\[bBAz]")
GROUP = re.compile(r"\((?!\?(?!P?<))")


def call(name: str, arguments: list[Expr]) -> Expr:
    if len(arguments) != NAMES[name] or not all(coercible(argument, "STRING") for argument in arguments):
        raise invalid_query(f"No matching signature for function {name} for argument types: {signature(arguments)}")
    if any(argument.type == NULL for argument in arguments):
        return null(RESULTS[name])
    given = [coerce(argument, "STRING") for argument in arguments]
    value, pattern = given[0].sql, given[1].sql
    if not given[1].literal:
        raise unsupported(f"{name} with a regular expression that is not a string literal")
    if name == "REGEXP_CONTAINS":
        return combined(f"regexp_matches({value}, {pattern})", "BOOL", given)
    if name == "REGEXP_REPLACE":
        return combined(f"regexp_replace({value}, {pattern}, {given[2].sql}, 'g')", "STRING", given)
    groups = len(GROUP.findall(SKIPPED.sub("", pattern[1:-1])))
    if groups > 1:
        raise invalid_query(
            "Regular expressions passed into extraction functions must not have more than 1 capturing group"
        )
    if groups and not _always_taken(SKIPPED.sub("x", pattern[1:-1])):
        raise unsupported(f"{name} with a group that may not take part in a match: {pattern}")
    if name == "REGEXP_EXTRACT_ALL":
        return combined(_all(value, pattern, groups), "ARRAY<STRING>", given)
    found = f"regexp_extract({value}, {pattern}, {groups})"
    return combined(f"(CASE WHEN regexp_matches({value}, {pattern}) THEN {found} ELSE NULL END)", "STRING", given)


def _all(value: str, pattern: str, groups: int) -> str:
    """Where nothing is a match, DuckDB finds it at the end of the text too; BigQuery does only in an empty text."""
    found = f"regexp_extract_all({value}, {pattern}, {groups})"
    empty = f"regexp_full_match('', {pattern})"
    if ASSERTION.search(SKIPPED.sub(_kept, pattern[1:-1])):
        refused = "error('The local BigQuery emulator does not support this pattern: it finds nothing at some place')"
        return f"(CASE WHEN list_contains({found}, '') THEN {refused} ELSE {found} END)"
    return f"(CASE WHEN {value} != '' AND {empty} THEN {found}[:-2] ELSE {found} END)"


def _kept(skipped: re.Match[str]) -> str:
    return skipped.group() if skipped.group() in (r"\b", r"\B", r"\A", r"\z") else "x"


def _always_taken(pattern: str) -> bool:
    """Whether every match has the one group; where a match lacks it BigQuery gives NULL and DuckDB an empty string.

    `pattern` comes without escapes and character classes. Only what is surely so counts.
    """
    found = GROUP.search(pattern)
    if found is None:
        return False
    depth = 0
    for position in range(found.start(), len(pattern)):
        depth += {"(": 1, ")": -1}.get(pattern[position], 0)
        if depth == 0:
            before, after = pattern[: found.start()], pattern[position + 1 :]
            return "|" not in before + after and "(" not in before and not after.startswith(("?", "*", "{"))
    return False
