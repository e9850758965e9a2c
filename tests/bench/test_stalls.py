"""The bodies that stalls are measured with are what they are to be; the measuring itself is `make bench ONLY=flood`."""

from __future__ import annotations

import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from services.collector import body
from services.shared.guard import TOO_MUCH, Guard
from services.shared.privacy import Privacy
from tests.bench import stalls
from tests.bench.stalls import STRING, STRINGS


@pytest.mark.parametrize("shape", stalls.secrets())
def test_a_body_of_secrets_is_valid_and_takes_too_much(shape: str) -> None:
    data = stalls.secrets()[shape]
    (event,) = body.events(data, "application/json")
    assert len(data) >= stalls.SIZE - 3_000
    assert (Guard(Privacy()).json(event, False) == TOO_MUCH) == (shape != STRINGS)


@pytest.mark.parametrize("shape", stalls.bodies())
def test_a_body_is_one_event_that_a_collector_takes(shape: str) -> None:
    data = stalls.bodies()[shape]
    assert stalls.SIZE - 3_000 <= len(data) <= stalls.SIZE
    assert len(body.events(data, "application/json")) == 1


def test_the_worst_shape_is_compared_with_strings_by_its_least_wait() -> None:
    waits = {STRING: [0.5, 0.25], "arrays": [1.0, 0.75], "deep": [9.0, 0.5]}
    secrets = {STRINGS: [0.5, 0.75], "secret_members": [4.0, 1.0], "addresses": [1.5, 2.0]}
    found = stalls.figures(waits | secrets)
    assert {name: figure.value for name, figure in found.items()} == {
        "flood_json_stall_ratio": 3.0,
        "flood_json_stall_ms": 750.0,
        "flood_string_stall_ms": 250.0,
        "flood_secrets_stall_ratio": 3.0,
        "flood_secrets_stall_ms": 1500.0,
    }


def test_a_server_that_stalls_is_found_to() -> None:
    """One that answers nobody for a while when a body has arrived."""
    stall = 0.2
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = listening.getsockname()
        busy, waits, ended = threading.Lock(), threading.Event(), threading.Event()

        def posts(connection: socket.socket) -> None:
            received = b""
            while not received.endswith(b"the end"):
                received += connection.recv(65_536)
            with busy:
                waits.wait(60)
                time.sleep(stall)
            connection.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")

        def asks(connection: socket.socket) -> None:
            while not ended.is_set() and connection.recv(65_536):
                while not busy.acquire(timeout=0.01):
                    waits.set()  # its stall has begun, and lasts from now on
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                busy.release()

        with (
            ThreadPoolExecutor(3) as threads,
            socket.create_connection(address) as posting,
            listening.accept()[0] as posted,
            socket.create_connection(address) as asking,
            listening.accept()[0] as asked,
        ):
            threads.submit(posts, posted)
            threads.submit(asks, asked)
            longest = stalls.longest_wait(posting, asking, b"x" * 100_000 + b"the end", threads)
            ended.set()
            asking.shutdown(socket.SHUT_RDWR)
    assert longest > stall / 2
