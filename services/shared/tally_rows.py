"""Tallies as rows of their table, and what a pack of rows says of the hits it was made of. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import msgspec
import pyarrow as pa

from services.shared import rows
from services.shared.errors import Poison
from services.shared.schema import REJECTS
from services.shared.tally import HOUR_US, INGESTED, LOADED, LOADER, REJECTED, SAMPLED_OUT, Count, Tally
from services.shared.tally_table import TABLE

SCHEMA = rows.arrow_schema(TABLE)
_KEY = b"tally"  # of the Arrow schema's metadata
_DAY_US = 24 * HOUR_US
_PAST_US, _AHEAD_US = 4 * 365 * _DAY_US, _DAY_US  # BigQuery takes partitions from 5 years ago to a year ahead


class Origin(msgspec.Struct, frozen=True, array_like=True):
    """The hits that the rows of a pack were made of, by hour and protocol; `collected`: a collector counted them.

    `id` is the pack's, or the one it had when its hits were first published.
    """

    id: str
    collected: bool
    counts: tuple[tuple[int, str, int], ...]

    @property
    def hits(self) -> int:
        return sum(count for _, _, count in self.counts)


_decoder = msgspec.json.Decoder(Origin)


def batch(tallies: Iterable[tuple[Tally, int]]) -> pa.RecordBatch:
    """The rows of tallies, each with the time it was made, in microseconds since 1970: one a count, at least one."""
    values = [
        (
            _day(at if one is None else one.hour * HOUR_US, at),
            tally.id,
            at,
            tally.source,
            tally.sequence,
            tally.final,
            None if one is None else one.hour * HOUR_US,
            None if one is None else one.protocol or None,
            None if one is None else one.tenant or None,
            None if one is None else one.outcome,
            0 if one is None else one.hits,
        )
        for tally, at in tallies
        for one in tally.counts or (None,)
    ]
    columns = zip(*values, strict=True)
    arrays = [pa.array(column, field.type) for column, field in zip(columns, SCHEMA, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=SCHEMA)


def _day(hour_us: int, at: int) -> int:
    """The partition: that of the hour, or, where BigQuery has none for it, of the tally."""
    return (hour_us if at - _PAST_US < hour_us < at + _AHEAD_US else at) // _DAY_US


def mark(part: pa.RecordBatch, labels: Sequence[tuple[int, str]], id: str, *, collected: bool) -> pa.RecordBatch:
    """The batch, with the hour and protocol of the hit of each of its rows counted beside it, as an Origin."""
    counts = tuple((hour, protocol, count) for (hour, protocol), count in Counter(labels).items())
    return part.replace_schema_metadata({_KEY: msgspec.json.encode(Origin(id, collected, counts))})


def origin(part: pa.RecordBatch) -> Origin | None:
    """What `mark` wrote; None where it did not. Raises Poison if it cannot be read."""
    text = (part.schema.metadata or {}).get(_KEY)
    if text is None:
        return None
    try:
        return _decoder.decode(text)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Poison(f"tally: {error}") from error


def left_out(labels: Sequence[tuple[int, str]], id: str) -> Tally:
    """That a sample left these hits of a pack out; it counts as a receipt, once however often the pack comes."""
    counts = Counter(labels).items()
    return Tally(id, LOADER, counts=tuple(Count(hour, protocol, "", SAMPLED_OUT, n) for (hour, protocol), n in counts))


def receipt(table: str, found: Origin, refused: int) -> Tally:
    """That all rows of a pack for `table` are in BigQuery, `refused` of them among the rejects.

    A pack does not say which row was which hit: the refused ones are taken to be of its largest group.
    """
    merged: Counter[tuple[int, str, str]] = Counter()
    for hour, protocol, hits in sorted(found.counts, key=lambda one: -one[2]):
        bad = hits if table == REJECTS else min(hits, refused)
        refused -= min(hits, refused)
        merged[hour, protocol, LOADED if found.collected else INGESTED] += hits - bad
        merged[hour, protocol, REJECTED if found.collected else INGESTED] += bad
    counts = tuple(Count(hour, protocol, "", how, hits) for (hour, protocol, how), hits in merged.items() if hits)
    return Tally(found.id, LOADER, counts=counts)
