"""Where Google's own Pub/Sub emulator (0.8.20) behaves unlike the service's documentation, and so unlike ours."""

from __future__ import annotations

import pytest

DIFFERENCES: dict[str, tuple[str, ...]] = {}


def mark(items: list[pytest.Item]) -> None:
    pass
