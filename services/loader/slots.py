"""Which load jobs all loaders together may make of one table. Pure: `now` is seconds since 1970.

BigQuery takes 1,500 load jobs a table and day, failed ones too. So the UTC day is divided into `per_day` slots, and a
job's id is made of its table and its slot alone. BigQuery takes an id once: whoever comes first has the slot, all
others are refused and wait for the next. No loader needs to know how many there are, and none can take a slot twice,
whatever restarts and whatever a clock says: a day has no more ids than slots.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

_DAY_US = 86_400 * 1_000_000


@dataclass(frozen=True)
class Slot:
    """A part of a UTC day; `day` counts days since 1970, `number` slots from 0, `ends` is in seconds since 1970."""

    day: int
    number: int
    ends: float


def at(now: float, per_day: int) -> Slot:
    """The slot that `now` lies in."""
    day, inside = divmod(round(now * 1_000_000), _DAY_US)
    number = inside * per_day // _DAY_US
    end = -(-(number + 1) * _DAY_US // per_day)  # rounded up, so that it lies in the next slot
    return Slot(day, number, (day * _DAY_US + end) / 1_000_000)


def seconds(per_day: int) -> float:
    """How long a slot lasts."""
    return _DAY_US / 1_000_000 / per_day


def job_id(dataset: str, table: str, slot: Slot) -> str:
    """The id of the one job that the slot has: the names hold no dash, so no two tables share one."""
    day = datetime.fromtimestamp(slot.day * 86_400, UTC)
    return f"pixelpipe-{dataset}-{table}-{day:%Y%m%d}-{slot.number:05}"
