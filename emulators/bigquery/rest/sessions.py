"""Resumable uploads in progress: what has arrived of each, kept in memory within bounds."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass, field
from typing import Any

from emulators.bigquery.errors import ApiError

MAX_UPLOAD = 512 * 1024 * 1024  # bytes of one file, and of all uploads in progress together
MAX_SESSIONS = 32
SESSION_LIFE = 3600.0  # seconds without a chunk after which an upload is forgotten


@dataclass
class Session:
    """A resumable upload in progress."""

    project: str
    given: dict[str, Any]
    touched: float
    data: bytearray = field(default_factory=bytearray)
    busy: bool = False


@dataclass
class Sessions:
    """The uploads in progress, bounded in number, bytes and age."""

    open: dict[str, Session] = field(default_factory=dict)

    def start(self, project: str, given: dict[str, Any]) -> str:
        now = time.monotonic()
        for name in [name for name, session in self.open.items() if now - session.touched > SESSION_LIFE]:
            del self.open[name]
        if len(self.open) >= MAX_SESSIONS:
            raise ApiError(503, "backendError", "too many resumable uploads are in progress")
        name = uuid.uuid4().hex
        self.open[name] = Session(project, given, now)
        return name

    def room(self, more: int) -> None:
        if more + sum(len(session.data) for session in self.open.values()) > MAX_UPLOAD:
            raise too_large()


def too_large() -> ApiError:
    return ApiError(413, "uploadTooLarge", f"The local BigQuery emulator takes uploads of at most {MAX_UPLOAD} bytes")
