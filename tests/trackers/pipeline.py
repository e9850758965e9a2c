"""The running pipeline as the tests of trackers see it: where to send, and what became of it in BigQuery."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from local import query
from tests.waiting import until

_COLUMNS = (
    "event_id, event_time, received_at, user_id, anonymous_id, session_id, type, url, title, referrer, protocol, params"
)


@dataclass(frozen=True)
class Pipeline:
    collector: str
    client: Any

    async def ask(self, sql: str) -> list[dict[str, Any]]:
        return await asyncio.to_thread(lambda: [dict(row) for row in query.rows(self.client, sql)])

    async def events(self, where: str) -> list[dict[str, Any]]:
        """Rows of the view `events`, which has each event once, oldest first."""
        return await self.ask(f"SELECT {_COLUMNS} FROM pixelpipe.events WHERE {where} ORDER BY received_at")

    async def rejects(self) -> list[dict[str, Any]]:
        """All there are: nothing that a real tracker sends should be one."""
        return await self.ask("SELECT reason, detail, hit FROM pixelpipe.rejects")

    async def until(
        self,
        where: str,
        enough: Callable[[list[dict[str, Any]]], Any],
        what: str,
        meanwhile: Callable[[], Awaitable[None]] | None = None,
    ) -> list[dict[str, Any]]:
        """The rows, once they are enough; `meanwhile` is done every second."""
        last: list[dict[str, Any]] = []
        began = time.monotonic()
        done = 0

        async def found() -> Any:
            nonlocal done
            if meanwhile is not None and time.monotonic() - began > done + 1:
                done += 1
                await meanwhile()
            last[:] = await self.events(where)
            return enough(last)

        try:
            await until(found, what, timeout=120)
        except AssertionError as error:
            raise AssertionError(f"{error}; there are {[row['type'] for row in last]}") from None
        return last
