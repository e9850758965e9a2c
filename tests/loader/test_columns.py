"""What the loader takes from a processor that is older or newer than itself."""

from __future__ import annotations

import pyarrow as pa
import pytest

from services.loader import columns
from services.loader.columns import Ahead
from services.shared import rows
from services.shared.poison import Poison
from tests.loader.rows_made import EVENTS, events

FIELDS = list(rows.arrow_schema(EVENTS))


def made_of(fields: list[pa.Field]) -> pa.RecordBatch:
    """One row of nulls and zeros with these columns."""
    arrays = [pa.nulls(1, field.type) for field in fields]
    return pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields))


def fit(batch: pa.RecordBatch) -> pa.RecordBatch:
    fitter, fingerprint = columns.Fitter(), rows.fingerprint(batch.schema)
    first = fitter.fit(batch, EVENTS, fingerprint)
    assert fitter.fit(batch, EVENTS, fingerprint).equals(first, check_metadata=True)  # also when it is remembered
    return first


def test_a_batch_of_the_same_schema_fits() -> None:
    sent = events(0, 5)
    fitted = fit(sent)
    assert fitted.equals(sent)
    assert fitted.schema == rows.arrow_schema(EVENTS)


def test_an_older_batch_without_nullable_columns_fits() -> None:
    sent = events(0, 5).select(["event_id", "day", "user_id", "received_at"])
    assert fit(sent).to_pylist() == sent.to_pylist()


def test_schema_metadata_does_not_keep_batches_apart() -> None:
    sent = events(0, 5).replace_schema_metadata({"writer": "another"})
    assert fit(sent).schema.equals(rows.arrow_schema(EVENTS), check_metadata=True)


def test_an_older_batch_with_a_column_required_that_no_longer_is_fits() -> None:
    fields = [field.with_nullable(False) if field.name == "type" else field for field in FIELDS]
    fitted = fit(made_of(fields))
    assert fitted.schema == rows.arrow_schema(EVENTS)


def test_a_newer_batch_with_a_column_no_longer_required_may_pass_later() -> None:
    fields = [field.with_nullable(True) if field.name == "user_id" else field for field in FIELDS]
    with pytest.raises(Ahead, match="'user_id' REQUIRED still"):
        fit(made_of(fields))


def test_a_newer_batch_with_an_unknown_column_may_pass_later() -> None:
    with pytest.raises(Ahead, match="no column 'colour'"):
        fit(made_of([*FIELDS, pa.field("colour", pa.string())]))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ([field for field in FIELDS if field.name != "user_id"], "REQUIRED column user_id is missing"),
        ([*FIELDS, pa.field("type", pa.string())], "there twice"),
        ([pa.field("type", pa.large_string()) if f.name == "type" else f for f in FIELDS], "type is large_string"),
        ([pa.field("type", pa.int64()) if f.name == "type" else f for f in FIELDS], "type is int64"),
        ([pa.field("received_at", pa.timestamp("us"), False) if f.name == "received_at" else f for f in FIELDS], "UTC"),
        ([], "REQUIRED"),
    ],
)
def test_a_batch_that_never_fits_is_poison(fields: list[pa.Field], message: str) -> None:
    with pytest.raises(Poison, match=message):
        fit(made_of(fields))
