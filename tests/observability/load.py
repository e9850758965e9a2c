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


@contextmanager
def running(url: str, *, bad: int = 11, pause: float = PAUSE) -> Iterator[None]:
    """About a hundred a second; one in `bad` is no event and becomes a reject.

    503 is an answer like another, and so is that nobody listens.
    """
    with beside(lambda over: _fire(url, over, bad, pause)):
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


def _fire(url: str, over: threading.Event, bad: int, pause: float) -> None:
    with requests.Session() as session:
        session.trust_env = False
        for number in itertools.count():
            if over.wait(pause):
                return
            try:
                _one(session, url, number, bad)
            except requests.ConnectionError:
                over.wait(0.05)  # it is being replaced


def _one(session: requests.Session, url: str, number: int, bad: int) -> None:
    if number % bad == 0:
        session.get(f"{url}/pixel.gif?type=view&sent_at=nonsense", timeout=30)
    elif number % 5 == 0:
        session.post(f"{url}/events", json=_EVENT, timeout=30)
    elif number % 7 == 0:
        session.post(f"{url}/v1/track", json={"type": "track", "event": "order", "userId": "ada"}, timeout=30)
    elif number % 13 == 0:
        session.post(f"{url}/hook/{HOOK}", json={"type": "order"}, timeout=30)
    elif number % 97 == 0:
        session.get(f"{url}/nothing-here", timeout=30)
    else:
        session.get(f"{url}/pixel.gif?user_id=ada&type=view&n={number}", timeout=30)
