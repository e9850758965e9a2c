"""The control port of an emulator under test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import requests


class Control:
    """Sets faults; `on` removes its fault at the end, so that tests leave none to each other."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}/faults"
        self.host = ""  # of the emulator itself, where a test talks to that too

    def add(self, effect: str, **fields: Any) -> dict[str, Any]:
        answer = requests.post(self.url, json={"effect": effect, **fields}, timeout=60)
        assert answer.status_code == 201, answer.text
        return answer.json()

    def refused(self, given: bytes | str) -> str:
        """The error that a fault is refused with."""
        answer = requests.post(self.url, data=given, timeout=60)
        assert answer.status_code == 400, answer.text
        return answer.json()["error"]

    def listed(self) -> list[dict[str, Any]]:
        return requests.get(self.url, timeout=60).json()["faults"]

    def struck(self, name: str) -> int:
        (found,) = [fault for fault in self.listed() if fault["id"] == name]
        return found["applied"]

    def remove(self, name: str) -> int:
        return requests.delete(f"{self.url}/{name}", timeout=60).status_code

    def clear(self) -> int:
        return requests.delete(self.url, timeout=60).json()["removed"]

    @contextmanager
    def on(self, effect: str, **fields: Any) -> Iterator[str]:
        """The fault's id."""
        name = self.add(effect, **fields)["id"]
        try:
            yield name
        finally:
            self.remove(name)
