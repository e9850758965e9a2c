"""Packs that no one can read, among good ones, into both topics of the whole pipeline."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

import pyarrow as pa
import pytest

from local import stack as local_stack
from services.shared import hit, identity, resource_names, rows, zstd_frame
from services.shared.hit import Hit
from tests.bounds.soak import BOUND_MB, memory, metrics
from tests.loader.rows_made import EVENTS, events
from tests.local import run_stack
from tests.process import wait_for
from tests.topics import Topics

NOW = 1_800_000_000_000_000
BOMB = zstd_frame.MAX_BYTES + 1
Message = tuple[bytes, dict[str, str]]


def _hits(*users: str) -> Message:
    made = [Hit(id=identity.uuid7(NOW), at=NOW, method="GET", path="/i", query=f"user_id={user}") for user in users]
    return hit.pack([hit.encode(one) for one in made], identity.uuid7(NOW))


def _rows(batch: pa.RecordBatch) -> Message:
    return rows.pack(batch, EVENTS.name, str(uuid.uuid4()))


def _twice(batch: pa.RecordBatch) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as stream:
        stream.write_batch(batch)
        stream.write_batch(batch)
    return zstd_frame.compress(sink.getvalue())


def _bad_hits() -> list[Message]:
    data, attributes = _hits("bad")
    return [
        (os.urandom(500), attributes),
        (data[:-3], attributes),
        (zstd_frame.compress(bytes(BOMB)), attributes),
        (zstd_frame.compress(zstd_frame.compress(bytes(BOMB))), attributes),
        (zstd_frame.compress(b'{"id": 1}\n' * 3), attributes),
        (data, {**attributes, "encoding": "br"}),
        (data, {**attributes, "schema": "hit/0"}),
        (b"{}", {}),
        (b"\xff\xfe no log entry", {}),
    ]


def _bad_rows() -> list[Message]:
    good = events(900, 3)
    data, attributes = _rows(good)
    return [
        (os.urandom(500), attributes),
        (data[:-3], attributes),
        (zstd_frame.compress(bytes(BOMB)), attributes),
        (zstd_frame.compress(bytes(BOMB - 1)), attributes),
        (data, {**attributes, "fingerprint": "0123456789abcdef"}),
        (data, {**attributes, "count": "4", "pack": str(uuid.uuid4())}),
        (_twice(good), attributes),
        (data, {**attributes, "schema": "rows/0"}),
        (data, {name: value for name, value in attributes.items() if name != "table"}),
    ]


@pytest.mark.slow
def test_good_packs_all_load_and_bad_ones_are_dead_with_their_reason_and_nothing_loops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad_hits, bad_rows = _bad_hits(), _bad_rows()
    with run_stack.running(tmp_path) as stack:
        monkeypatch.setenv("PUBSUB_EMULATOR_HOST", f"127.0.0.1:{stack.running().ports.pubsub}")
        topics = Topics(local_stack.PROJECT)
        for number, (hits, packed) in enumerate(zip(bad_hits, bad_rows, strict=True)):
            topics.publish(resource_names.HITS_TOPIC, *hits)
            topics.publish(resource_names.HITS_TOPIC, *_hits(f"good-{number}"))
            topics.publish(resource_names.ROWS_TOPIC, *packed)
            topics.publish(resource_names.ROWS_TOPIC, *_rows(events(number * 10, 10)))
        count = len(bad_hits)
        wait_for(lambda: metrics(stack, "loader")["pixelpipe_loader_rows_loaded_total"] >= count * 11, 60, "good rows")
        dead = topics.pull(resource_names.DEAD_SUBSCRIPTION, wanted=2 * count)
        found = stack.rows("SELECT event_id, user_id FROM pixelpipe.events_log")
        processor, loader = metrics(stack, "processor"), metrics(stack, "loader")
        most = {name: memory(pid, "VmHWM") for name, pid in stack.pids().items() if name in ("processor", "loader")}
        waiting = [topics.pull(name) for name in (resource_names.HITS_SUBSCRIPTION, resource_names.ROWS_SUBSCRIPTION)]

    ids = sorted(row["event_id"] for row in found if row["event_id"].startswith("event-"))
    assert ids == [f"event-{number:06}" for number in range(count * 10)]
    assert {f"good-{number}" for number in range(count)} < {row["user_id"] for row in found}
    assert len(found) == count * 11

    assert sorted(one.data for one in dead) == sorted(data for data, _ in [*bad_hits, *bad_rows])
    assert all(one.attributes["dead_reason"] for one in dead)
    sources = [one.attributes["dead_source"] for one in dead]
    assert [sources.count(name) for name in (resource_names.HITS_SUBSCRIPTION, resource_names.ROWS_SUBSCRIPTION)] == [
        count,
        count,
    ]

    assert waiting == [[], []]
    again = (
        "processor_messages_redelivered",
        "processor_messages_nacked",
        "loader_messages_redelivered",
        "loader_messages_nacked",
    )
    counted = processor | loader
    assert {name: counted[f"pixelpipe_{name}_total"] for name in again} == dict.fromkeys(again, 0)
    assert max(most.values()) < BOUND_MB, most
