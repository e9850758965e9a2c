"""What a pack of rows says of its hits, and its receipt."""

from __future__ import annotations

from collections import Counter

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.shared import rows, tally_rows
from services.shared.errors import Poison
from services.shared.tally import INGESTED, LOADED, REJECTED, Count, Tally

LABELS = st.lists(st.tuples(st.integers(0, 5), st.sampled_from(("native", "segment"))), min_size=1, max_size=30)


def _batch(count: int) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict({"n": list(range(count))})


@given(LABELS, st.booleans(), st.integers(0, 40), st.sampled_from(("events", "rejects")))
def test_a_receipt_has_every_hit_once(labels: list[tuple[int, str]], collected: bool, refused: int, table: str) -> None:
    marked = tally_rows.mark(_batch(len(labels)), labels, "id", collected=collected)
    data, attributes = rows.pack(marked, table, "p")
    origin = tally_rows.origin(rows.unpack(data, attributes))
    assert origin is not None and origin.hits == len(labels)
    receipt = tally_rows.receipt(table, origin, refused)
    assert receipt.id == "id"
    sums: Counter[tuple[int, str]] = Counter()
    for one in receipt.counts:
        sums[one.hour, one.protocol] += one.hits
    assert sums == Counter(labels)
    outcomes = {one.outcome: 0 for one in receipt.counts}
    for one in receipt.counts:
        outcomes[one.outcome] += one.hits
    bad = len(labels) if table == "rejects" else min(refused, len(labels))
    wanted = {LOADED: len(labels) - bad, REJECTED: bad} if collected else {INGESTED: len(labels)}
    assert outcomes == {name: hits for name, hits in wanted.items() if hits}


def test_a_batch_that_says_nothing_has_no_receipt_and_one_that_lies_is_refused() -> None:
    assert tally_rows.origin(_batch(1)) is None
    with pytest.raises(Poison, match="tally: "):
        tally_rows.origin(_batch(1).replace_schema_metadata({b"tally": b"[1]"}))


def test_a_tally_of_no_year_that_bigquery_has_is_of_the_day_it_was_made() -> None:
    made = 20_000 * 86_400_000_000
    tallies = [(Tally("a", "collector", counts=(Count(hour, "native", "", LOADED, 1),)), made) for hour in (0, 480_000)]
    days = tally_rows.batch(tallies).column("day").cast(pa.int32()).to_pylist()
    assert days == [20_000, 20_000]
