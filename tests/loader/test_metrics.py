"""Ages of rows are counted a column at a time, as exactly as one by one."""

from __future__ import annotations

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.exposition import generate_latest

from services.loader.metrics import CODES, MAX_TABLES, Metrics, RowAges
from tests.loader.rows_made import SCHEMA, events

BOUNDS = (0.5, 1.0, 60.0)


@given(st.lists(st.lists(st.integers(-5_000_000, 100_000_000) | st.sampled_from([500_000, 1_000_000, 500_001]))))
def test_the_histogram_is_that_of_single_observations(columns: list[list[int]]) -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    ages = RowAges(ours, "seconds", "text", BOUNDS)
    histogram = Histogram("seconds", "text", buckets=BOUNDS, registry=theirs)
    for column in columns:
        ages.observe(pa.array(column, pa.int64()))
        for age in column:
            histogram.observe(max(0, age) / 1_000_000)
    for name in ("0.5", "1.0", "60.0", "+Inf"):
        assert ours.get_sample_value("seconds_bucket", {"le": name}) == theirs.get_sample_value(
            "seconds_bucket", {"le": name}
        )
    assert ours.get_sample_value("seconds_count") == theirs.get_sample_value("seconds_count")
    found, expected = ours.get_sample_value("seconds_sum"), theirs.get_sample_value("seconds_sum")
    assert found is not None and expected is not None and abs(found - expected) < 1e-6


def test_the_newest_event_never_goes_back() -> None:
    registry = CollectorRegistry()
    metrics = Metrics(registry, SCHEMA.tables)
    for times in ([1_000_000, 3_000_000], [2_000_000], []):
        batch = events(0, len(times))
        at = batch.schema.get_field_index("received_at")
        batch = batch.set_column(at, batch.schema.field(at), pa.array(times, batch.schema.field(at).type))
        metrics.loaded("events", batch, 4_000_000)
        assert registry.get_sample_value("pixelpipe_loader_newest_received_timestamp_seconds") == 3.0
    assert registry.get_sample_value("pixelpipe_loader_end_to_end_seconds_count") == 3


def test_an_unforeseen_code_makes_no_label_of_its_own() -> None:
    registry = CollectorRegistry()
    metrics = Metrics(registry, SCHEMA.tables)
    metrics.retried("DATA_LOSS")
    assert registry.get_sample_value("pixelpipe_loader_append_retries_total", {"code": "OTHER"}) == 1
    text = generate_latest(registry).decode()
    assert text.count("pixelpipe_loader_append_retries_total{") == len(CODES) + 1


def test_rows_of_a_table_the_schema_file_does_not_know_are_counted_up_to_a_bound() -> None:
    registry = CollectorRegistry()
    metrics = Metrics(registry, SCHEMA.tables)
    for number in range(MAX_TABLES + 5):
        metrics.loaded(f"new_{number}", events(0, 2), 4_000_000)
    name = "pixelpipe_loader_rows_loaded_total"
    assert registry.get_sample_value(name, {"table": "new_7"}) == 2
    assert registry.get_sample_value(name, {"table": "OTHER"}) == 2 * (5 + len(SCHEMA.tables))
    assert registry.get_sample_value("pixelpipe_loader_end_to_end_seconds_count") == 0  # which column would it be?
