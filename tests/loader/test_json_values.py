"""A row that BigQuery refuses is kept as JSON, and comes back the same."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from services.loader.json_values import to_json_values
from services.ops import reconstruct
from services.ops.rejects import Reject
from services.processor.parse import Parser
from services.processor.table_batches import Batcher
from tests.processor.parsing import NOW, a_hit
from tests.processor.test_columns import JSON, SCHEMA


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.sampled_from(["a", "b", "items", "properties"]), JSON, max_size=4))
def test_a_row_of_every_type_survives_being_a_reject(posted: Any) -> None:
    (batch,) = Batcher(SCHEMA, Parser(SCHEMA)).make([a_hit("", posted)], NOW).batches.values()
    row = {name: to_json_values(values)[0] for name, values in zip(batch.schema.names, batch.columns, strict=True)}
    reject = Reject("x", "loader", "events", "refused", None, msgspec.json.encode(row).decode(), loaded=False)
    table, again = reconstruct.row_of(reject, SCHEMA)
    assert table == "events" and again.to_pylist() == batch.to_pylist()
