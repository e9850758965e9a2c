"""The Publisher over real gRPC to the emulator."""

from __future__ import annotations

import pytest
from google.cloud import pubsub_v1

from services.shared.credentials import NoCredentials
from services.shared.publisher import Publisher, Unconfirmed, dead_letter
from tests.topics import Topics


async def test_a_missing_topic_is_unconfirmed_at_once(topics: Topics) -> None:
    async with Publisher(topics.project, in_flight=1, timeout=30) as publisher:
        with pytest.raises(Unconfirmed, match=r"no-such-topic: 404"):
            await publisher.publish("no-such-topic", b"x", {})


async def test_a_server_that_is_not_there_is_unconfirmed_after_the_timeout(
    project: str, monkeypatch: pytest.MonkeyPatch, free_port: int
) -> None:
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", f"127.0.0.1:{free_port}")
    async with Publisher(project, in_flight=1, timeout=0.5) as publisher:
        with pytest.raises(Unconfirmed, match=r"no answer in 0\.5 s"):
            await publisher.publish("hits", b"x", {})


async def test_without_credentials_nothing_is_confirmed_and_nobody_waits(topics: Topics) -> None:
    there = False

    def credentials() -> None:
        if not there:
            raise NoCredentials("waiting for credentials")

    async with Publisher(topics.project, in_flight=1, timeout=3600, credentials=credentials) as publisher:
        with pytest.raises(Unconfirmed, match="hits: waiting for credentials"):
            await publisher.publish("hits", b"x", {})
        there = True
        assert await publisher.publish("hits", b"x", {})
    assert len(topics.pull("work", wanted=1)) == 1


def test_a_dead_letter_keeps_the_message_and_fits_pubsubs_limits() -> None:
    attributes = {f"key{number}": "v" for number in range(100)}
    data, kept = dead_letter(b"data", attributes, reason="é" * 2000, source="hits")
    assert data == b"data"
    assert len(kept) == 100
    assert len(kept["dead_reason"].encode()) <= 1024
    assert kept["dead_source"] == "hits"
    message = pubsub_v1.types.PubsubMessage(data=data, attributes=kept)
    assert message.attributes["key0"] == "v"
