from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests import forks


@pytest.fixture(autouse=True, scope="package")
def processes_of_their_own() -> Iterator[None]:
    """What a fork has in memory says nothing about the program."""
    with forks.off():
        yield
