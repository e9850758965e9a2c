"""Cloud Storage subscriptions: Avro objects of the documented schema and names, as files, once a limit is reached."""

from __future__ import annotations

import asyncio
import re
import signal
import threading
import time
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fastavro
import pytest
from google.api_core import exceptions
from google.protobuf.duration_pb2 import Duration
from google.pubsub_v1 import types

from emulators.pubsub import cloud_storage
from emulators.pubsub.cloud_storage import CloudStorage
from tests import process
from tests.emulators.pubsub.bench import TOPIC, Bench
from tests.emulators.pubsub_client import Desk
from tests.process import wait_for

AVRO = {"write_metadata": True}
# https://docs.cloud.google.com/pubsub/docs/create-cloudstorage-subscription, "File format".
DOCUMENTED = {
    "type": "record",
    "name": "com.google.pubsub.PubsubMessageWithMetadata",
    "fields": [
        {"name": "subscription_name", "type": "string"},
        {"name": "message_id", "type": "string"},
        {"name": "publish_time", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "attributes", "type": {"type": "map", "values": "string"}},
        {"name": "data", "type": "bytes"},
    ],
}


def config(desk: Desk, **fields: Any) -> dict[str, Any]:
    return {"bucket": desk.project, "avro_config": AVRO, **fields}


def objects(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))


def records(files: list[Path]) -> list[Any]:
    return [record for file in files for record in fastavro.reader(file.open("rb"))]


def until(folder: Path, count: int) -> list[Path]:
    """The objects, once they hold so many messages."""
    wait_for(lambda: len(records(objects(folder))) >= count, 60, f"{count} messages in {folder}")
    return objects(folder)


def test_an_object_holds_whole_messages_in_the_documented_schema(desk: Desk, archive_folder: Path) -> None:
    topic = desk.topic()
    name = desk.subscription(
        topic,
        cloud_storage_config=config(
            desk, filename_prefix="hits/a_", filename_suffix=".avro", filename_datetime_format="YYYY-MM-DD/hh_mm_ssZ"
        ),
    )
    sent = [
        types.PubsubMessage(data=b"\x00\xff", attributes={"schema": "hit/1", "ü": "ö"}),
        types.PubsubMessage(data=b"b"),
        types.PubsubMessage(attributes={"only": "attributes"}),
    ]
    before = time.time()
    ids = list(desk.requests.publish(topic=topic, messages=sent).message_ids)
    (file,) = until(archive_folder / desk.project, 3)
    called = str(file.relative_to(archive_folder / desk.project))
    found = re.fullmatch(r"hits/a_(\d{4}-\d\d-\d\d)/(\d\d)_(\d\d)_(\d\d)Z_[0-9a-f-]+\.avro", called)
    assert found is not None, called
    began = datetime.fromisoformat(f"{found[1]}T{found[2]}:{found[3]}:{found[4]}+00:00").timestamp()
    assert before - 2 < began < time.time()
    with file.open("rb") as opened:
        reader = fastavro.reader(opened)
        schema = {key: value for key, value in dict(reader.writer_schema).items() if not key.startswith("__")}
        got = list(reader)
    assert schema == DOCUMENTED
    assert [one["message_id"] for one in got] == ids
    assert [(one["data"], one["attributes"]) for one in got] == [(one.data, dict(one.attributes)) for one in sent]
    assert {one["subscription_name"] for one in got} == {name}
    assert all(abs(one["publish_time"].timestamp() - before) < 30 for one in got)


def test_without_metadata_the_data_alone_is_written(desk: Desk, archive_folder: Path) -> None:
    topic = desk.topic()
    desk.subscription(topic, cloud_storage_config=config(desk, avro_config={}))
    desk.publish(topic, b"a", b"b")
    files = until(archive_folder / desk.project, 2)
    assert records(files) == [{"data": b"a"}, {"data": b"b"}]
    default = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00_[0-9a-f-]+"
    assert all(re.fullmatch(default, file.name) for file in files)


def test_a_filter_keeps_messages_out_that_have_an_attribute(desk: Desk, archive_folder: Path) -> None:
    topic = desk.topic()
    desk.subscription(topic, "old", filter="NOT attributes:replayed", cloud_storage_config=config(desk))
    desk.subscription(topic, "new", filter='attributes:"replayed"')
    messages = [types.PubsubMessage(data=b"1", attributes={"replayed": ""}), types.PubsubMessage(data=b"2")]
    desk.requests.publish(topic=topic, messages=messages)
    assert [one["data"] for one in records(until(archive_folder / desk.project, 1))] == [b"2"]
    assert [one.message.data for one in desk.pull(desk.subscription_path("new"))] == [b"1"]


def test_a_change_of_the_bucket_holds_for_what_comes_after(desk: Desk, archive_folder: Path) -> None:
    topic = desk.topic()
    name = desk.subscription(topic, cloud_storage_config=config(desk))
    desk.publish(topic, b"a")
    until(archive_folder / desk.project, 1)
    other = config(desk, bucket=f"{desk.project}-2", max_bytes=1000)
    changed = desk.subscriber.update_subscription(
        request={
            "subscription": {"name": name, "topic": topic, "cloud_storage_config": other},
            "update_mask": {"paths": ["cloud_storage_config"]},
        }
    )
    assert changed.cloud_storage_config.bucket == other["bucket"]
    desk.publish(topic, b"b")
    assert [one["data"] for one in records(until(archive_folder / other["bucket"], 1))] == [b"b"]


def test_nobody_pulls_what_is_written_to_a_bucket(desk: Desk) -> None:
    name = desk.subscription(desk.topic(), cloud_storage_config=config(desk))
    with pytest.raises(exceptions.FailedPrecondition, match="subscription type"):
        desk.pull(name)


def test_the_documented_defaults_are_filled_in(desk: Desk) -> None:
    name = desk.subscription(desk.topic(), cloud_storage_config=config(desk))
    found = desk.subscriber.get_subscription(subscription=name)
    assert found.cloud_storage_config.max_duration.total_seconds() == 300
    assert found.ack_deadline_seconds >= 300
    assert found.cloud_storage_config.state == types.CloudStorageConfig.State.ACTIVE


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"bucket": ""}, exceptions.InvalidArgument),
        ({"bucket": "gs://b"}, exceptions.InvalidArgument),
        ({"bucket": "../up"}, exceptions.InvalidArgument),
        ({"filename_prefix": "../up/"}, exceptions.InvalidArgument),
        ({"filename_prefix": "a\n"}, exceptions.InvalidArgument),
        ({"filename_suffix": "x/"}, exceptions.InvalidArgument),
        ({"filename_datetime_format": "YYYY-MM-DD"}, exceptions.InvalidArgument),
        ({"filename_datetime_format": "YY-YYYYMMDDhhmmss"}, exceptions.InvalidArgument),
        ({"filename_datetime_format": "YYYYMMMDDhhmmss"}, exceptions.InvalidArgument),
        ({"filename_datetime_format": "YYYY.MM.DD.hh.mm.ss"}, exceptions.InvalidArgument),
        ({"max_duration": Duration(seconds=59)}, exceptions.InvalidArgument),
        ({"max_duration": Duration(seconds=601)}, exceptions.InvalidArgument),
        ({"max_bytes": 999}, exceptions.InvalidArgument),
        ({"max_messages": 999}, exceptions.InvalidArgument),
        ({"avro_config": {"use_topic_schema": True}}, exceptions.MethodNotImplemented),
        ({"avro_config": None}, exceptions.MethodNotImplemented),
        ({"service_account_email": "a@b"}, exceptions.MethodNotImplemented),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_a_configuration_that_cannot_be_kept_is_refused(
    desk: Desk, fields: dict[str, Any], error: type[Exception]
) -> None:
    topic = desk.topic()
    with pytest.raises(error):
        desk.subscription(topic, cloud_storage_config=config(desk, **fields))
    assert list(desk.publisher.list_topic_subscriptions(topic=topic)) == []


def test_an_object_may_not_be_open_longer_than_the_ack_deadline(desk: Desk) -> None:
    wanted = config(desk, max_duration=Duration(seconds=61))
    with pytest.raises(exceptions.InvalidArgument, match="ack deadline"):
        desk.subscription(desk.topic(), ack_deadline_seconds=60, cloud_storage_config=wanted)


def test_limits_close_objects_and_the_end_writes_the_rest(tmp_path: Path, project: str) -> None:
    """By itself, as production configures it: nothing is written before a limit is reached, or the emulator ends."""
    folder = tmp_path / "archive"
    emulator = process.start("emulators.pubsub", "--port", "0", "--archive-dir", str(folder))
    try:
        with Desk(f"127.0.0.1:{emulator.ready['grpc']}", project) as desk:
            topic = desk.topic()
            for name, limit in (("by-count", {"max_messages": 1000}), ("by-bytes", {"max_bytes": 100_000})):
                desk.subscription(topic, name, cloud_storage_config=config(desk, bucket=name, **limit))
            bodies = [f"{number:0100}".encode() for number in range(2_500)]
            for start in range(0, len(bodies), 500):
                desk.publish(topic, *bodies[start : start + 500])
            assert len(until(folder / "by-count", 2_000)) == 2
            until(folder / "by-bytes", 1_500)
            assert all(len(records([file])) * 100 <= 100_000 for file in objects(folder / "by-bytes"))
    finally:
        assert emulator.stop(signal.SIGTERM) == 0, emulator.output()
        emulator.log.unlink()
    assert [len(records([file])) for file in objects(folder / "by-count")].count(1000) == 2
    for bucket in ("by-count", "by-bytes"):
        assert sorted(one["data"] for one in records(objects(folder / bucket))) == bodies


async def test_the_end_loses_nothing_of_what_is_being_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()
    clock: Any = SimpleNamespace(now=lambda: bench.now)
    storage = CloudStorage(tmp_path, clock, None)
    bench.broker.export = storage.watch
    limited = {"bucket": "archive", "avro_config": AVRO, "max_bytes": 1000}
    bench.subscribe("projects/shop/subscriptions/archive", TOPIC, cloud_storage_config=limited)
    bodies = [f"{number:0100}" for number in range(50)]
    bench.publish(*bodies)
    writing, go_on, write = threading.Event(), threading.Event(), cloud_storage._write

    def slowly(*given: Any) -> None:
        writing.set()
        assert go_on.wait(60)
        write(*given)

    monkeypatch.setattr(cloud_storage, "_write", slowly)
    running = asyncio.create_task(storage.run())
    assert await asyncio.to_thread(writing.wait, 60)
    storage.end()
    go_on.set()
    await running
    await storage.finish()
    assert sorted(one["data"].decode() for one in records(objects(tmp_path))) == bodies


def test_without_a_folder_they_are_refused(project: str) -> None:
    with (
        process.running("emulators.pubsub", "--port", "0") as emulator,
        Desk(f"127.0.0.1:{emulator.ready['grpc']}", project) as desk,
    ):
        topic = desk.topic()
        with pytest.raises(exceptions.MethodNotImplemented, match="--archive-dir"):
            desk.subscription(topic, cloud_storage_config=config(desk))
        name = desk.subscription(topic, ack_deadline_seconds=600)
        changed = {"name": name, "topic": topic, "cloud_storage_config": config(desk)}
        with pytest.raises(exceptions.MethodNotImplemented, match="--archive-dir"):
            desk.subscriber.update_subscription(
                request={"subscription": changed, "update_mask": {"paths": ["cloud_storage_config"]}}
            )


def test_seconds_that_are_none_end_it_with_2(tmp_path: Path) -> None:
    wrong = process.start(
        "emulators.pubsub", "--archive-dir", str(tmp_path), "--archive-seconds", "0", wait_ready=False
    )
    assert wrong.process.wait(60) == 2
    assert "--archive-seconds" in wrong.output()
    wrong.log.unlink()
