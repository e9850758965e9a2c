"""Hits of all kinds at a running collector, as long as one is inside."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import requests

PAUSE = 0.005
HOOK = "shop"  # a source that the collector may know
_EVENT = {"user_id": "ada", "type": "order", "total": 12.5}
_NO_EVENT = {"type": "view"}


@contextmanager
def running(url: str, *, bad: int = 11, pause: float = PAUSE, batch: int = 1) -> Iterator[None]:
    """About fifteen requests a second, fewer on a busy machine; one in `bad` is no event and becomes a reject.

    Posts to /events have a `batch` of them each. 503 is an answer like another, and so is that nobody listens.
    """
    with beside(lambda over: _fire(url, over, bad, pause, batch)):
        yield


@contextmanager
def rejects(url: str, *, pause: float, batch: int) -> Iterator[None]:
    """Posts to /events, each a `batch` of what is no event."""
    with beside(lambda over: _repeat(over, pause, lambda http, _: _post(http, f"{url}/events", [_NO_EVENT] * batch))):
        yield


@contextmanager
def beside(fire: Callable[[threading.Event], None]) -> Iterator[None]:
    """Run `fire` in a thread; the event is set once it is to end."""
    over = threading.Event()
    thread = threading.Thread(target=fire, args=(over,), name="load")
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(30)


def _fire(url: str, over: threading.Event, bad: int, pause: float, batch: int) -> None:
    _repeat(over, pause, lambda session, number: _one(session, url, number, bad, batch))


def _repeat(over: threading.Event, pause: float, send: Callable[[requests.Session, int], None]) -> None:
    with requests.Session() as session:
        session.trust_env = False
        for number in itertools.count():
            if over.wait(pause):
                return
            try:
                send(session, number)
            except requests.RequestException:
                over.wait(0.05)  # it is being replaced


def _post(session: requests.Session, url: str, body: object) -> None:
    session.post(url, json=body, timeout=30)


def _one(session: requests.Session, url: str, number: int, bad: int, batch: int) -> None:
    if number % bad == 0:
        session.get(f"{url}/pixel.gif?type=view&sent_at=nonsense", timeout=30)
    elif number % 5 == 0:
        _post(session, f"{url}/events", [_EVENT] * batch)
    elif number % 7 == 0:
        _post(session, f"{url}/v1/track", {"type": "track", "event": "order", "userId": "ada"})
    elif number % 13 == 0:
        _post(session, f"{url}/hook/{HOOK}", {"type": "order"})
    elif number % 97 == 0:
        session.get(f"{url}/nothing-here", timeout=30)
    else:
        session.get(f"{url}/pixel.gif?user_id=ada&type=view&n={number}", timeout=30)
