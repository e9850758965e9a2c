"""services/LOGS.md says every line that the code logs, and no other."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from services.shared.log import _SEVERITY
from tests.child import ROOT

SERVICES = ROOT / "services"
METHODS = {**_SEVERITY, "exception": "ERROR"}
Line = tuple[str, str, str]  # severity, message, component
_ROW = re.compile(r"^\| ([A-Z]+) \| `([^`]+)` \| ([\w.]+) \| ([^|]*)\| (\S[^|]+) \|$", re.MULTILINE)


def _component(tree: ast.AST) -> dict[str, str]:
    """The names of loggers in a file, and what each was got for."""
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and (name := _got(node.value)):
            found[node.targets[0].id] = name
    return found


def _got(node: ast.expr) -> str | None:
    """'x' of `log.get("x")`."""
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "log.get":
        return str(ast.literal_eval(node.args[0]))
    return None


def _said() -> Iterator[tuple[Line, set[str]]]:
    """Each line with the fields its call names; a field that comes from elsewhere is not among them."""
    for path in SERVICES.rglob("*.py"):
        if "local" in path.relative_to(SERVICES).parts:
            continue
        tree = ast.parse(path.read_text())
        loggers = _component(tree)
        for node in ast.walk(tree):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in METHODS):
                continue
            owner = node.func.value
            component = loggers.get(owner.id) if isinstance(owner, ast.Name) else _got(owner)
            if component is None:
                continue
            fields = {one.arg for one in node.keywords if one.arg and one.arg != "exc_info"}
            what = node.args[0]
            for message in (what.body, what.orelse) if isinstance(what, ast.IfExp) else (what,):
                yield (METHODS[node.func.attr], str(ast.literal_eval(message)), component), fields


def _documented() -> dict[Line, set[str]]:
    rows = _ROW.findall((SERVICES / "LOGS.md").read_text())
    found = {
        (severity, message, where): set(re.findall(r"`(\w+)`", fields)) for severity, message, where, fields, _ in rows
    }
    assert len(found) == len(rows), "a line stands twice"
    return found


def test_every_line_is_in_the_table_and_no_other() -> None:
    said = {line for line, _ in _said()}
    assert len(said) > 30
    assert said == set(_documented())


def test_the_table_names_the_fields() -> None:
    documented = _documented()
    for line, fields in _said():
        assert fields <= documented[line], line


def test_the_table_leads_to_runbooks_that_exist() -> None:
    named = set(re.findall(r"runbook (\w+)", (SERVICES / "LOGS.md").read_text()))
    assert named
    for name in named:
        assert (ROOT / "charts" / "pixelpipe" / "runbooks" / f"{name}.md").is_file(), name
