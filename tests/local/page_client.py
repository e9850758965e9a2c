"""The page's API for tests: what it answers, and the events of its stream."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import requests

from tests import process
from tests.local.run_stack import Stack

TIMEOUT = 60


@dataclass(frozen=True)
class Page:
    url: str

    def get(self, path: str, **query: Any) -> Any:
        reply = requests.get(self.url + path, params=query, timeout=TIMEOUT)
        assert reply.status_code == 200, reply.text
        return reply.json()

    def post(self, path: str, body: dict[str, Any] | None = None) -> Any:
        reply = requests.post(self.url + path, json=body or {}, timeout=TIMEOUT)
        assert reply.status_code == 200, reply.text
        return reply.json()

    def refused(self, path: str, body: Any = None, method: str = "POST") -> tuple[int, dict[str, Any]]:
        """Status and error of what must not succeed."""
        reply = requests.request(method, self.url + path, json=body, timeout=TIMEOUT)
        assert reply.status_code >= 400, reply.text
        return reply.status_code, reply.json()["error"]

    def state(self) -> dict[str, Any]:
        found: dict[str, Any] = self.get("/api/state")
        return found

    def well(self) -> dict[str, Any]:
        """The state, once every service has answered in the second that it is given."""
        found: dict[str, Any] = process.wait_for(
            lambda: (now := self.state())["queues"]["spool"] and now["ledger"]["error"] is None and now,
            60,
            "an answer of every service",
        )
        return found

    def part(self, name: str) -> dict[str, Any]:
        return next(part for part in self.state()["parts"] if part["name"] == name)

    def becomes(self, name: str, *statuses: str) -> dict[str, Any]:
        """A part, once it has one of these statuses."""
        found: dict[str, Any] = process.wait_for(
            lambda: (now := self.part(name))["status"] in statuses and now, 60, f"{name} to be {statuses}"
        )
        return found


def of(stack: Stack) -> Page:
    return Page(stack.url("page"))


def new_id(kind: str = "e") -> str:
    return f"{kind}{uuid.uuid4().hex[:12]}"


@contextmanager
def stream(page: Page, **query: Any) -> Iterator[Iterator[tuple[str, str | None, Any]]]:
    """(name, id, data) of each event of /api/stream."""
    with requests.get(f"{page.url}/api/stream", params=query, stream=True, timeout=TIMEOUT) as reply:
        assert reply.headers["Content-Type"].startswith("text/event-stream")
        yield _events(reply)


def _events(reply: requests.Response) -> Iterator[tuple[str, str | None, Any]]:
    name, number = "", None
    for raw in reply.iter_lines():
        field, _, value = raw.decode().partition(": ")
        if field == "event":
            name, number = value, None
        elif field == "id":
            number = value
        elif field == "data":
            yield name, number, json.loads(value)
