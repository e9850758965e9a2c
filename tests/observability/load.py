"""Hits of all kinds at a running collector, as long as one is inside."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import requests

PAUSE = 0.005
_EVENT = {"user_id": "ada", "type": "order", "total": 12.5}


@contextmanager
def running(url: str) -> Iterator[None]:
    """About a hundred a second; one in eleven is no event and becomes a reject. 503 is an answer like another."""
    over = threading.Event()
    thread = threading.Thread(target=_fire, args=(url, over), name="load")
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(30)


def _fire(url: str, over: threading.Event) -> None:
    with requests.Session() as session:
        session.trust_env = False
        for number in itertools.count():
            if over.wait(PAUSE):
                return
            if number % 11 == 0:
                session.get(f"{url}/pixel.gif?type=view&sent_at=nonsense", timeout=30)
            elif number % 5 == 0:
                session.post(f"{url}/events", json=_EVENT, timeout=30)
            elif number % 97 == 0:
                session.get(f"{url}/nothing-here", timeout=30)
            else:
                session.get(f"{url}/pixel.gif?user_id=ada&type=view&n={number}", timeout=30)
