"""Which people's events a table with `sample` keeps: the same ones in every process and release, for ever. Pure.

Of the first of PERSON_COLUMNS that has a value, the first 4 bytes of the SHA-256 of its UTF-8 text, as an unsigned
integer of the most significant byte first, divided by 2^32: the event is kept if that is below the share. Whoever is in
a smaller sample is in a larger one as well. An event that names nobody goes by its id.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Any

from services.shared.schema import PERSON_COLUMNS, Table

_WHOLE = 1 << 32


class Sample:
    """Of a table that has a share and one of PERSON_COLUMNS at least."""

    def __init__(self, table: Table) -> None:
        names = [column.name for column in table.columns]
        self._who = [names.index(name) for name in PERSON_COLUMNS if name in names and table.column(name).scalar]
        self._below = (table.sample or 0.0) * _WHOLE

    def keeps(self, values: Sequence[Any], event_id: str) -> bool:
        """Whether a row of these values is kept."""
        who = next((values[index] for index in self._who if values[index] is not None), event_id)
        text = who if isinstance(who, str) else str(who)
        digest = sha256(text.encode("utf-8", "surrogatepass")).digest()
        return int.from_bytes(digest[:4], "big") < self._below
