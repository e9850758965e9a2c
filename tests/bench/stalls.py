"""How long one body keeps everybody else waiting: `python -m tests.bench.stalls [--quick]` prints one JSON object.

A client posts bodies of 1 MB to a collector on a core of its own, one after the other, and on another connection a
client asks for a small reply again and again. Of each body the longest wait for such a reply counts, and of each shape
the least of these: what else runs on the machine only adds to what a body costs. The shapes take turns, so that a host
that becomes slower does so for all.

| figure | what |
| --- | --- |
| `flood_json_stall_ratio` | the longest wait while a body of the worst shape arrives, over that with a plain string |
| `flood_json_stall_ms`, `flood_string_stall_ms` | the two waits |
| `flood_secrets_stall_ratio` | the same for a body of nothing but secrets, over that with short strings |
| `flood_secrets_stall_ms` | that wait |
"""

from __future__ import annotations

import json
import socket
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor

from tests.bench import cpu, needs, served
from tests.bench.figure import Figure
from tests.process import Child

SIZE = 1_048_576  # bytes of a body: as many as a collector takes
TURNS, QUICK_TURNS = 20, 5
STRING, STRINGS = "string", "strings"
ASK = b"GET /robots.txt HTTP/1.1\r\nHost: t\r\n\r\n"


def _filled(unit: bytes, before: bytes = b'{"type":"order","items":[', after: bytes = b"0]}") -> bytes:
    return before + unit * ((SIZE - len(before) - len(after)) // len(unit)) + after


def bodies() -> dict[str, bytes]:
    """A valid event of each shape."""
    return {
        STRING: _filled(b"x", b'{"type":"', b'"}'),
        "arrays": _filled(b"[],"),
        "objects": _filled(b"{},"),
        "shallow": _filled(b'[[]],{"a":{}},'),
        "deep": _filled(b"[" * 400 + b"]" * 400 + b","),
        "deep_objects": _filled(b'{"a":' * 400 + b"0" + b"}" * 400 + b","),
        "brackets_and_texts": _filled(b'["["],'),
        "half_characters": _filled(b"%b%b" % (rb"\ud83d", b"x" * 18), b'{"type":"', b'"}'),
    }


def secrets() -> dict[str, bytes]:
    """Bodies of which each value is to be removed, or an address in it; they are refused before all of it is read.

    And what they are compared with: short strings, none of which is looked into.
    """
    return {
        STRINGS: _filled(b'"a",'),
        "secret_members": _filled(b'"pin":1,', b'{"type":"order",', b'"n":1}'),
        "secret_texts": _filled(b'"https://x/?a=%253D1&token=1",'),
        "addresses": _filled(b'"ip":"192.0.2.7",', b'{"type":"order",', b'"n":1}'),
    }


def measure(quick: bool = False) -> dict[str, Figure]:
    """The figures of the table above. Raises needs.Missing where the machine has one core."""
    server_core, load_core = needs.cores()
    with served.pubsub(load_core) as pubsub:
        return _measure(pubsub, server_core, load_core, QUICK_TURNS if quick else TURNS)


def _measure(pubsub: Child, server_core: int, load_core: int, turns: int) -> dict[str, Figure]:
    sent = bodies() | secrets()
    waits: dict[str, list[float]] = {shape: [] for shape in sent}
    with (
        tempfile.TemporaryDirectory(prefix="pixelpipe-stalls-") as spool,
        served.collector(pubsub, server_core, spool=spool) as collector,
        cpu.on(load_core),
        socket.create_connection(("127.0.0.1", collector.port)) as posting,
        socket.create_connection(("127.0.0.1", collector.port)) as asking,
        ThreadPoolExecutor(1) as thread,
    ):
        for turn in range(turns + 1):
            for shape, body in sent.items():
                longest = longest_wait(posting, asking, body, thread)
                if turn:  # the first one of each is slower
                    waits[shape].append(longest)
    return figures(waits)


def figures(waits: dict[str, list[float]]) -> dict[str, Figure]:
    """What these waits, in seconds and in turns, come to."""
    least = {shape: min(waits[shape]) for shape in waits}
    string, strings = least.pop(STRING), least.pop(STRINGS)
    secret = max([least.pop(shape) for shape in secrets() if shape in least])
    worst = max(least.values())
    return {
        "flood_json_stall_ratio": Figure(worst / string),
        "flood_json_stall_ms": Figure(worst * 1000),
        "flood_string_stall_ms": Figure(string * 1000),
        "flood_secrets_stall_ratio": Figure(secret / strings),
        "flood_secrets_stall_ms": Figure(secret * 1000),
    }


def longest_wait(posting: socket.socket, asking: socket.socket, body: bytes, thread: ThreadPoolExecutor) -> float:
    """Seconds, while the body arrives and until its own reply."""
    posted = thread.submit(_post, posting, body)
    longest = 0.0
    while not posted.done():
        began = time.perf_counter()
        asking.sendall(ASK)
        _read(asking, b"200")
        longest = max(longest, time.perf_counter() - began)
    posted.result()
    return longest


def _post(connection: socket.socket, body: bytes) -> None:
    connection.sendall(b"POST /events HTTP/1.1\r\nHost: t\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    _read(connection, b"204", b"413")


def _read(connection: socket.socket, *statuses: bytes) -> None:
    """One reply, which is small, and must have one of these statuses."""
    reply = connection.recv(65_536)
    assert reply.startswith(tuple(b"HTTP/1.1 " + status for status in statuses)), reply[:200]


if __name__ == "__main__":
    found = measure(quick="--quick" in sys.argv)
    print(json.dumps({name: round(one.value, 3) for name, one in found.items()}, indent=1))
