"""The histogram of reply times: what was observed is counted where it belongs, and by a running collector."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from services.collector.fast_histogram import BOUNDS, KINDS, FastHistogram
from tests.collector.conftest import Running

_NAME = "pixelpipe_collector_http_request_duration_seconds"


def _bucket(registry: CollectorRegistry, kind: str, bound: float | str) -> float | None:
    return registry.get_sample_value(f"{_NAME}_bucket", {"kind": kind, "le": str(bound)})


def test_buckets_are_cumulative_and_a_bound_belongs_to_its_bucket() -> None:
    registry = CollectorRegistry()
    durations = FastHistogram(registry)
    for seconds in (BOUNDS[0], BOUNDS[0] * 1.01, BOUNDS[-1] * 2):
        durations.observe("pixel", seconds)
    durations.observe("events", 0.0)
    assert [_bucket(registry, "pixel", bound) for bound in (*BOUNDS[:2], BOUNDS[-1], "+Inf")] == [1, 2, 2, 3]
    assert registry.get_sample_value(f"{_NAME}_count", {"kind": "pixel"}) == 3
    assert registry.get_sample_value(f"{_NAME}_sum", {"kind": "pixel"}) == sum((BOUNDS[0], BOUNDS[0] * 1.01, 20.0))
    assert _bucket(registry, "events", BOUNDS[0]) == 1


def test_every_kind_is_there_before_its_first_request_and_no_other() -> None:
    registry = CollectorRegistry()
    FastHistogram(registry).observe("other", 1.0)
    for kind in KINDS:
        assert _bucket(registry, kind, "+Inf") == 0
    assert _bucket(registry, "other", "+Inf") is None


async def test_a_collector_times_its_replies_by_kind(collector: Running) -> None:
    async with collector.http.get(collector.url + "/pixel.gif?user_id=1") as answer:
        assert answer.status == 200
    async with collector.http.post(collector.url + "/events", json=[{"user_id": "1"}]) as answer:
        assert answer.status == 204
    async with collector.http.get(collector.url + "/robots.txt") as answer:
        assert answer.status == 200
    for kind in KINDS:
        assert _bucket(collector.registry, kind, "+Inf") == 1
        total = collector.registry.get_sample_value(f"{_NAME}_sum", {"kind": kind})
        assert total is not None and total > 0
