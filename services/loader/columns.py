"""Whether a batch from the processor fits a table of this loader's schema file."""

from __future__ import annotations

import pyarrow as pa

from services.shared import rows
from services.shared.poison import Poison
from services.shared.schema import Table

REMEMBERED = 1_000  # sets of columns


class Ahead(Exception):
    """The batch knows a newer schema file than this loader: it may pass once the rollout is over."""


class Fitter:
    """Remembers what it found, since the same few sets of columns come in every pack."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], pa.Schema] = {}

    def fit(self, batch: pa.RecordBatch, table: Table, fingerprint: str) -> pa.RecordBatch:
        """The batch, which has this fingerprint, with the table's own Arrow fields. Raises as `schema_of()` does."""
        fields = self._known.get((table.name, fingerprint))
        if fields is None:
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            fields = self._known[table.name, fingerprint] = schema_of(batch.schema, table)
        if batch.schema.equals(fields, check_metadata=True):
            return batch
        return pa.RecordBatch.from_arrays(batch.columns, schema=fields)


def schema_of(found: pa.Schema, table: Table) -> pa.Schema:
    """The table's own Arrow fields for the columns of a batch, in the order they came.

    An older batch, still on its way while a schema change rolls out, fits too: columns may be missing if they are
    NULLABLE now, and a column may be REQUIRED that no longer is. Raises Ahead for a column that the table lacks, or
    that is REQUIRED here and no longer in the batch; Poison for one of another type, one that is there twice, or a
    REQUIRED one that is missing.
    """
    wanted, names = rows.arrow_schema(table), found.names
    if unknown := [name for name in names if wanted.get_field_index(name) < 0]:
        raise Ahead(f"table {table.name}: the schema file has no column {', '.join(map(repr, unknown))}")
    if len(set(names)) < len(names):
        raise Poison(f"table {table.name}: a column is there twice")
    for field in found:
        if field.type != (known := wanted.field(field.name).type):
            raise Poison(f"table {table.name}: column {field.name} is {field.type}, not {known} as in the schema file")
    for field in wanted:
        if not field.nullable and field.name not in names:
            raise Poison(f"table {table.name}: the REQUIRED column {field.name} is missing")
    if relaxed := [field.name for field in found if field.nullable and not wanted.field(field.name).nullable]:
        raise Ahead(f"table {table.name}: the schema file has {', '.join(map(repr, relaxed))} REQUIRED still")
    return pa.schema([wanted.field(name) for name in names])
