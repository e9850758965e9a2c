from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.emulators.pubsub_client import Desk


@pytest.fixture
def desk(pubsub_host: str, project: str) -> Iterator[Desk]:
    with Desk(pubsub_host, project) as desk:
        yield desk
