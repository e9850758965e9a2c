"""How long a table that only a human can mend may hold packs back. Pure: `now` is a monotonic time in seconds.

A table that is not there, or not permitted, could fill the loader's memory and stall all others. So once it has failed
for `SECONDS` while another table took rows, it is suspended: its packs go back to Pub/Sub, whose retry policy makes
them wait, and one pack at a time tries the table.

Where no other table takes rows either, as when a role was taken away, packs are held: giving them back would only use
up their delivery attempts. If they fill the loader, one append's worth goes back every `SECONDS`, to let others in.
"""

from __future__ import annotations

SECONDS = 60.0
TRY_SECONDS = 10.0  # between two packs that try a suspended table


class TableBreaker:
    def __init__(self) -> None:
        self._failing: dict[str, float] = {}  # since when, by table
        self._took_rows: dict[str, float] = {}  # when last, by table
        self._suspended: dict[str, float] = {}  # when its next try is due, by table
        self._made_room = float("-inf")

    def works(self, table: str, now: float) -> bool:
        """BigQuery answered for the table; whether it was suspended."""
        self._took_rows[table] = now
        self._failing.pop(table, None)
        return self._suspended.pop(table, None) is not None

    def fails(self, table: str, now: float, *, full: bool) -> bool:
        """Whether the rows that failed now are to go back; `full` says that they keep others out of the loader."""
        since = self._failing.setdefault(table, now)
        if table in self._suspended:
            return True
        if now - since < SECONDS:
            return False
        if any(moment > since for name, moment in self._took_rows.items() if name != table):
            self._suspended[table] = now + TRY_SECONDS
            return True
        if full and now - self._made_room >= SECONDS:
            self._made_room = now
            return True
        return False

    def is_suspended(self, table: str) -> bool:
        return table in self._suspended

    def takes(self, table: str, now: float) -> bool:
        """Whether a pack of the table is to be held now; for one suspended the caller's pack is the try."""
        due = self._suspended.get(table)
        if due is None:
            return True
        if now < due:
            return False
        self._suspended[table] = now + TRY_SECONDS
        return True
