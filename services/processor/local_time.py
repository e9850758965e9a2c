"""When an event happened by the clocks of a time zone: its date and its hour there."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

from services.processor.event import Event
from services.processor.protocols import reading

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_DAY = _EPOCH.toordinal()


def reader(name: str, time_zone: str) -> Callable[[Event], int | None]:
    """A function that returns the `date`, in days since 1970, or the `hour`, 0 to 23."""
    zone: tzinfo = UTC if time_zone == "UTC" else ZoneInfo(time_zone)
    part = {"date": _date, "hour": _hour}[name]

    def read(event: Event) -> int | None:
        given: Any = event.first.get("event_time")
        moment = None if given is None else reading.moment(given)
        if moment is None:
            moment = event.hit.at
        try:
            return part((_EPOCH + timedelta(microseconds=moment)).astimezone(zone))
        except OverflowError:  # a clock that is a day from the end of the years that there are
            return None

    return read


def _date(moment: datetime) -> int:
    return moment.toordinal() - _EPOCH_DAY


def _hour(moment: datetime) -> int:
    return moment.hour
