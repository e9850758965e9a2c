"""Sends bad input to a collector on the loopback interface: `python -m tests.bench.flooder KIND PORT SECONDS`.

Prints one JSON line when it has begun, and one at its end: how much it `sent`, in requests, or in connections where one
is all a client makes; and how many connections it had at a time. What each kind is says its function. All are bounded
in time, in connections and in requests.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import socket
import struct
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

import uvloop

from local.ports import HOST

IDLE, SLOW, FAST = 10_000, 1_000, 64  # connections
OTHER_FILES = 100
MOST = 500_000  # bad requests
PAUSE = 0.1  # seconds between two bytes of a slow client
_AT_ONCE = 100  # connections being opened
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: closing leaves nothing behind, so ports do not run out
_UNSENT = 65_536  # bytes the kernel keeps for a client whose server does not read
PIXEL = b"GET /i?user_id=u1&type=view HTTP/1.1\r\nHost: t\r\nUser-Agent: flood\r\n\r\n"
MALFORMED = (
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64),  # TLS
    b"GET /i HTTP/9.9\r\nHost: t\r\n\r\n",
    b"GET /i HTTP/1.1\r\nHost: t\r\nHost: u\r\n\r\n",
    b"GET /i HTTP/1.1\r\nno colon here\r\n\r\n",
    b"POST /events HTTP/1.1\r\nHost: t\r\nContent-Length: -1\r\n\r\n",
    b"POST /events HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
)


@dataclass
class Flood:
    port: int
    until: float  # of the event loop's clock
    sent: int = 0
    connections: int = 0  # now
    most: int = 0  # at a time

    def goes_on(self) -> bool:
        return self.sent < MOST and asyncio.get_running_loop().time() < self.until

    async def connect(self) -> Connection:
        reader, writer = await asyncio.open_connection(HOST, self.port)
        options = writer.get_extra_info("socket")
        options.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        options.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _UNSENT)
        self.connections += 1
        self.most = max(self.most, self.connections)
        return Connection(self, reader, writer)


@dataclass
class Connection:
    flood: Flood
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def close(self) -> None:
        self.flood.connections -= 1
        self.writer.transport.abort()


async def idle(flood: Flood) -> None:
    """10,000 connections that say nothing, or as many as the limit of open files allows."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    opening = asyncio.Semaphore(_AT_ONCE)

    async def stay() -> None:
        async with opening:
            connection = await flood.connect()
        flood.sent += 1
        await asyncio.sleep(flood.until - asyncio.get_running_loop().time())
        connection.close()

    await _all(min(IDLE, limit - OTHER_FILES), stay)


async def slow_headers(flood: Flood) -> None:
    """1,000 clients that send a header of their request, byte by byte, and never its end."""
    await _all(SLOW, lambda: _trickle(flood, PIXEL[:-2] + b"X-Slow: "))


async def slow_bodies(flood: Flood) -> None:
    """1,000 clients that send a body of 100 kB byte by byte."""
    await _all(SLOW, lambda: _trickle(flood, b"POST /events HTTP/1.1\r\nHost: t\r\nContent-Length: 100000\r\n\r\n["))


async def _trickle(flood: Flood, begin: bytes) -> None:
    while flood.goes_on():
        connection = await flood.connect()
        flood.sent += 1
        connection.writer.write(begin)
        while flood.goes_on() and not connection.reader.at_eof():
            await asyncio.sleep(PAUSE)
            connection.writer.write(b" ")
        connection.close()


async def unread(flood: Flood) -> None:
    """64 clients that send requests one behind the other and read no reply."""

    async def push() -> None:
        connection = await flood.connect()
        connection.writer.transport.pause_reading()
        flood.sent += 1
        with suppress(TimeoutError):
            async with asyncio.timeout_at(flood.until):
                while True:  # until nobody takes any more
                    connection.writer.write(PIXEL * 100)
                    await connection.writer.drain()
        await asyncio.sleep(max(0.0, flood.until - asyncio.get_running_loop().time()))
        connection.close()

    await _all(FAST, push)


async def reconnect(flood: Flood) -> None:
    """64 clients that open a new connection for each request."""
    await _all(FAST, lambda: _knock(flood, lambda: PIXEL))


async def malformed(flood: Flood) -> None:
    """64 clients that send what is not HTTP, each time on a new connection, since the old one is closed."""
    await _all(FAST, lambda: _knock(flood, lambda: MALFORMED[flood.sent % len(MALFORMED)]))


async def _knock(flood: Flood, request: Callable[[], bytes]) -> None:
    while flood.goes_on():
        connection = await flood.connect()
        connection.writer.write(request())
        flood.sent += 1
        await connection.reader.read(1000)
        connection.close()


async def _all(clients: int, run: Callable[[], Awaitable[None]]) -> None:
    """A client whose connection is refused or reset is gone: that is how a server may end a flood."""

    async def one() -> None:
        with suppress(OSError):
            await run()

    async with asyncio.TaskGroup() as tasks:
        for _ in range(clients):
            tasks.create_task(one())


KINDS: dict[str, Callable[[Flood], Awaitable[None]]] = {
    "idle": idle,
    "slow_headers": slow_headers,
    "slow_bodies": slow_bodies,
    "unread": unread,
    "reconnect": reconnect,
    "malformed": malformed,
}


async def _run(kind: str, port: int, seconds: float) -> Flood:
    flood = Flood(port, asyncio.get_running_loop().time() + seconds)
    print(json.dumps({"kind": kind}), flush=True)
    await KINDS[kind](flood)
    return flood


def main() -> None:
    kind, port, seconds = sys.argv[1:]
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    os.nice(10)  # the polite client runs on the same core, and is what is looked at
    flood = uvloop.run(_run(kind, int(port), float(seconds)))
    print(json.dumps({"sent": flood.sent, "connections": flood.most}), flush=True)


if __name__ == "__main__":
    main()
