"""No task of a service is left to itself: whoever starts one without `Background.start` is listed, with its owner."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.process import ROOT

SERVICES = ROOT / "services"
STARTERS = {"create_task", "ensure_future", "to_thread", "run_in_executor", "run_coroutine_threadsafe"}
OWNED = {
    "shared/background.py": "Background itself",
    "shared/lifecycle.py": "the service, awaited by main",
    "shared/credentials.py": "two waits, cancelled by the function that starts them",
    "collector/disk.py": "awaited where it is called",
    "collector/outbox.py": "a pack on its way, which the outbox waits for; it raises nothing",
    "collector/sender.py": "one publish, awaited where it is called",
    "processor/lookup_files.py": "a read of a file, awaited by a task of Background",
    "processor/places.py": "a read of a file, awaited by a task of Background",
    "processor/worker.py": "a message in hand, in the worker's TaskGroup",
    "loader/write_api.py": "a connection, whose appends fail when it ends; WriteApi waits for it",
}


def _started() -> Iterator[str]:
    for part in ("shared", "collector", "processor", "loader"):
        for path in sorted((SERVICES / part).rglob("*.py")):
            if _starts(path):
                yield str(path.relative_to(SERVICES))


def _starts(path: Path) -> bool:
    return any(
        isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in STARTERS
        for node in ast.walk(ast.parse(path.read_text()))
    )


def test_every_task_has_an_owner() -> None:
    assert set(_started()) == set(OWNED)
