"""Requests damaged at random: every reply is well-formed, what is acknowledged is stored, and nothing is logged."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import pytest

from services.shared import hit
from tests.collector.conftest import Running, Start
from tests.collector.wire import get, post

CHUNKED = b"POST /events HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n"
WHOLE = [
    get(b"/i?a=1"), get(b"/pixel.gif?x=%20", b"Origin: https://a.example", b"Cookie: a=b", b"User-Agent: x"),
    get(b"/i", b"Upgrade: websocket", b"Connection: upgrade"), get(b"/robots.txt"), get(b"http://t/i"),
    post(b'{"a":1}'), post(b'[{"a":1},{"b":2}]'), post(b'{"a":1}', b"Expect: 100-continue"), post(b"{}", target=b"/x"),
    CHUNKED + b'7\r\n{"a":1}\r\n0\r\n\r\n', b"OPTIONS /x HTTP/1.1\r\nHost: t\r\nOrigin: https://b.example\r\n\r\n",
    b"GET /i HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
]  # fmt: skip
BITS = [
    b" ", b"\t", b"\r", b"\n", b"\r\n", b"\r\n\r\n", b":", b"\0", b"\xff", b"%", b"%2f", b"?", b"#", b"//", b"http://",
    b"HTTP/1.1", b"HTTP/2.0", b"GET ", b"POST ", b"Host: u\r\n", b"Content-Length: 3\r\n", b"0\r\n\r\n", b"x" * 9_000,
    b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: gzip, chunked\r\n", b"Expect: 100-continue\r\n", b"1", b"f",
    b"-", b"Content-Encoding: gzip\r\n", b"Trailer: x\r\n", b"X-Forwarded-For: a\r\n", b"Sec-WebSocket-Key1: x\r\n",
]  # fmt: skip


def _damaged(dice: random.Random) -> bytes:
    data = bytearray(dice.choice(WHOLE))
    for _ in range(dice.choice([0, 0, 1, 1, 2, 4])):
        at = dice.randrange(len(data) + 1)
        match dice.randrange(4):
            case 0:
                data[at:at] = dice.choice(BITS)
            case 1:
                del data[at : at + dice.choice([1, 1, 2, 5, 30])]
            case 2:
                data[at : at + 1] = bytes([dice.randrange(256)])
            case _:
                data[at:at] = data[max(0, at - 20) : at]
    return bytes(data)


async def _answered(port: int, data: bytes, dice: random.Random) -> bytes:
    """All that comes back for these bytes, sent in pieces, and the end of the client's side."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    cuts = sorted(dice.randrange(len(data) + 1) for _ in range(dice.choice([0, 0, 1, 3, 10])))
    try:
        async with asyncio.timeout(30):
            for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
                writer.write(data[start:end])
                await writer.drain()
                await asyncio.sleep(0)
            writer.write_eof()
            return await reader.read()
    finally:
        writer.close()


def _replies(raw: bytes) -> list[tuple[int, bool]]:
    """The status of each reply, and whether it is an image; a HEAD's reply has no body."""
    found = []
    while raw:
        head, end, rest = raw.partition(b"\r\n\r\n")
        assert end and head.startswith(b"HTTP/1.1 "), raw[:200]
        status, names = int(head[9:12]), [line.partition(b":")[0].lower() for line in head.split(b"\r\n")[1:]]
        assert len(set(names)) == len(names) and b"server" not in names, head
        assert (b"date" in names) is (status != 100), head
        sizes = [int(line[16:]) for line in head.split(b"\r\n") if line.startswith(b"Content-Length: ")]
        assert bool(sizes) is (status not in (100, 204)), head
        raw = rest[sum(sizes) :] if not rest.startswith(b"HTTP/1.1 ") else rest
        found.append((status, b"Content-Type: image/" in head))
    return found


def _events(one: hit.Hit) -> str:
    return "event" if one.method == "POST" else "pixel"


@pytest.mark.parametrize("seed", range(5))
async def test_damaged_requests_are_answered_and_what_is_acknowledged_is_stored(
    start: Start, seed: int, caplog: pytest.LogCaptureFixture
) -> None:
    collector: Running = await start(linger_seconds=0.002)
    dice = random.Random(seed)
    statuses: Counter[int] = Counter()
    images = 0
    for _ in range(8):
        sent = [b"".join(_damaged(dice) for _ in range(dice.choice([1, 1, 2, 3, 6]))) for _ in range(40)]
        for raw in await asyncio.gather(*[_answered(collector.port, data, dice) for data in sent]):
            replies = _replies(raw)
            statuses.update(status for status, _ in replies)
            images += sum(image for _, image in replies)
    assert caplog.records == []
    assert {200, 204, 400, 404} <= set(statuses)
    hits = "pixelpipe_collector_hits_total"
    captured = {method: collector.metric(f'{hits}{{method="{method}"}}') for method in ("GET", "HEAD", "POST")}
    published = collector.metric('pixelpipe_collector_hits_settled_total{outcome="published"}')
    assert images > 50
    assert captured["GET"] + captured["HEAD"] == images
    assert published == sum(captured.values())
    stored = Counter(map(_events, collector.hits(int(published))))
    assert stored == {"pixel": images, "event": int(captured["POST"])}
