"""A file of rows that events are joined with, by a key: CSV or Parquet, kept new by somebody else.

Only the columns that the schema file asks for are held, as text. A new file is taken once it has come to rest, and only
if all of it can be read; until then the old one answers.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from services.processor.enrich.networks import Networks, network
from services.processor.enrich.watched_file import Unusable, WatchedFile
from services.shared.schema import Lookup, Source

MAX_BYTES = 33_554_432  # of the file, and of the texts held of it
MAX_ROWS = 200_000  # 50 MB in memory with two short columns, and 100 more while a new file is read
ADDRESS = Source("hit", "ip")
_SHOWN = 200  # characters of a file's own column names in an error
_SHARED = 64  # characters of texts that are held once, such as the name of a tier
_BATCH = 4_096  # rows of Parquet read at a time

Row = tuple[str | None, ...]
_Rows = Iterator[tuple[str, list[str | None]]]  # where in the file, and the values: the key first


@dataclass(frozen=True)
class LookupTable:
    """`find` gives the row of a key, None without one; `columns` are the places of its values in a row."""

    columns: dict[str, int]
    find: Callable[[str], Row | None]
    rows: int


class LookupFile:
    """The table in a lookup's file; where addresses are `cut`, networks narrower than theirs say nothing.

    Raises Unusable if the file is.
    """

    def __init__(self, lookup: Lookup, columns: Iterable[str], *, cut: bool) -> None:
        self.lookup, self._wanted, self._cut = lookup, list(columns), cut
        self._file = WatchedFile(lookup.file)
        self._take()

    def refresh(self) -> bool:
        """Take the file if it was replaced; True if it was. Raises Unusable once if the new one is: the old one stays.

        A file that has changed since the last call is left for the next: it may still be written.
        """
        if not self._file.replaced():
            return False
        self._take()
        return True

    def _take(self) -> None:
        data, state = self._file.read(MAX_BYTES), self._file.state()
        table = table_of(data, self.lookup, self._wanted, cut=self._cut)
        self.columns, self.find, self.rows = table.columns, table.find, table.rows
        self.modified = state[2] / 1e9 if state else 0.0  # seconds since 1970


def table_of(data: bytes, lookup: Lookup, wanted: list[str], *, cut: bool) -> LookupTable:
    """The table in a file's bytes. Raises Unusable, which says where in the file."""
    names = [lookup.key, *wanted]
    found = _of_parquet(data, names) if lookup.file.suffix == ".parquet" else _of_csv(data, names)
    shared: dict[str, str] = {}
    by_network = ADDRESS in lookup.by
    networks: Networks[Row] = Networks(cut=cut)
    rows: dict[str, Row] = {}
    count = held = 0
    for where, (key, *values) in found:
        count += 1
        held += sum(map(len, filter(None, (key, *values))))
        if count > MAX_ROWS:
            raise Unusable(f"it has more than {MAX_ROWS:,} rows")
        if held > MAX_BYTES:
            raise Unusable(f"its values have more than {MAX_BYTES:,} characters")
        if not key:
            raise Unusable(f"{where}: nothing in its column {lookup.key!r}, the key")
        row = tuple(shared.setdefault(one, one) if one and len(one) <= _SHARED else one or None for one in values)
        if by_network:
            if (place := network(key)) is None:
                raise Unusable(f"{where}: its key is not a network such as 192.0.2.0/24")
            new = networks.add(place, row)
        else:
            new = rows.setdefault(key, row) is row
        if not new:
            raise Unusable(f"{where}: an earlier row has the same key")
    if not count:
        raise Unusable("it has no rows")
    return LookupTable(
        {name: index for index, name in enumerate(wanted)}, networks.find if by_network else rows.get, count
    )


def _places(header: list[str], names: list[str]) -> list[int]:
    """Where the columns of these names are. Raises Unusable."""
    for name in names:
        if header.count(name) != 1:
            said = ", ".join(header)[:_SHOWN]
            raise Unusable(
                f"it has {'two columns' if name in header else 'no column'} {name!r}; its columns are {said or 'none'}"
            )
    return [header.index(name) for name in names]


def _of_csv(data: bytes, names: list[str]) -> _Rows:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Unusable(f"it is not UTF-8 at byte {error.start:,}") from error
    lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = next(lines, [])
        places = _places(header, names)
        for line in lines:
            if not line:
                continue
            where = f"line {lines.line_num:,}"
            if len(line) != len(header):
                raise Unusable(f"{where}: {len(line)} fields, and the first line has {len(header)}")
            yield where, [line[place] for place in places]
    except csv.Error as error:
        raise Unusable(f"line {lines.line_num:,}: {error}") from error


def _of_parquet(data: bytes, names: list[str]) -> _Rows:
    from pyarrow import parquet  # 20 MB that nobody else needs

    try:
        file: Any = parquet.ParquetFile(pa.BufferReader(data))
        _places(file.schema_arrow.names, names)
        if file.metadata.num_rows > MAX_ROWS:
            raise Unusable(f"it has more than {MAX_ROWS:,} rows")
        for name in names:
            kind = file.schema_arrow.field(name).type
            if pa.types.is_nested(kind) or pa.types.is_binary(kind):
                raise Unusable(f"its column {name!r} is {kind}, which is not a single value")
        count = 0
        for batch in file.iter_batches(_BATCH, columns=list(dict.fromkeys(names))):
            columns = [batch.column(name).cast(pa.string()).to_pylist() for name in names]
            for row in zip(*columns, strict=True):
                count += 1
                yield f"row {count:,}", list(row)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise Unusable("it is damaged, or not a Parquet file") from error
