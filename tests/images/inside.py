"""Runs inside a container, without the checkout: says as JSON who it is, what it may write and what it can import.

The modules to try are its arguments.
"""

import importlib
import importlib.metadata
import json
import os
import sys
from pathlib import Path


def writable(folder: str) -> bool:
    try:
        Path(folder, "written-by-a-test").touch()
    except OSError:
        return False
    return True


def importable(name: str) -> bool:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError:
        return False
    return True


def code() -> set[str]:
    """What is in /app, of the services each part."""
    parts = {f"services/{path.name}" for path in Path("/app/services").glob("*") if path.name != "__pycache__"}
    return parts | {path.name for path in Path("/app").iterdir()} - {"services"}


names = {one.metadata["Name"].lower().replace("_", "-").replace(".", "-") for one in importlib.metadata.distributions()}
print(
    json.dumps(
        {
            "user": [os.getuid(), os.getgid()],
            "writable": [one for one in ("/", "/app", "/app/services", "/venv", "/etc") if writable(one)],
            "imported": [name for name in sys.argv[1:] if importable(name)],
            "code": sorted(code()),
            "distributions": sorted(names),
            "uncompiled": sorted(
                str(path)
                for path in Path("/app").rglob("*.py")
                if not list((path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"))
            ),
        }
    )
)
