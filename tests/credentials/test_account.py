"""When credentials are looked for, in this process."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from services.shared.background import Background
from services.shared.config import ConfigError
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


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (None, "was not found"),
        ("{", "is not a valid json file"),
        ("[]", "object has no attribute"),
        ('{"type": "x"}', "does not have a valid type"),
        ('{"type": "service_account"}', "Failed to load service account credentials"),
        ("folder", "Is a directory"),
    ],
)
async def test_a_file_that_cannot_be_used_is_named_with_what_to_do(
    content: str | None, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "key.json"
    if content == "folder":
        file.mkdir()
    elif content is not None:
        file.write_text(content)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
    with pytest.raises(ConfigError, match=text) as wrong:
        async with Background() as background, Account(background, "A", environ=os.environ):
            pass
    assert str(wrong.value).startswith(f"GOOGLE_APPLICATION_CREDENTIALS='{file}': ")
    assert "unset the variable" in str(wrong.value)
    assert "\n" not in str(wrong.value)
