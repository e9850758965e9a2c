from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, generate_latest

from services.collector.fast_counter import FastCounter


def test_counts_are_exposed_as_prometheus_own_counters_are() -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    counts = FastCounter("x_replies_total", "Replies", ("kind", "status"), ours)
    counter = Counter("x_replies_total", "Replies", ("kind", "status"), registry=theirs)
    assert generate_latest(ours) == generate_latest(theirs)
    for kind, status, times in (("events", "204", 2), ("pixel", "200", 3)):
        counts.by_labels[kind, status] += times
        counter.labels(kind, status).inc(times)
    kept = [line for line in generate_latest(theirs).splitlines() if b"_created" not in line]
    assert generate_latest(ours).splitlines() == kept
    assert ours.get_sample_value("x_replies_total", {"kind": "pixel", "status": "200"}) == 3
