from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests import process
from tests.emulators.fault_client import Control


@pytest.fixture
def control(emulator: process.Child) -> Iterator[Control]:
    control = Control(emulator.ready["control"])
    yield control
    control.clear()
