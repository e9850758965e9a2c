"""However many clients come, and whatever they leave unfinished, memory is bounded and hits are served."""

from __future__ import annotations

import asyncio
import socket
from contextlib import AsyncExitStack, suppress

import pytest
from prometheus_client import CollectorRegistry

from services.collector.connections import HEADER_SECONDS, IDLE_SECONDS, UNREAD_SECONDS, WAITING_BYTES, Connections
from services.collector.metrics import Metrics
from tests.collector.conftest import Running, Start
from tests.waiting import until

PIXEL = b"GET /i?user_id=1 HTTP/1.1\r\nHost: t\r\n\r\n"


class _Connection:
    def __init__(self, name: str, closed: list[str]) -> None:
        self.name, self.closed = name, closed

    def drop(self) -> None:
        self.closed.append(self.name)


class _Harness:
    def __init__(self, limit: int) -> None:
        self.closed: list[str] = []
        self.connections = Connections(limit, Metrics(CollectorRegistry()))
        self.made: dict[str, _Connection] = {}

    def open(self, name: str, now: float) -> bool:
        self.made[name] = _Connection(name, self.closed)
        return self.connections.opened(self.made[name], now)


def test_one_too_many_takes_the_place_of_the_one_idle_for_longest() -> None:
    harness = _Harness(3)
    assert all(harness.open(name, now) for now, name in enumerate("abc"))
    harness.connections.busy(harness.made["a"])
    assert not harness.open("d", 1 + IDLE_SECONDS - 0.1)
    assert harness.open("e", 1 + IDLE_SECONDS)
    assert harness.closed == ["b"]
    harness.connections.idle(harness.made["a"], 7.0)
    assert harness.open("f", 20.0)
    assert harness.closed == ["b", "c"]
    harness.connections.lost(harness.made["f"])
    assert harness.open("g", 20.0)


def test_where_all_are_busy_one_more_is_refused() -> None:
    harness = _Harness(2)
    for name in "ab":
        harness.open(name, 0.0)
        harness.connections.busy(harness.made[name])
    assert not harness.open("c", 1000.0)
    assert harness.closed == []


def test_headers_that_stay_incomplete_are_bounded_in_time_and_in_all() -> None:
    harness = _Harness(10)
    for now, name in enumerate("abc"):
        harness.open(name, now)
        harness.connections.incomplete(harness.made[name], WAITING_BYTES // 3, now)
    harness.connections.complete(harness.made["b"])
    harness.connections.sweep(HEADER_SECONDS - 0.1)
    assert harness.closed == []
    harness.connections.sweep(HEADER_SECONDS)
    assert harness.closed == ["a"]
    harness.connections.incomplete(harness.made["b"], WAITING_BYTES // 3 * 2, 11.0)
    assert harness.closed == ["a"]
    harness.connections.incomplete(harness.made["b"], WAITING_BYTES, 11.0)
    assert harness.closed == ["a", "c"]


def test_a_client_is_not_slow_while_its_requests_wait_for_us() -> None:
    harness = _Harness(10)
    harness.open("a", 0.0)
    harness.connections.incomplete(harness.made["a"], 100, None)
    harness.connections.sweep(1000.0)
    assert harness.closed == []
    harness.connections.incomplete(harness.made["a"], 100, 1000.0)
    harness.connections.incomplete(harness.made["a"], 200, 1000.0 + HEADER_SECONDS - 1)
    harness.connections.sweep(1000.0 + HEADER_SECONDS)
    assert harness.closed == ["a"]


def test_a_client_that_does_not_read_is_not_waited_for() -> None:
    harness = _Harness(10)
    for name in "abc":
        harness.open(name, 0.0)
        harness.connections.unread(harness.made[name], 0.0)
    harness.connections.read(harness.made["a"])
    harness.connections.lost(harness.made["b"])
    harness.connections.sweep(UNREAD_SECONDS - 0.1)
    assert harness.closed == []
    harness.connections.sweep(UNREAD_SECONDS)
    assert harness.closed == ["c"]


async def _connect(stack: AsyncExitStack, running: Running) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
    stack.callback(writer.close)
    return reader, writer


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes = PIXEL) -> int:
    """The status of the reply, or 0 where the connection is closed without one."""
    try:
        async with asyncio.timeout(10):
            writer.write(request)
            return await _reply(reader)
    except (EOFError, ConnectionError):
        return 0


async def _reply(reader: asyncio.StreamReader) -> int:
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    lengths = [int(line.partition(b":")[2]) for line in head.split(b"\r\n") if line.startswith(b"content-length:")]
    await reader.readexactly(sum(lengths))  # a 204 has none
    assert b" 503 " not in head or b"retry-after: 1" in head
    return int(head.split(b" ", 2)[1])


async def test_over_the_bound_a_connection_is_answered_503_and_others_are_served(start: Start) -> None:
    running = await start(max_connections=3)
    async with AsyncExitStack() as stack:
        clients = [await _connect(stack, running) for _ in range(3)]
        assert [await _ask(*client) for client in clients] == [200, 200, 200]
        reader, _ = await _connect(stack, running)
        assert await asyncio.wait_for(_reply(reader), 10) == 503
        assert await asyncio.wait_for(reader.read(), 10) == b""
        assert [await _ask(*client) for client in clients] == [200, 200, 200]
        assert running.metric("pixelpipe_collector_connections") == 3
        assert running.metric("pixelpipe_collector_connections_refused_total") == 1
    running.hits(6)


async def test_a_flood_of_idle_connections_keeps_nobody_out(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.collector.connections.IDLE_SECONDS", 0.0)
    running = await start(max_connections=10)
    async with AsyncExitStack() as stack:
        busy = await _connect(stack, running)
        busy[1].write(b"POST /events HTTP/1.1\r\nHost: t\r\nContent-Length: 16\r\n\r\n{")
        for _ in range(100):
            await _connect(stack, running)
        assert await _ask(*await _connect(stack, running)) == 200
        assert await _ask(*busy, request=b'"user_id": "1"}') == 204
        assert running.metric("pixelpipe_collector_connections") <= 10
    running.hits(2)


async def test_a_header_that_does_not_come_to_its_end_is_not_waited_for(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.collector.connections.HEADER_SECONDS", 0.2)
    monkeypatch.setattr("services.collector.service.SWEEP_SECONDS", 0.05)
    running = await start()
    async with AsyncExitStack() as stack:
        kept = await _connect(stack, running)
        assert await _ask(*kept) == 200
        slow, raw, posting = [await _connect(stack, running) for _ in range(3)]
        slow[1].write(PIXEL[:-2])
        raw[1].write(b"GET /i?x=\xc3\xa9")
        posting[1].write(b"POST /events HTTP/1.1\r\nHost: t\r\nContent-Length: 16\r\n\r\n{")
        for reader, _ in (slow, raw):
            assert await asyncio.wait_for(reader.read(), 10) == b""
        assert await _ask(*kept) == 200  # idle is not slow
        assert await _ask(*posting, request=b'"user_id": "1"}') == 204  # nor is a body a header
    running.hits(3)


async def test_a_flood_of_headers_is_bounded_in_bytes(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.collector.connections.WAITING_BYTES", 100_000)
    running = await start()
    part = PIXEL[:-2] + b"".join(b"X-%d: %s\r\n" % (number, b"x" * 1000) for number in range(10))
    async with AsyncExitStack() as stack:
        flood = [await _connect(stack, running) for _ in range(50)]
        for _, writer in flood:
            writer.write(part)
        for reader, _ in flood[:40]:
            assert await asyncio.wait_for(reader.read(), 10) == b""
        assert await _ask(*await _connect(stack, running)) == 200
        assert await _ask(*flood[-1], request=b"\r\n") == 200
    running.hits(2)


async def test_a_place_is_not_kept_for_a_client_that_does_not_read(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.collector.connections.UNREAD_SECONDS", 0.2)
    monkeypatch.setattr("services.collector.service.SWEEP_SECONDS", 0.05)
    running = await start()
    loop = asyncio.get_running_loop()
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        sock.setblocking(False)
        await loop.sock_connect(sock, ("127.0.0.1", running.port))
        with suppress(ConnectionError):
            async with asyncio.timeout(20):
                while True:
                    await loop.sock_sendall(sock, b"GET /robots.txt HTTP/1.1\r\nHost: t\r\n\r\n" * 100)
    name = 'pixelpipe_collector_connections_closed_total{reason="unread"}'
    await until(lambda: running.metric(name) == 1, "it to be closed")
    await until(lambda: running.metric("pixelpipe_collector_connections") == 0, "its place to be free")


POSTS = b"".join([b"POST /events HTTP/1.1\r\nHost: t\r\nContent-Length: 60000\r\n\r\n{}" + b" " * 59_998] * 50)


async def test_requests_behind_another_wait_outside(start: Start) -> None:
    running = await start(linger_seconds=0.3)
    for first in (PIXEL, PIXEL.replace(b"Host", b"TE: x\r\nHost")):  # answered here, and by aiohttp
        async with AsyncExitStack() as stack:
            reader, writer = await _connect(stack, running)
            writer.write(first + POSTS)
            assert [await _reply(reader) for _ in range(4)] == [200, 204, 204, 204]


async def test_requests_behind_others_are_bounded_in_bytes(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.collector.connections.WAITING_BYTES", 200_000)
    running = await start(linger_seconds=1.0)
    async with AsyncExitStack() as stack:
        clients = [await _connect(stack, running) for _ in range(6)]
        for _, writer in clients:
            writer.write(PIXEL.replace(b"Host", b"TE: x\r\nHost") + POSTS)
        closed = 'pixelpipe_collector_connections_closed_total{reason="slow"}'
        await until(lambda: running.metric(closed) >= 4, "the oldest to be closed")
        reader, writer = await _connect(stack, running)
        assert await _ask(reader, writer) == 200


async def test_bodies_on_their_way_in_count_as_waiting_and_are_shed_over_the_bound(start: Start) -> None:
    running = await start(max_pending_bytes=2**22)
    body = b'{"user_id": "1", "x": "%s"}' % (b"x" * 1_000_000)
    head = b"POST /events HTTP/1.1\r\nHost: t\r\nContent-Length: %d\r\n\r\n" % len(body)
    async with AsyncExitStack() as stack:
        clients = [await _connect(stack, running) for _ in range(4)]
        for _, writer in clients:
            writer.write(head + body[:-1])
            await writer.drain()

        def waiting() -> bool:
            return running.metric("pixelpipe_collector_pending_bytes") >= 4 * (len(body) - 1)

        await until(waiting, "the bodies to wait")
        late = await _connect(stack, running)
        assert await _ask(*late, request=head + body) == 503
        assert await _ask(*clients[0], request=b"}") == 204
        assert [await _ask(*client, request=b"}") for client in clients[1:]] == [204, 204, 204]
    running.hits(4)
    assert running.metric("pixelpipe_collector_pending_bytes") == 0
