"""HTTP as clients speak it, on both event loops: uvloop in a process of its own, as in production, and asyncio's."""

from __future__ import annotations

import asyncio
import json
import random
import socket
import struct
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

import pytest

from services.collector import pixel
from services.collector.head import MAX_FIELD, MAX_FIELDS, MAX_LINE
from services.shared import hit
from tests import admin
from tests import process as processes
from tests.collector.conftest import Start
from tests.collector.wire import PAUSE, exchange, get, post, read
from tests.topics import Topics
from tests.waiting import until


@dataclass
class Wire:
    port: int
    topics: Topics
    counted: Callable[[str], float]  # a metric, summed over its labels
    log: Callable[[], list[str]]  # what was said since the start

    def hits(self, wanted: int) -> list[hit.Hit]:
        return self.topics.hits(wanted)


@pytest.fixture(scope="module")
def process(pubsub_host: str) -> Iterator[Wire]:
    patch = pytest.MonkeyPatch()
    patch.setenv("PUBSUB_EMULATOR_HOST", pubsub_host)
    project = f"test-wire-{random.randrange(10**9)}"
    topics = Topics(project)
    topics.create("hits", "work")
    one = processes.start_collector(project, PIPE_PUBLISH_TIMEOUT_SECONDS="20", PIPE_LINGER_SECONDS="0.005")

    def said() -> list[str]:
        return [line for line in one.output().splitlines() if json.loads(line)["severity"] != "INFO"]

    def counted(name: str) -> float:
        return admin.metrics(one.ready["admin_port"]).get(name, 0.0)

    try:
        yield Wire(one.ready["port"], topics, counted, said)
        assert said() == []
    finally:
        one.stop()
        one.log.unlink(missing_ok=True)
        patch.undo()


@pytest.fixture(params=["asyncio", "uvloop"])
async def wire(request: pytest.FixtureRequest, start: Start, caplog: pytest.LogCaptureFixture) -> AsyncIterator[Wire]:
    if request.param == "uvloop":
        yield request.getfixturevalue("process")
        return
    collector = await start()

    def counted(name: str) -> float:
        return sum(
            sample.value for family in collector.registry.collect() for sample in family.samples if sample.name == name
        )

    yield Wire(collector.port, collector.topics, counted, lambda: [record.getMessage() for record in caplog.records])
    assert caplog.records == []


LONG = b"GET /i?" + b"x" * MAX_LINE + b" HTTP/1.1\r\nHost: t\r\n\r\n"
MALFORMED = "pixelpipe_collector_malformed_requests_total"
UNFINISHED = "pixelpipe_collector_unfinished_requests_total"


@pytest.mark.parametrize(
    ("bad", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", 400),
        (b"GET / \r\n", 400),
        (b"GET /" + b" " * 130_000 + b"\r\n", 400),
        (get(b"/i", b"Host: u"), 400),
        (get(b"/i", b"bad header"), 400),
        (b"GET /i HTTP/1.1\r\n\r\n", 400),
        (b"GET /i HTTP/1.1\nHost: t\n\n", 400),
        (b"POST /events HTTP/1.1\r\nHost: t\r\nContent-Length: -1\r\n\r\n", 400),
        (b"CONNECT t:443 HTTP/1.1\r\nHost: t\r\n\r\n", 405),
        (LONG, 414),
        (b"GET /" + b"x" * 1_000_000, 414),
        (get(b"/i", b"X: " + b"y" * MAX_FIELD), 431),
        (get(b"/i", *[b"X: y"] * 200), 431),
        (get(b"/i", b"Cookie: " + b"y" * 1_000_000), 431),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        (b"GET /i HTTP/2.0\r\nHost: t\r\n\r\n", 505),
    ],
)  # fmt: skip
async def test_good_requests_before_a_bad_one_are_answered_and_stored_first(
    wire: Wire, bad: bytes, status: int
) -> None:
    before = wire.counted(MALFORMED)
    good = get(b"/i?n=1") + post(b'{"n": 2}') + get(b"/nowhere")
    replies = await exchange(wire.port, good + bad + get(b"/i?n=3"))
    assert [reply.status for reply in replies] == [200, 204, 404, status]
    assert replies[-1].headers["connection"] == "close"
    found = wire.hits(2)
    assert (found[0].query, bytes(found[1].body)) == ("n=1", b'{"n": 2}')
    assert wire.counted(MALFORMED) == before + 1


async def test_a_bad_request_after_one_of_the_fast_path_is_answered_after_it(wire: Wire) -> None:
    replies = await exchange(wire.port, get(b"/i"), PAUSE, b"nonsense\r\n\r\n")
    assert [reply.status for reply in replies] == [200, 400]
    wire.hits(1)


CHUNKED = b"POST /events HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("chunks", "statuses"),
    [
        (b'7\r\n{"a":1}\r\n0\r\n\r\n', [204, 200]),
        (b'3;x=y\r\n{"a\r\n4\r\n":1}\r\n0\r\nTrailer: x\r\n\r\n', [204, 200]),
        (b'7\r\n{"a":1}\r\nx\r\n\r\n', [400]),
        (b'7\r\n{"a":1}xx0\r\n\r\n', [400]),
        (b'8\r\n{"a":1}\r\n0\r\n\r\n', [400]),
        (b'7\r\n{"a":1}\r\n0\r\nbad trailer\r\n\r\n', [400]),
        (b"-1\r\n", [400]),
    ],
)
async def test_a_body_in_chunks_ends_where_it_says_or_is_refused(
    wire: Wire, chunks: bytes, statuses: list[int]
) -> None:
    for parts in ([CHUNKED + chunks + get(b"/i")], [CHUNKED, PAUSE, chunks, PAUSE, get(b"/i")]):
        replies = await exchange(wire.port, *parts, end=True)
        assert [reply.status for reply in replies] == statuses
        wire.hits(2 if statuses[0] == 204 else 0)


async def test_a_body_of_many_small_chunks_is_read(wire: Wire) -> None:
    body = b'{"a": "%b"}' % (b"x" * 100_000)
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n"
    replies = await exchange(wire.port, CHUNKED + chunks + get(b"/i"), end=True)
    assert [reply.status for reply in replies] == [204, 200]
    assert len(wire.hits(2)[0].body) == len(body)


@pytest.mark.parametrize(
    ("parts", "statuses", "stored"),
    [
        ([get(b"/i")], [200], 1),
        ([get(b"/i", b"Accept-Encoding: gzip", b"Connection: close")], [200], 1),
        ([get(b"/i?n=\xe9")], [200], 1),
        ([post(b"{}")], [204], 1),
        ([post(b'{"a": "%b"}' % (b"x" * 1_000_000))], [204], 1),
        ([get(b"/i", b"TE: x") * 31], [200] * 31, 31),
        ([get(b"/i", b"TE: x") * 32], [200] * 32, 32),
        ([get(b"/i", b"TE: x") * 33], [200] * 33, 33),
        ([get(b"/i") * 70], [200] * 70, 70),
        ([post(b"{}" + b" " * 50_000) * 4], [204] * 4, 4),
        ([get(b"/i"), PAUSE, get(b"/i") + post(b"{}")], [200, 200, 204], 3),
        ([get(b"/nowhere")], [404], 0),
        ([b""], [], 0),
        ([get(b"/i")[:-1]], [], 0),
        ([post(b'{"a": 1}')[:-1]], [400], 0),
        ([CHUNKED + b'7\r\n{"a":1}\r\n'], [400], 0),
        ([post(b'{"a": 1}', target=b"/nowhere")[:-1]], [404], 0),
        ([get(b"/i") + get(b"/i")[:20]], [200], 1),
    ],
)
async def test_a_client_that_ends_its_side_gets_its_replies(
    wire: Wire, parts: list[bytes], statuses: list[int], stored: int
) -> None:
    replies = await exchange(wire.port, *parts, end=True)
    assert [reply.status for reply in replies] == statuses
    wire.hits(stored)


@pytest.mark.parametrize("behind", [get(b"/i"), get(b"/i") * 50, post(b"{}"), b"nonsense", get(b"/i")[:20]])
async def test_what_is_sent_behind_the_last_request_does_not_cost_its_reply(wire: Wire, behind: bytes) -> None:
    for last in (get(b"/i", b"Connection: close"), b"GET /i HTTP/1.0\r\n\r\n"):
        replies = await exchange(wire.port, get(b"/i") + last + behind, PAUSE, behind)
        assert [reply.status for reply in replies] == [200, 200]
        wire.hits(2)


async def test_a_client_that_expects_to_be_asked_for_its_body_is_asked(wire: Wire) -> None:
    expecting = post(b"{}", b"Expect: 100-continue")
    reader, writer = await asyncio.open_connection("127.0.0.1", wire.port)
    async with asyncio.timeout(10):
        for _ in range(2):
            writer.write(expecting[:-2])
            assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            writer.write(b"{}")
            assert (await read(reader)).status == 204
        writer.write(get(b"/i", b"Expect: 100-continue"))
        assert (await read(reader)).status == 200
    writer.close()
    wire.hits(3)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([b"Content-Length: 2000000", b"Expect: 100-continue"], 413),
        ([b"Content-Length: 2", b"Content-Type: image/png", b"Expect: 100-continue"], 415),
    ],
)
async def test_a_body_that_nobody_wants_is_not_asked_for(wire: Wire, headers: list[bytes], status: int) -> None:
    request = b"\r\n".join([b"POST /events HTTP/1.1", b"Host: t", *headers, b"", b""])
    (reply,) = await exchange(wire.port, request, replies=1)
    assert reply.status == status


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        (b"http://shop.example/pixel.gif?a=1", "/pixel.gif", "a=1"),
        (b"https://shop.example:8443/i", "/i", ""),
        (b"//pixel.gif?a=1", "/pixel.gif", "a=1"),
        (b"/pixel%2egif?a=%2e", "/pixel.gif", "a=%2e"),
        (b"/pixel.gif/?a=1/", "/pixel.gif", "a=1/"),
        (b"/%69", "/i", ""),
        (b"/i#top", "/i", ""),
        (b"/i??a=//", "/i", "?a=//"),
    ],
)
async def test_any_spelling_of_its_path_reaches_the_pixel(wire: Wire, target: bytes, path: str, query: str) -> None:
    (reply,) = await exchange(wire.port, get(target), replies=1)
    assert reply.status == 200
    (found,) = wire.hits(1)
    assert (found.path, found.query) == (path, query)


async def test_any_spelling_of_its_path_reaches_events(wire: Wire) -> None:
    for target in (b"/events/", b"//events?a=1", b"/%65vents"):
        assert [reply.status for reply in await exchange(wire.port, post(b"{}", target=target), replies=1)] == [204]
    assert {found.path for found in wire.hits(3)} == {"/events"}


@pytest.mark.parametrize("first", [1, 2, 3, 4, 5])
async def test_a_first_segment_of_a_few_bytes_is_waited_for(wire: Wire, first: int) -> None:
    for request in (get(b"/i?n=1"), get("/i?n=café".encode()), get(b"/i?n=1") * 2):
        replies = await exchange(wire.port, request[:first], PAUSE, request[first:], replies=request.count(b"GET"))
        assert {reply.status for reply in replies} == {200}
    assert [found.query for found in wire.hits(4)] == ["n=1", "n=caf%C3%A9", "n=1", "n=1"]


async def test_a_request_that_arrives_byte_by_byte_is_read(wire: Wire) -> None:
    request = get(b"/i?n=\xe9", b"User-Agent: u") + post(b'{"a": 1}')
    reader, writer = await asyncio.open_connection("127.0.0.1", wire.port)
    writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    async with asyncio.timeout(20):
        for at in range(len(request)):
            writer.write(request[at : at + 1])
            await writer.drain()
            await asyncio.sleep(0)
        assert [(await read(reader)).status for _ in range(2)] == [200, 204]
    writer.close()
    assert [found.headers.get("user-agent") for found in wire.hits(2)] == ["u", None]


async def test_a_second_user_agent_does_not_cost_the_hit(wire: Wire) -> None:
    (reply,) = await exchange(wire.port, get(b"/i", b"User-Agent: first", b"User-Agent: second"), replies=1)
    assert reply.status == 200
    assert wire.hits(1)[0].headers["user-agent"] == "first"


async def test_a_huge_cookie_does_not_cost_the_hit(wire: Wire) -> None:
    cookie = b"Cookie: " + b"c" * (MAX_FIELDS - 200)
    for request in (get(b"/i", cookie), get(b"/i", b"Cookie: a", cookie), post(b"{}", cookie)):
        (reply,) = await exchange(wire.port, request[:-3], PAUSE, request[-3:], replies=1)
        assert reply.status in (200, 204)
    assert all("cookie" not in found.headers for found in wire.hits(3))


async def test_an_upgrade_is_passed_over(wire: Wire) -> None:
    asked = [b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Version: 13"]
    replies = await exchange(wire.port, get(b"/i", *asked) + get(b"/i", *asked) + get(b"/i"), replies=3)
    assert [reply.status for reply in replies] == [200, 200, 200]
    wire.hits(3)


async def test_a_refusal_reaches_a_client_that_sends_on(wire: Wire) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", wire.port)
    async with asyncio.timeout(10):
        writer.write(LONG)
        assert (await read(reader)).status == 414
        with suppress(ConnectionError):
            for _ in range(20):
                writer.write(b"x" * 100_000)
                await writer.drain()
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


async def _hostile(port: int, data: bytes, how: str) -> None:
    """Send it and leave: at once or after a pause, with a reset, with the other side open, or without reading."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    with suppress(ConnectionError):
        writer.write(data)
        await writer.drain()
        if how == "pieces":
            for byte in data[:50]:
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(0)
        elif how == "half":
            writer.write_eof()
            await asyncio.wait_for(reader.read(), 20)
        elif how == "later":
            await asyncio.sleep(random.random() / 50)
    if how in ("reset", "later"):
        linger = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.transport.abort()
    else:
        writer.close()


async def test_whatever_clients_do_and_leave_nothing_is_logged(wire: Wire) -> None:
    dice = random.Random(4)
    whole = [
        get(b"/i"), get(b"/i?\xe9"), get(b"/i") * 40, post(b"{}"), post(b"{}") * 40, post(b"{"), get(b"/nowhere"),
        post(b"x" * 70_000), post(b"x" * 70_000, target=b"/i"), CHUNKED + b"2\r\n{}\r\n0\r\n\r\n", CHUNKED + b"x\r\n",
        post(b"{}", b"Expect: 100-continue"), post(b"{}", b"Content-Encoding: gzip"), LONG, get(b"/i", b"Host: u"),
        b"HEAD /i HTTP/1.0\r\n\r\n", b"OPTIONS * HTTP/1.1\r\nHost: t\r\n\r\n", get(b"/i", b"Connection: close"),
    ]  # fmt: skip
    clients = []
    for number in range(400):
        data = dice.choice(whole) if number % 4 else dice.randbytes(dice.randrange(300))
        data = data[: dice.randrange(len(data) + 1)] if number % 3 else data + dice.choice(whole)
        clients.append(_hostile(wire.port, data, dice.choice(["close", "reset", "half", "later", "pieces"])))
    for at in range(0, len(clients), 50):
        await asyncio.gather(*clients[at : at + 50])
    (reply,) = await exchange(wire.port, get(b"/i?last"), replies=1)
    assert (reply.status, reply.body) == (200, pixel.GIF)
    await until(lambda: wire.counted("pixelpipe_collector_connections") == 0, "all to be gone")
    assert wire.log() == []
    assert wire.counted(MALFORMED) > 0
    assert wire.counted(UNFINISHED) > 0
    wire.topics.pull("work", wanted=1)
