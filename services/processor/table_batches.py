"""From hits to one Arrow batch per table. Whatever a hit raises, foreseen or not, costs that hit alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import msgspec
import pyarrow as pa

from services.processor.parse import UNENCODABLE, UNEXPECTED, Reject, Row
from services.shared import rows
from services.shared.fault import fault
from services.shared.hit import Hit
from services.shared.schema import Schema
from services.shared.tally import HOUR_US


class HitParser(Protocol):
    """What `parse.Parser` does: a row or a reject for each hit, and the row of a reject; `now` in µs since 1970."""

    def parse(self, hit: Hit, now: int) -> Row | Reject: ...

    def reject_row(self, hit: Hit, reject: Reject, now: int) -> Row: ...


@dataclass
class TableBatches:
    """Each hit is a row of one of `batches`, unless a sample leaves it out, or in `unplaced` if not even a reject could
    be made of it. `sampled_out` has the hour and protocol of each hit that is in no table; its copies may be.

    `rejects` holds reasons by the hit's index, `problems` how many values did not fit, by table, column and reason.
    `copies` are the rows beside those of the hits, `misfits` those that did not fit, `left_out` those that are in no
    batch since a sample leaves them out: each by table.
    `faults` says what was raised and where, each time something unforeseen was, and so does `unplaced`.

    `labels` has the hour and protocol of the hit of each row; copies have none.
    """

    batches: dict[str, pa.RecordBatch] = field(default_factory=dict)
    labels: dict[str, list[tuple[int, str]]] = field(default_factory=dict)
    rejects: dict[int, str] = field(default_factory=dict)
    problems: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    copies: Counter[str] = field(default_factory=Counter)
    misfits: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    sampled_out: list[tuple[int, str]] = field(default_factory=list)
    unplaced: list[tuple[Hit, str]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


class Batcher:
    """Makes batches of the hits of a message; build it once."""

    def __init__(self, schema: Schema, parser: HitParser) -> None:
        self._parser = parser
        self._arrow = {name: rows.arrow_schema(table) for name, table in schema.tables.items()}

    def make(self, hits: Sequence[Hit], now: int) -> TableBatches:
        """The batches; `now`, microseconds since 1970, decides which days are plausible."""
        found = TableBatches()
        made: list[Row | None] = []
        for index, one in enumerate(hits):
            try:
                result = self._parser.parse(one, now)
            except MemoryError:
                raise
            except Exception as error:  # noqa: BLE001 - a bug of ours, and only this hit must pay for it
                found.faults.append(fault(error))
                result = Reject(UNEXPECTED, f"the processor failed: {found.faults[-1]}")
            if isinstance(result, Row):
                made.append(result)
            else:
                made.append(self._reject_row(index, one, result, now, found))
        try:
            found.batches = self._batches(made)
        except MemoryError:
            raise
        except Exception:  # noqa: BLE001 - Arrow refuses some value: trying each row alone finds it
            made = [
                self._fitting(index, one, row, now, found)
                for index, (one, row) in enumerate(zip(hits, made, strict=True))
            ]
            found.batches = self._batches(made)
        self._count(hits, made, found)
        return found

    def _count(self, hits: Sequence[Hit], made: Iterable[Row | None], found: TableBatches) -> None:
        """Counted at the end: Arrow may have refused a row."""
        for one, row in zip(hits, made, strict=True):
            if row is None:
                continue
            label = one.at // HOUR_US, one.protocol
            for problem in row.problems:
                found.problems[row.table, problem.top, problem.reason] += 1
            if row.sampled_out:
                found.left_out[row.table] += 1
                found.sampled_out.append(label)
            else:
                found.labels.setdefault(row.table, []).append(label)
            for copy in row.copies:
                if isinstance(copy, Reject):
                    found.misfits[copy.table or ""] += 1
                elif copy.sampled_out:
                    found.left_out[copy.table] += 1
                else:
                    found.copies[copy.table] += 1

    def _reject_row(self, index: int, one: Hit, reject: Reject, now: int, found: TableBatches) -> Row | None:
        try:
            row = self._parser.reject_row(one, reject, now)
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001 - as above
            found.faults.append(fault(error))
            found.unplaced.append((one, found.faults[-1]))
            return None
        found.rejects[index] = reject.reason
        return row

    def _fitting(self, index: int, one: Hit, row: Row | None, now: int, found: TableBatches) -> Row | None:
        """The row if Arrow accepts it, without copies it refuses; else that of a reject, if Arrow accepts that."""
        if row is None:
            return None
        if (error := self._misfit(row)) is None:
            return self._fitting_copies(row, found) if row.copies else row
        found.faults.append(fault(error))
        if index not in found.rejects:
            row = self._reject_row(index, one, Reject(UNENCODABLE, str(error), row.table), now, found)
            if row is None or self._misfit(row) is None:
                return row
        del found.rejects[index]
        found.unplaced.append((one, found.faults[-1]))
        return None

    def _fitting_copies(self, row: Row, found: TableBatches) -> Row:
        copies: list[Row | Reject] = []
        for copy in row.copies:
            if isinstance(copy, Row) and (error := self._misfit(copy)) is not None:
                found.faults.append(fault(error))
                copy = Reject(UNENCODABLE, str(error), copy.table)
            copies.append(copy)
        return msgspec.structs.replace(row, copies=copies)

    def _misfit(self, row: Row) -> Exception | None:
        """Why Arrow refuses a row."""
        try:
            self._batch(row.table, [row.values])
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001 - as above
            return error
        return None

    def _batches(self, made: Iterable[Row | None]) -> dict[str, pa.RecordBatch]:
        by_table: dict[str, list[list[object]]] = {}
        for row in made:
            if row is None:
                continue
            if not row.sampled_out:
                by_table.setdefault(row.table, []).append(row.values)
            for copy in row.copies:
                if isinstance(copy, Row) and not copy.sampled_out:
                    by_table.setdefault(copy.table, []).append(copy.values)
        return {name: self._batch(name, values) for name, values in by_table.items()}

    def _batch(self, name: str, values: list[list[object]]) -> pa.RecordBatch:
        schema = self._arrow[name]
        columns = zip(*values, strict=True)
        arrays = [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
        return pa.RecordBatch.from_arrays(arrays, schema=schema)
