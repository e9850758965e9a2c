"""The floods are what they say, against a server that only counts."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from tests.bench import flooder
from tests.bench.flooder import KINDS, Flood


@pytest.mark.parametrize("kind", KINDS)
async def test_a_flood_is_bounded_in_time_and_connections(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flooder, "IDLE", 20)
    monkeypatch.setattr(flooder, "SLOW", 10)
    monkeypatch.setattr(flooder, "FAST", 4)
    opened, received = 0, b""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal opened, received
        opened += 1
        with suppress(ConnectionError):  # a flooder leaves without a word
            while data := await reader.read(65_536):
                received = (received + data)[:100_000]
                if kind in ("reconnect", "malformed"):
                    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        flood = Flood(server.sockets[0].getsockname()[1], asyncio.get_running_loop().time() + 1.5)  # enough to connect
        async with asyncio.timeout(60):
            await KINDS[kind](flood)
    expected = {"idle": 20, "slow_headers": 10, "slow_bodies": 10, "unread": 4, "reconnect": 4, "malformed": 4}[kind]
    assert flood.most == expected
    assert flood.connections == 0
    assert opened == flood.sent
    assert (b"\r\n\r\n" in received) == (kind not in ("idle", "slow_headers"))
