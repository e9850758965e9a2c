"""Tools that some tests need and a newcomer's machine may lack."""

from __future__ import annotations

import os
import shutil
from typing import NoReturn

import pytest


def require(tool: str, install: str) -> str:
    """The path of a program. Without it the test is skipped, saying how to install it; in CI it fails."""
    path = shutil.which(tool)
    if path is None:
        missing(f"needs {tool}: {install}")
    return path


def missing(reason: str) -> NoReturn:
    """Skip the test, or fail it in CI."""
    if os.environ.get("REQUIRE_TOOLS") == "1":
        pytest.fail(reason)
    pytest.skip(reason)
