"""The day of an event, and so its partition: the same for every delivery of it, whenever a retry arrives."""

from __future__ import annotations

from typing import Any

from services.processor.partition import DAY_US
from services.processor.protocols import reading
from services.shared import identity

PAST_US = 7 * DAY_US  # how old an event may be and still say its own day: as long as a duplicate is looked for
AHEAD_US = 60_000_000  # how far a client's clock may be ahead


def of(event_id: str, client_time: Any, received: int) -> int:
    """Days since 1970: of the time in a UUIDv7, else of the client's time as it was sent, else of the receipt.

    Either of the first two counts only where it lies in the week before the receipt, or a minute ahead. `received` is
    in microseconds since 1970. A corrected time would not do: what it is depends on when a delivery arrives.
    """
    made = identity.time_of(event_id.partition("#")[0])
    if made is not None and -AHEAD_US <= received - made * 1000 <= PAST_US:
        return made * 1000 // DAY_US
    if client_time is not None:
        happened = reading.moment(client_time)
        if happened is not None and -AHEAD_US <= received - happened <= PAST_US:
            return happened // DAY_US
    return received // DAY_US
