"""`replay --archive`: hits of the archive are published again, counted once, and can fill a column that is new."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import fastavro
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ops import archive
from services.ops.archive import BrokenObject
from services.provision import inventory
from services.provision.config import Config
from services.provision.resource import settle
from services.shared import hit, identity, resource_names
from services.shared.hit import Hit
from services.shared.resource_names import topic_path
from services.shared.tally import Tally
from tests.ops import cloud_storage, schemas
from tests.ops.conftest import Pipeline
from tests.process import wait_for

EVENTS = "SELECT COUNT(*) FROM pixelpipe.events"
LOGGED = "SELECT COUNT(*) FROM pixelpipe.events_log"
DAY_US = 86_400_000_000
AT = time.time_ns() // 1000 - 3 * DAY_US  # of a day that compaction finds closed
SINCE = datetime.fromtimestamp(AT / 1e6 - 3600, UTC).isoformat()
SCHEMA = fastavro.parse_schema(
    {
        "type": "record",
        "namespace": "com.google.pubsub",
        "name": "PubsubMessageWithMetadata",
        "fields": [
            {"name": "subscription_name", "type": "string"},
            {"name": "message_id", "type": "string"},
            {"name": "publish_time", "type": {"type": "long", "logicalType": "timestamp-micros"}},
            {"name": "attributes", "type": {"type": "map", "values": "string"}},
            {"name": "data", "type": "bytes"},
        ],
    }
)


def a_hit(name: str, at: int = AT) -> Hit:
    return Hit(identity.uuid7(at), at, "GET", "/i", f"user_id={name}&n=1&extra=of-{name}")


def packed(*hits: Hit) -> tuple[bytes, dict[str, str]]:
    return hit.pack([hit.encode(one) for one in hits], identity.uuid7(AT))


def store(folder: Path, *messages: tuple[bytes, dict[str, str]], codec: str = "null", began: float = AT / 1e6) -> Path:
    """An object as Pub/Sub writes it, begun then; its file."""
    when = datetime.fromtimestamp(began, UTC)
    file = folder / f"{when:%Y-%m-%d}" / f"{when:%H_%M_%SZ}_{uuid.uuid4().hex}.avro"
    file.parent.mkdir(parents=True, exist_ok=True)
    records = [
        {
            "subscription_name": "projects/p/subscriptions/s",
            "message_id": str(number),
            "publish_time": int(began * 1e6),
            "attributes": attributes,
            "data": data,
        }
        for number, (data, attributes) in enumerate(messages)
    ]
    with file.open("wb") as out:
        fastavro.writer(out, SCHEMA, records, codec=codec, sync_interval=200)
    return file


def published(pipeline: Pipeline, count: int) -> list[Any]:
    """The messages of the topic of hits, of which there must be so many."""
    return pipeline.topics.pull("seen", count)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "archive"
    made.mkdir()
    return made


@pytest.fixture
def watched(pipeline: Pipeline) -> Pipeline:
    """With a subscription `seen` of hits, in which tests look at what a replay publishes."""
    pipeline.topics.subscribe(resource_names.HITS_TOPIC, "seen")
    return pipeline


def replay(pipeline: Pipeline, place: object, *arguments: str, since: str = SINCE, code: int = 0) -> Any:
    return pipeline.ops("replay", "--archive", str(place), "--since", since, *arguments, code=code)


# The whole stack


@pytest.fixture
def archived(bare: Pipeline, archive_folder: Path) -> tuple[Pipeline, Path]:
    """A project whose hits the Pub/Sub emulator archives, and the folder in which it does."""
    provision(bare, schemas.text())
    return bare, archive_folder / bare.project


def provision(pipeline: Pipeline, text: str) -> None:
    pipeline.file.write_text(text)
    cfg = Config(pipeline.project, archive=f"gs://{pipeline.project}")
    list(settle(inventory.resources(cfg, pipeline.schema), dry_run=False))


def collected(pipeline: Pipeline, folder: Path, packs: Sequence[Sequence[Hit]], entry: bytes = b"") -> int:
    """Publish packs, and wait for their rows and for the archive to hold them; how many events they are."""
    for hits in packs:
        pipeline.topics.publish(resource_names.HITS_TOPIC, *packed(*hits))
    if entry:
        pipeline.topics.publish(resource_names.HITS_TOPIC, entry, {})
    events = sum(map(len, packs)) + bool(entry)
    pipeline.until(EVENTS, events)
    wait_for(lambda: archived_messages(folder) == len(packs) + bool(entry), 60, "the archive to hold them")
    return events


def archived_messages(folder: Path) -> int:
    return sum(len(list(fastavro.reader(file.open("rb")))) for file in folder.rglob("*.avro"))


def log_entry() -> bytes:
    at = datetime.fromtimestamp(AT / 1e6, UTC).isoformat().replace("+00:00", "Z")
    request = {"requestUrl": "https://x/i?user_id=entry&n=1&extra=of-entry", "requestMethod": "GET", "status": 200}
    return json.dumps({"insertId": "abc", "logName": "l", "timestamp": at, "httpRequest": request}).encode()


def test_a_replay_of_the_archive_counts_once_and_is_not_archived_again(archived: tuple[Pipeline, Path]) -> None:
    pipeline, folder = archived
    packs = [[a_hit(f"user-{number}-{pack}") for number in range(10)] for pack in range(3)]
    with pipeline.services("processor", "loader"):
        events = collected(pipeline, folder, packs, log_entry())
        before = pipeline.rows("SELECT * FROM pixelpipe.events ORDER BY event_id")
        plan = replay(pipeline, folder, "--dry-run").json
        assert (plan["dry_run"], plan["packs"], plan["hits"], plan["published"]) == (True, 4, events, 0)
        done = replay(pipeline, folder).json
        assert (done["packs"], done["hits"], done["published"]) == (4, events, events)
        assert (done["unreadable"], done["broken"], done["left"]) == (0, [], 0)
        pipeline.until(LOGGED, 2 * events)
        assert replay(pipeline, folder).json["hits"] == events  # no more than before
        pipeline.until(LOGGED, 3 * events)
    assert pipeline.rows("SELECT * FROM pixelpipe.events ORDER BY event_id") == before
    assert archived_messages(folder) == 4
    assert pipeline.number("SELECT COUNT(*) FROM pixelpipe.rejects_log") == 0


NEW = "extra: {type: STRING, from: param.extra}"


@pytest.mark.slow
def test_a_new_column_is_filled_where_the_replay_replaces(archived: tuple[Pipeline, Path]) -> None:
    """Beside the old rows the new ones would be conflicts: one key, another value. So the old ones go first."""
    pipeline, folder = archived
    packs = [[a_hit(f"user-{number}-{pack}") for number in range(10)] for pack in range(2)]
    later = a_hit("later", AT + 2 * 3_600_000_000)
    until = datetime.fromtimestamp(AT / 1e6 + 3600, UTC).isoformat()
    with pipeline.services("processor", "loader"):
        events = collected(pipeline, folder, [*packs, [later]], log_entry()) - 1
    provision(pipeline, schemas.text(NEW))
    with pipeline.services("processor", "loader"):
        dry = replay(pipeline, folder, "--until", until, "--replace", "--dry-run").json
        assert (dry["to_delete"], dry["hits"], dry["published"]) == (events, events, 0)
        refused = replay(pipeline, folder, "--until", until, "--replace", code=1)
        assert "--yes" in refused.err
        assert pipeline.number(LOGGED) == events + 1
        done = replay(pipeline, folder, "--until", until, "--replace", "--yes")
        assert (done.json["deleted"], done.json["published"]) == (events, events)
        assert "FOR SYSTEM_TIME AS OF" in done.err
        pipeline.until(EVENTS, events + 1)
    found = {row["user_id"]: row for row in pipeline.rows("SELECT * FROM pixelpipe.events")}
    assert {name: row["extra"] for name, row in found.items()} == {
        name: f"of-{name}" if name != "later" else None for name in found
    }
    assert {one.id for pack in packs for one in pack} < {row["event_id"] for row in found.values()}
    assert pipeline.number(LOGGED) == events + 1
    day = datetime.fromtimestamp(AT / 1e6, UTC).date().isoformat()
    counted = pipeline.ops("compact", "--date", day, "--dry-run").lines[-1]
    assert (counted["conflicts"]["events"], counted["duplicates"]["events"]) == (0, 0)


@pytest.mark.slow
def test_without_replacing_a_new_column_makes_conflicts(archived: tuple[Pipeline, Path]) -> None:
    """What README warns of."""
    pipeline, folder = archived
    with pipeline.services("processor", "loader"):
        collected(pipeline, folder, [[a_hit("ada"), a_hit("bob")]])
    provision(pipeline, schemas.text(NEW))
    with pipeline.services("processor", "loader"):
        replay(pipeline, folder)
        pipeline.until(LOGGED, 4)
    assert pipeline.number(EVENTS) == 2
    day = datetime.fromtimestamp(AT / 1e6, UTC).date().isoformat()
    assert pipeline.ops("compact", "--date", day, "--dry-run").lines[-1]["conflicts"]["events"] == 2


# What is published


def test_a_pack_comes_as_it_was_under_a_new_id(watched: Pipeline, folder: Path) -> None:
    data, attributes = packed(a_hit("ada"), a_hit("bob"))
    store(folder, (data, {**attributes, "traceparent": "00-1-2-01", "other": "kept"}))
    replay(watched, folder)
    (message,) = published(watched, 1)
    assert message.data == data
    got = dict(message.attributes)
    assert got.pop("pack") != attributes["pack"]
    assert got == {**{name: attributes[name] for name in ("schema", "encoding", "count")}} | {
        "other": "kept",
        "replayed": "archive",
        "original_pack": attributes["pack"],  # whose receipt counts once
    }


def test_only_hits_of_the_span_are_published(watched: Pipeline, folder: Path) -> None:
    hour = 3_600_000_000
    hits = [a_hit(f"at-{number}", AT + number * hour) for number in range(-2, 4)]
    store(folder, packed(*hits), packed(hits[0]), began=AT / 1e6 + 5 * 3600)
    first, last = (datetime.fromtimestamp((AT + number * hour) / 1e6, UTC).isoformat() for number in (0, 2))
    done = replay(watched, folder, "--until", last, since=first).json
    assert (done["packs"], done["hits"], done["published"]) == (1, 2, 2)
    (message,) = published(watched, 1)
    assert [one.id for one in hit.unpack(message.data, message.attributes)] == [hits[2].id, hits[3].id]


def test_a_body_with_a_carriage_return_is_one_line(watched: Pipeline, folder: Path) -> None:
    posted = Hit(identity.uuid7(AT), AT, "POST", "/events", body=msgspec.Raw(b'{"user_id":\r"ada"}'))
    store(folder, packed(posted, a_hit("too-late", AT + DAY_US)))
    until = datetime.fromtimestamp(AT / 1e6 + 60, UTC).isoformat()
    assert replay(watched, folder, "--until", until).json["published"] == 1
    (message,) = published(watched, 1)
    assert [one.id for one in hit.unpack(message.data, message.attributes)] == [posted.id]


def test_what_waited_for_days_is_found_in_a_later_object(watched: Pipeline, folder: Path) -> None:
    store(folder, packed(a_hit("spooled")), began=AT / 1e6 + 2 * 86_400)
    store(folder, packed(a_hit("older")), began=AT / 1e6 - 2 * 86_400)  # what it holds was published before
    until = datetime.fromtimestamp(AT / 1e6 + 60, UTC).isoformat()
    done = replay(watched, folder, "--until", until).json
    assert (done["objects"], done["published"]) == (1, 1)


def test_objects_of_every_codec_are_read(watched: Pipeline, folder: Path) -> None:
    for codec in ("null", "deflate", "snappy"):
        store(folder, packed(a_hit(codec)), codec=codec)
    assert replay(watched, folder).json["published"] == 3


def test_it_goes_on_behind_the_last_object(watched: Pipeline, folder: Path) -> None:
    files = [store(folder, packed(a_hit(str(number))), began=AT / 1e6 + number) for number in range(4)]
    names = [str(file.relative_to(folder)) for file in files]
    done = replay(watched, folder, "--resume-after", names[1]).json
    assert (done["objects"], done["resume_after"]) == (2, names[3])
    assert len(published(watched, 2)) == 2


def test_unconfirmed_packs_stop_it_and_say_where_to_go_on(watched: Pipeline, folder: Path) -> None:
    files = [store(folder, packed(a_hit(str(number))), began=AT / 1e6 + number) for number in range(3)]
    watched.topics.publisher.delete_topic(topic=topic_path(watched.project, resource_names.HITS_TOPIC))
    done = replay(watched, folder, code=1)
    assert (done.json["published"], done.json["left"], done.json["resume_after"]) == (0, 3, None)
    assert f"stopped in {files[0].relative_to(folder)}" in done.err and "not confirmed" in done.err


def test_a_torn_object_costs_itself_and_is_named(watched: Pipeline, folder: Path) -> None:
    good = [store(folder, packed(a_hit("a"))), store(folder, packed(a_hit("b")), began=AT / 1e6 + 9)]
    torn = store(folder, *(packed(a_hit(str(number))) for number in range(20)), began=AT / 1e6 + 3)
    torn.write_bytes(torn.read_bytes()[:-25])
    empty = store(folder, packed(a_hit("c")), began=AT / 1e6 + 4)
    empty.write_bytes(b"")
    other = store(folder, began=AT / 1e6 + 5)
    with other.open("wb") as out:
        plain = {"type": "record", "name": "PubsubMessage", "fields": [{"name": "data", "type": "bytes"}]}
        fastavro.writer(out, plain, [{"data": b"x"}])
    (folder / good[0].parent.name / "notes.txt").write_text("not an object of ours")
    done = replay(watched, folder, code=1)
    assert done.json["broken"] == [str(file.relative_to(folder)) for file in (torn, empty, other)]
    assert "messages with metadata" in done.err
    assert done.json["objects"] == 5
    messages = published(watched, done.json["packs"])
    hits = [one for message in messages for one in hit.unpack(message.data, message.attributes)]
    names = {one.query.partition("&")[0] for one in hits}
    assert {"user_id=a", "user_id=b"} <= names
    refused = replay(watched, folder, "--replace", "--yes", code=1)
    assert "nothing was deleted" in refused.err


def test_a_message_that_nobody_can_read_is_counted_and_named(watched: Pipeline, folder: Path) -> None:
    data, attributes = packed(a_hit("a"))
    flipped = bytearray(data)
    flipped[len(data) // 2] ^= 0xFF
    file = store(
        folder,
        (bytes(flipped), attributes),
        (data, {**attributes, "schema": "hit/2"}),
        (b"no log entry", {}),
        (data, attributes),
        (data, {**attributes, "replayed": "rejects"}),
    )
    done = replay(watched, folder, code=1)
    assert (done.json["unreadable"], done.json["published"]) == (3, 1)
    for number in range(3):
        assert f"{file.relative_to(folder)}: message {number}: " in done.err


def test_a_bucket_is_read_over_http_with_an_object_viewer_s_rights(watched: Pipeline, tmp_path: Path) -> None:
    for number in range(5):
        store(tmp_path / "my-bucket" / "raw", packed(a_hit(str(number))), began=AT / 1e6 + number)
    calls: list[str] = []
    with cloud_storage.serving(tmp_path, calls) as address:
        watched.env = {**watched.env, archive.EMULATOR: address}
        done = replay(watched, "gs://my-bucket/raw/").json
        assert (done["objects"], done["published"]) == (5, 5)
        nothing = replay(watched, "gs://my-bucket/other", code=1)
    assert "no objects of that time" in nothing.err
    assert set(calls) == {"list", "read"}


# Replacing


def rows_of(pipeline: Pipeline, *hits: Hit) -> None:
    pipeline.load(
        "events",
        [
            {
                "day": datetime.fromtimestamp(one.at / 1e6, UTC).date().isoformat(),
                "event_id": one.id,
                "received_at": datetime.fromtimestamp(one.at // 1_000_000, UTC).isoformat(),
                "user_id": "old",
            }
            for one in hits
        ],
    )


def test_rows_stay_that_the_archive_does_not_hold(watched: Pipeline, folder: Path) -> None:
    hour = 3_600_000_000
    hits = [a_hit(str(number), AT + number // 2 * hour) for number in range(6)]
    rows_of(watched, *hits)
    half = packed(hits[2])
    store(folder, packed(*hits[:2]), half, packed(*hits[4:]))
    store(folder, half)  # delivered again: twice in the archive, it is not twice as much
    missing = datetime.fromtimestamp((AT + hour) / 1e6, UTC)
    refused = replay(watched, folder, "--replace", "--yes", code=1)
    assert f"{missing:%Y-%m-%dT%H:00Z} (2 events, 1 archived hits)" in refused.err
    assert refused.err.count("archived hits)") == 1
    assert watched.number(LOGGED) == 6
    until = datetime.fromtimestamp(AT / 1e6 + 60, UTC).isoformat()
    done = replay(watched, folder, "--replace", "--yes", "--until", until).json
    assert (done["deleted"], done["hits"]) == (2, 2)
    assert watched.number(LOGGED) == 4


def test_what_a_collector_counted_is_sent_again_and_is_no_hit_that_the_archive_holds(
    watched: Pipeline, folder: Path
) -> None:
    hits = [a_hit("ada"), a_hit("bob")]
    rows_of(watched, *hits)
    told = Hit(identity.uuid7(AT), AT, "GET", "/tally", tally=Tally(identity.uuid7(AT), "collector"))
    counted = hit.pack([hit.encode(told)], identity.uuid7(AT), tally=True)
    store(folder, packed(hits[0]), counted)
    assert "(2 events, 1 archived hits)" in replay(watched, folder, "--replace", "--yes", code=1).err
    done = replay(watched, folder).json
    assert (done["packs"], done["hits"], done["published"]) == (1, 1, 1)
    path = resource_names.subscription_path(watched.project, "seen")
    sent = watched.topics.subscriber.pull(subscription=path, max_messages=10, timeout=60).received_messages
    assert sorted(hit.TALLY in one.message.attributes for one in sent) == [False, True]


def test_people_who_were_forgotten_do_not_come_back_unasked(watched: Pipeline, folder: Path) -> None:
    store(folder, packed(a_hit("ada")))
    receipt = {"erased_by": "ada", "people": 1, "salt": "00", "who": "[]", "deleted": "{}", "dead_letters": 0}
    receipt |= {"remains": "[]", "follows": "[]", "complete": True}
    for days, code in ((9, 0), (1, 1)):
        erased_at = datetime.now(UTC) - timedelta(days=days)
        when = {"erased_at": erased_at.isoformat(), "day": erased_at.date().isoformat(), "erasure_id": str(days)}
        watched.load("erasures", [{**receipt, **when}])
        done = replay(watched, folder, code=code)
    assert "1 receipts in `erasures`" in done.err and "`pixelpipe forget`" in done.err
    assert replay(watched, folder, "--yes").json["published"] == 1


# Options


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--archive", "."), "--archive needs --since"),
        (("--archive", ".", "--since", "2026-03-01", "--until", "2026-03-01"), "--until is not after --since"),
        (("--archive", ".", "--since", "2026-03-01", "--reason", "x"), "--reason is of the rejects"),
        (("--archive", ".", "--since", "2026-03-01", "--all"), "--all is of the rejects"),
        (("--archive", ".", "--since", "2026-03-01", "--replace", "--resume-after", "x"), "leave --replace out"),
        (("--replace",), "--replace goes with --archive only"),
        (("--archive", "s3://x"), "use gs://BUCKET"),
        (("--archive", "no-such-folder"), "there is no such folder"),
    ],
    ids=lambda value: "" if isinstance(value, str) else " ".join(value),
)
def test_options_that_do_not_go_together_are_refused(bare: Pipeline, arguments: tuple[str, ...], said: str) -> None:
    assert said in " ".join(bare.ops("replay", *arguments, code=2).err.split())


def test_a_folder_without_objects_of_that_time_is_refused(pipeline: Pipeline, folder: Path) -> None:
    assert "no objects of that time" in replay(pipeline, folder, code=1).err


# Damage


@pytest.fixture(scope="module")
def damaged(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    """An object, and its content."""
    file = store(tmp_path_factory.mktemp("damaged"), *(packed(a_hit(str(number))) for number in range(3)))
    return file, file.read_bytes()


@given(st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=4), st.floats(0, 1))
def test_no_damage_to_an_object_breaks_the_reader(
    damaged: tuple[Path, bytes], changes: list[tuple[float, int]], kept: float
) -> None:
    file, whole = damaged
    content = bytearray(whole)
    for place, value in changes:
        content[int(place * (len(content) - 1))] = value
    file.write_bytes(content[: int(kept * len(content))])
    since = datetime.fromtimestamp(AT / 1e6 - 60, UTC)
    found = archive.Archive(str(file.parent.parent))
    (one,) = found.objects(since, since + timedelta(hours=1))
    with suppress(BrokenObject):
        assert len(list(found.messages(one))) <= 3
