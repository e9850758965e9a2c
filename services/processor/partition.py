"""The partitions of a table that BigQuery still accepts rows for."""

from __future__ import annotations

from services.shared.schema import Table

DAY_US = 86_400_000_000
# BigQuery accepts streamed rows for the last five years and the year ahead.
_PAST_US, _FUTURE_US = 5 * 365 * DAY_US, 365 * DAY_US


def plausible(moment: int, now: int) -> bool:
    """Whether BigQuery accepts rows of that moment; both in microseconds since 1970."""
    return now - _PAST_US <= moment <= now + _FUTURE_US


class Partition:
    """The column that a table is partitioned by."""

    def __init__(self, table: Table) -> None:
        self.column = column = table.column(table.partition)
        self.index = table.columns.index(column)
        # A row that gets here was received at a plausible time, and its day is at most a week before.
        self.always_fits = all(str(source) in ("event.day", "hit.received_at") for source in column.sources)
        self._unit = DAY_US if column.type == "DATE" else 1

    def takes(self, value: int, now: int) -> bool:
        """Whether BigQuery accepts a row with this value in the column."""
        return plausible(value * self._unit, now // self._unit * self._unit)

    def of(self, moment: int) -> int:
        """The column's value for a moment in microseconds."""
        return moment // self._unit
