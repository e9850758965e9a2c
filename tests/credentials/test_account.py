"""When credentials are looked for, in this process."""

from __future__ import annotations

import asyncio

import pytest

from services.shared.background import Background
from services.shared.credentials import Account, NoCredentials
from tests.metadata_server import MetadataServer


async def test_none_are_needed_where_all_services_are_emulators(metadata: MetadataServer) -> None:
    environ = {"A": "127.0.0.1:1", "B": "127.0.0.1:2", "GOOGLE_APPLICATION_CREDENTIALS": "/missing"}
    async with Background() as background, Account(background, "A", "B", environ=environ) as account:
        assert account.missing is None
        assert account.credentials() is None
        assert await account.found(asyncio.Event())
    assert metadata.asked == []


async def test_one_service_that_is_no_emulator_needs_them(
    metadata: MetadataServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in metadata.env.items():
        monkeypatch.setenv(name, value)
    async with Background() as background, Account(background, "A", "B", environ={"A": "x"}) as account:
        assert account.missing == "waiting for credentials"
        with pytest.raises(NoCredentials):
            account.credentials()
        stop = asyncio.Event()
        waiting = asyncio.create_task(account.found(stop))
        await asyncio.sleep(0)
        assert not waiting.done()
        stop.set()
        assert not await waiting
