"""How long a table that needs an operator may hold packs. Pure: `now` is a monotonic time in seconds.

The table may not exist, not be permitted, or lack a column that packs have. One table with one set of columns is a
target: packs of an older or newer schema file continue to load where the table takes those.

A target that has failed for `SECONDS` while another took rows is suspended. Its packs are still held, which uses up no
delivery attempt, as long as the loader is not `CROWDED`. Beyond that they are nacked, Pub/Sub's retry policy delays
them, and one pack at a time tries the table, so that it does not block the others.

Where no other target takes rows either, as when a role was revoked, packs are held. If they fill the loader, one
append's worth is nacked every `SECONDS`, to let others in.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

SECONDS = 60.0
TRY_SECONDS = 10.0  # between packs that try a suspended target of a crowded loader
RECENT_SECONDS = 600.0  # a target that took rows since then is fit: if it refuses a pack, the pack is bad
FORGOTTEN_SECONDS = 900.0  # without a failure; what was nacked is redelivered within ten minutes
CROWDED = 0.5  # of the bytes or packs a loader may hold
REMEMBERED = 1_000  # targets


class Target(NamedTuple):
    """Where rows go: a table, by its name in the schema file, and the fingerprint of the columns that they have."""

    table: str
    fingerprint: str


@dataclass
class _Trouble:
    since: float
    last: float
    columns: tuple[str, ...] = ()
    next_try: float | None = None  # once it is suspended

    def is_current(self, now: float) -> bool:
        return now - self.last < FORGOTTEN_SECONDS


class TableBreaker:
    """`held` is how full the loader is, by bytes or packs; 1 is full."""

    def __init__(self) -> None:
        self._troubles: dict[Target, _Trouble] = {}
        self._took_rows: dict[Target, float] = {}  # when last
        self._made_room = float("-inf")

    def works(self, target: Target, now: float) -> bool:
        """BigQuery answered for the target; whether it was suspended."""
        if len(self._took_rows) >= REMEMBERED:
            self._took_rows.clear()
        self._took_rows[target] = now
        trouble = self._troubles.pop(target, None)
        return trouble is not None and trouble.next_try is not None

    def fails(self, target: Target, now: float, *, held: float, columns: tuple[str, ...] = ()) -> bool:
        """Whether to nack the rows that failed now; `columns` are those the table does not take, if known."""
        trouble = self._trouble(target, now)
        trouble.last, trouble.columns = now, columns
        if trouble.next_try is None:
            if now - trouble.since < SECONDS:
                return False
            if any(moment > trouble.since for other, moment in self._took_rows.items() if other != target):
                trouble.next_try = now + TRY_SECONDS
        if trouble.next_try is not None:
            return held >= CROWDED
        if held >= 1 and now - self._made_room >= SECONDS:
            self._made_room = now
            return True
        return False

    def is_suspended(self, target: Target) -> bool:
        trouble = self._troubles.get(target)
        return trouble is not None and trouble.next_try is not None

    def is_fit(self, target: Target, now: float) -> bool:
        """Whether the table took such rows recently."""
        return now - self._took_rows.get(target, float("-inf")) < RECENT_SECONDS

    def takes(self, target: Target, now: float, *, held: float) -> bool:
        """Whether to hold a pack now; for a suspended target of a crowded loader, this pack is the one that tries."""
        trouble = self._troubles.get(target)
        if trouble is None or trouble.next_try is None or held < CROWDED:
            return True
        if now < trouble.next_try:
            return False
        trouble.next_try = now + TRY_SECONDS
        return True

    def suspended(self, now: float) -> set[str]:
        """Tables with a target that is suspended."""
        return {target.table for target, trouble in self._current(now) if trouble.next_try is not None}

    def refused(self, now: float) -> set[tuple[str, str]]:
        """Tables, and columns of packs that they do not take."""
        return {(target.table, column) for target, trouble in self._current(now) for column in trouble.columns}

    def _trouble(self, target: Target, now: float) -> _Trouble:
        known = self._troubles.get(target)
        if known is not None and known.is_current(now):
            return known
        if len(self._troubles) >= REMEMBERED:
            self._troubles = dict(self._current(now))
        self._troubles[target] = _Trouble(now, now)
        return self._troubles[target]

    def _current(self, now: float) -> Iterator[tuple[Target, _Trouble]]:
        return ((target, trouble) for target, trouble in self._troubles.items() if trouble.is_current(now))
