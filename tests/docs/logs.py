"""The table of services/LOGS.md: severity, message, component and fields are read from the code.

What a line means cannot be read there: it is typed once, in the table itself, and kept, also where the line moves to
another component or severity. A line that is new gets an empty meaning, which a test refuses.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from services.shared.log import LEVELS
from tests.docs.markers import table
from tests.process import ROOT

SERVICES = ROOT / "services"
METHODS = {level: level.upper() for level in LEVELS} | {"exception": "ERROR"}
Line = tuple[str, str, str]  # severity, message, component
_ROW = re.compile(r"^\| ([A-Z]+) \| `([^`]+)` \| ([\w.]+) \|([^|]*)\|([^|]*)\|$", re.MULTILINE)


def lines() -> dict[Line, tuple[list[str], bool]]:
    """Every line the code logs, in order, with its fields, and whether some are passed on as a mapping (`**x`)."""
    found: dict[Line, tuple[list[str], bool]] = {}
    for path in sorted(SERVICES.rglob("*.py")):
        for line, fields, mapped in _of(path):
            before, was_mapped = found.get(line, ([], False))
            found[line] = ([*before, *(one for one in fields if one not in before)], mapped or was_mapped)
    return found


@cache
def _of(path: Path) -> list[tuple[Line, list[str], bool]]:
    return list(_read(path))


def _read(path: Path) -> Iterator[tuple[Line, list[str], bool]]:
    tree = ast.parse(path.read_text())
    loggers = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and (name := _got(node.value)):
            loggers[node.targets[0].id] = name
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in METHODS):
            continue
        owner = node.func.value
        component = loggers.get(owner.id) if isinstance(owner, ast.Name) else _got(owner)
        if component is None:
            continue
        fields = [one.arg for one in node.keywords if one.arg and one.arg != "exc_info"]
        what = node.args[0]
        for message in (what.body, what.orelse) if isinstance(what, ast.IfExp) else (what,):
            line = (METHODS[node.func.attr], str(ast.literal_eval(message)), component)
            yield line, fields, any(one.arg is None for one in node.keywords)


def _got(node: ast.expr) -> str | None:
    """'x' of `log.get("x")`."""
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "log.get":
        return str(ast.literal_eval(node.args[0]))
    return None


def documented(text: str) -> dict[Line, tuple[list[str], str]]:
    """The lines of the table in the document, in its order, with their fields and meaning."""
    return {
        (severity, message, where): (re.findall(r"`(\w+)`", fields), meaning.strip())
        for severity, message, where, fields, meaning in _ROW.findall(text)
    }


def render(text: str) -> str:
    """The table for the document as it is now: the lines of the code, with the meanings that the document has."""
    known, said = documented(text), lines()
    for line in said:
        if line not in known and (was := [one for one in known if one[1] == line[1] and one not in said]):
            known = {line if one == was[0] else one: row for one, row in known.items()}
    order = [line for line in known if line in said]
    for line in said:
        if line not in known:  # behind the last of its component
            last = max((n for n, one in enumerate(order) if one[2] == line[2]), default=len(order) - 1)
            order.insert(last + 1, line)
    rows = []
    for line in order:
        severity, message, component = line
        fields, mapped = said[line]
        shown, meaning = known.get(line, ([], ""))
        kept = [one for one in shown if one in fields or mapped]  # in the order in which a reader wants them
        every = [*kept, *(one for one in fields if one not in kept)]
        rows.append((severity, f"`{message}`", component, ", ".join(f"`{one}`" for one in every), meaning))
    return table(("severity", "message", "where", "fields", "what it means"), rows)
