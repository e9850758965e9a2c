"""Waits until what is on its way has arrived, as far as the services' metrics say."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from services.ops import ledger
from services.shared.reconciliation import Reconciliation

PAUSE = 1.0  # seconds between looks


async def left_after(urls: Sequence[str], seconds: float) -> int:
    """How many of the hits that had been collected at first have not arrived after at most so long; 0 once all have.

    Hits arrive in about the order they came in, and one that is delivered twice counts twice: it is a good guess and no
    promise. `urls` are the admin URLs of all processes. Raises CommandRefused.
    """
    until = time.monotonic() + seconds
    wanted = (await ledger.scraped(urls)).collected
    while True:
        found = await ledger.scraped(urls)
        left = max(0, min(wanted - _arrived(found), found.in_flight + found.spooled))
        if not left or time.monotonic() >= until:
            return left
        await asyncio.sleep(PAUSE)


def _arrived(found: Reconciliation) -> int:
    return found.loaded - found.copies + found.rejected + found.dead + found.sampled_out
