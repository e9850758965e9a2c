from __future__ import annotations

import pytest

from tests.topics import Topics


@pytest.fixture
def topics(pubsub_host: str, project: str, monkeypatch: pytest.MonkeyPatch) -> Topics:
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", pubsub_host)
    topics = Topics(project)
    topics.create("hits", "work")
    return topics
