"""A client of bytes: what a connection is sent, piece by piece, and every reply it gives."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

PAUSE = b""  # among the parts: the server reads what was sent before the next part is


@dataclass(frozen=True)
class Reply:
    status: int
    headers: dict[str, str]  # names in lower case
    body: bytes


def get(target: bytes, *headers: bytes) -> bytes:
    return b"\r\n".join([b"GET " + target + b" HTTP/1.1", b"Host: t", *headers, b"", b""])


def post(body: bytes, *headers: bytes, target: bytes = b"/events") -> bytes:
    length = b"Content-Length: %d" % len(body)
    return b"\r\n".join([b"POST " + target + b" HTTP/1.1", b"Host: t", length, *headers, b"", body])


async def read(reader: asyncio.StreamReader, request: bytes = b"") -> Reply:
    """The next reply; EOFError where there is none. `request`, if given, was a HEAD's where it begins so."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head[:-4].split("\r\n")
    pairs = [line.partition(": ") for line in lines]
    headers = {name.lower(): value for name, _, value in pairs}
    assert len(headers) == len(lines), f"a header is repeated: {head}"
    size = 0 if request.startswith(b"HEAD") else int(headers.get("content-length", "0"))
    return Reply(int(first.split(" ")[1]), headers, await reader.readexactly(size))


async def exchange(port: int, *parts: bytes, replies: int = -1, end: bool = False) -> list[Reply]:
    """The replies to these parts: as many as given, or all until the server closes the connection.

    With `end`, the client ends its side after the last part.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    found = []
    try:
        async with asyncio.timeout(20):
            for part in parts:
                if part == PAUSE:
                    await exchange(port, get(b"/robots.txt"), replies=1)
                writer.write(part)
                await writer.drain()
            if end:
                writer.write_eof()
            while replies != len(found):
                try:
                    found.append(await read(reader))
                except asyncio.IncompleteReadError as error:
                    if replies >= 0 or error.partial:
                        raise
                    return found
            return found
    finally:
        writer.close()
