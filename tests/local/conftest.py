from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.local import run_stack
from tests.local.run_stack import Stack


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One for all tests that leave it as they found it: each has its own user, or its own event ids."""
    with run_stack.running(tmp_path_factory.mktemp("stack"), **run_stack.PATIENT) as running:
        yield running
