from __future__ import annotations

import json
import socket
import time
from typing import Any

import pyarrow as pa
import pytest
from msgspec import Raw

from services.ops import dead_letter_queue
from services.ops.__main__ import main
from services.ops.dead_letter_queue import DeadLetterQueue
from services.ops.deployment import CommandRefused
from services.shared import hit, identity, resource_names, rows
from services.shared.hit import Hit
from services.shared.publisher import dead_letter
from tests.ops import schemas
from tests.ops.conftest import DEAD_SUBSCRIPTION, Pipeline
from tests.processor.test_log_entry import ENTRY
from tests.topics import Topics

POISON = "zstd: the frame does not say its size"
PACK = "01890000-0000-7000-8000-000000000001"


def hits(*users: str) -> tuple[bytes, dict[str, str]]:
    now = time.time_ns() // 1000
    lines = [
        hit.encode(Hit(identity.uuid7(now), now, "GET", "/pixel.gif", f"user_id={user}", {"referer": "http://x/"}))
        for user in users
    ]
    return hit.pack(lines, PACK)


def a_row(pipeline: Pipeline, **values: Any) -> tuple[bytes, dict[str, str]]:
    arrow = rows.arrow_schema(pipeline.schema.tables["events"])
    full = {"day": schemas.DAY, "event_id": "e1", "received_at": schemas.NOON, **values}
    return rows.pack(pa.RecordBatch.from_pylist([full], arrow), "events", PACK)


def bury(pipeline: Pipeline, message: tuple[bytes, dict[str, str]], reason: str, source: str) -> str:
    return pipeline.bury(*dead_letter(*message, reason=reason, source=source))


def listed(pipeline: Pipeline, *arguments: str) -> list[dict[str, Any]]:
    return pipeline.dead("list", "--json", *arguments).lines


def forwarded_by_pubsub(source: str) -> dict[str, str]:
    """What Pub/Sub's own dead-letter policy adds to a message."""
    return {
        "CloudPubSubDeadLetterSourceSubscription": source,
        "CloudPubSubDeadLetterSourceSubscriptionProject": "a-project",
        "CloudPubSubDeadLetterSourceDeliveryCount": "20",
        "CloudPubSubDeadLetterSourceTopicPublishTime": "2026-03-01T12:00:00.000+00:00",
    }


def test_a_list_shows_every_letter_and_loses_none(pipeline: Pipeline) -> None:
    bury(pipeline, (b"no zstd", {"schema": "hit/1", "count": "3"}), POISON, resource_names.HITS_SUBSCRIPTION)
    data, attributes = hits("ada", "bob")
    pipeline.bury(data, {**attributes, **forwarded_by_pubsub(resource_names.HITS_SUBSCRIPTION)})
    pipeline.bury(b"\x1b[31m stray", {"dead_reason": "bell \x07"})
    first = {one["reason"]: one for one in listed(pipeline)}
    assert len(first) == 3
    ours, theirs, stray = first[POISON], first["given up by Pub/Sub after 20 deliveries"], first["bell \x07"]
    assert (ours["source"], ours["schema"], ours["count"], ours["bytes"]) == (
        resource_names.HITS_SUBSCRIPTION,
        "hit/1",
        "3",
        len(b"no zstd"),
    )
    assert ours["published"].endswith("Z") and ours["id"]
    assert (theirs["source"], theirs["count"]) == (resource_names.HITS_SUBSCRIPTION, "2")
    assert (stray["source"], stray["schema"], stray["count"]) == (None, None, None)
    text = pipeline.dead("list")
    assert {one["id"] for one in first.values()} == {line.split()[0] for line in text.out.splitlines()[1:]}
    assert "\x07" not in text.out and "\\x07" in text.out
    assert "3 dead letters" in text.err
    assert [one["reason"] for one in listed(pipeline, "--reason", "zstd:*")] == [POISON]
    assert {one.message_id for one in pipeline.left(3)} == {one["id"] for one in first.values()}


def test_show_decodes_hits_and_says_what_is_wrong(pipeline: Pipeline) -> None:
    data, attributes = hits("ada", "bob", "cyd")
    wrong = bury(pipeline, (data, {**attributes, "count": "7"}), "count is '7'", resource_names.HITS_SUBSCRIPTION)
    damaged = bury(
        pipeline, (b"\x00\xff", {"schema": "hit/1", "encoding": "zstd"}), POISON, resource_names.HITS_SUBSCRIPTION
    )
    shown = pipeline.dead("show", wrong, "--events", "2").json
    assert shown["problem"] == "count is '7', the pack holds 3 hits"
    assert (shown["found"], [one["query"] for one in shown["events"]]) == (3, ["user_id=ada", "user_id=bob"])
    assert shown["attributes"]["dead_source"] == resource_names.HITS_SUBSCRIPTION
    shown = pipeline.dead("show", damaged).json
    assert shown["problem"].startswith("zstd:")
    assert shown["excerpt_base64"] == "AP8="
    assert "no dead letter '17' was delivered" in pipeline.dead("show", "17", code=1).err
    pipeline.left(2)


def test_show_has_what_was_posted_as_text(pipeline: Pipeline) -> None:
    posted = Hit(PACK, 1, "POST", "/v1/batch", via="segment.batch", body=Raw(b'{"n": 1e999}'), envelope=Raw(b'{"v":2}'))
    letter = bury(pipeline, hit.pack([hit.encode(posted)], PACK), "why", resource_names.HITS_SUBSCRIPTION)
    (event,) = pipeline.dead("show", letter).json["events"]
    assert (event["body"], event["envelope"], event["via"]) == ('{"n": 1e999}', '{"v":2}', "segment.batch")
    pipeline.left(1)


def test_show_decodes_rows_and_log_entries(pipeline: Pipeline) -> None:
    data, attributes = a_row(pipeline, user_id="ada", n=7)
    pack = bury(pipeline, (data, {**attributes, "fingerprint": "0"}), "fingerprint", resource_names.ROWS_SUBSCRIPTION)
    entry = bury(pipeline, (json.dumps(ENTRY).encode(), {}), "entry", resource_names.HITS_SUBSCRIPTION)
    shown = pipeline.dead("show", pack).json
    assert shown["problem"].startswith("fingerprint is '0'")
    assert (shown["found"], shown["columns"]["n"], shown["events"][0]["n"]) == (1, "int64", 7)
    assert shown["events"][0]["received_at"] == "2026-03-01 12:00:00+00:00"
    shown = pipeline.dead("show", entry).json
    assert (shown["problem"], shown["events"][0]["method"]) == (None, "GET")


def test_replay_publishes_the_originals_where_they_came_from_and_then_acknowledges(pipeline: Pipeline) -> None:
    ours, theirs, row = hits("ada"), hits("bob", "cyd"), a_row(pipeline)
    bury(pipeline, ours, "schema is 'hit/1'", resource_names.HITS_SUBSCRIPTION)
    pipeline.bury(theirs[0], {**theirs[1], **forwarded_by_pubsub(resource_names.HITS_SUBSCRIPTION)})
    bury(pipeline, row, "fingerprint", resource_names.ROWS_SUBSCRIPTION)
    plan = pipeline.dead("replay", "--dry-run").json
    assert (plan["found"], plan["to_publish"], plan["published"]) == (3, 3, 0)
    assert {(one["reason"], one["topic"]) for one in plan["dead_letters"]} == {
        ("schema is 'hit/1'", resource_names.HITS_TOPIC),
        ("given up by Pub/Sub after 20 deliveries", resource_names.HITS_TOPIC),
        ("fingerprint", resource_names.ROWS_TOPIC),
    }
    assert pipeline.dead("replay").json == {"found": 3, "published": 3, "skipped": 0, "failed": 0}
    found = {
        (one.data, tuple(sorted(one.attributes.items())))
        for one in pipeline.topics.pull(resource_names.HITS_SUBSCRIPTION, 2)
    }
    mark = {"replayed": "dead"}  # keeps them out of the archive, which has them already
    assert found == {(data, tuple(sorted({**attributes, **mark}.items()))) for data, attributes in (ours, theirs)}
    (again,) = pipeline.topics.pull(resource_names.ROWS_SUBSCRIPTION, 1)
    assert (again.data, dict(again.attributes)) == (row[0], {**row[1], **mark})
    pipeline.left(0)


def test_replay_takes_the_reasons_and_ids_it_is_given(pipeline: Pipeline) -> None:
    for user in ("ada", "bob"):
        bury(pipeline, hits(user), f"odd: {user}", resource_names.HITS_SUBSCRIPTION)
    other = bury(pipeline, hits("cyd"), "else", resource_names.HITS_SUBSCRIPTION)
    assert pipeline.dead("replay", "--id", other).json["published"] == 1
    assert pipeline.dead("replay", "--reason", "odd: a*").json["published"] == 1
    assert "no dead letter" in pipeline.dead("replay", "--id", other, code=1).err
    assert [one.attributes["dead_reason"] for one in pipeline.left(1)] == ["odd: bob"]
    assert len(pipeline.topics.pull(resource_names.HITS_SUBSCRIPTION, 2)) == 2


def test_a_letter_of_unknown_source_stays(pipeline: Pipeline) -> None:
    bury(pipeline, hits("ada"), "odd", "projects/p/subscriptions/another")
    done = pipeline.dead("replay", code=1)
    assert done.json == {"found": 1, "published": 0, "skipped": 0, "failed": 1}
    assert "'another'" in done.err
    named = pipeline.dead("replay", "--hits-subscription", "another")
    assert named.json["published"] == 1


def test_a_letter_is_acknowledged_only_after_it_is_published(pipeline: Pipeline) -> None:
    bury(pipeline, hits("ada"), "odd", resource_names.HITS_SUBSCRIPTION)
    done = pipeline.dead("replay", "--hits-topic", "no-such-topic", code=1)
    assert done.json == {"found": 1, "published": 0, "skipped": 0, "failed": 1}
    assert "not confirmed" in done.err
    assert [one.attributes["dead_reason"] for one in pipeline.left(1)] == ["odd"]


@pytest.mark.slow
def test_what_dies_again_is_not_replayed_for_ever(pipeline: Pipeline) -> None:
    """The processor is not repaired: what is replayed is dead-lettered again while the command still listens."""
    bury(pipeline, (b"no zstd", {"schema": "hit/1", "encoding": "zstd"}), "planted", resource_names.HITS_SUBSCRIPTION)
    with pipeline.processor():
        done = pipeline.dead("replay", "--wait", "15").json
    assert (done["published"], done["failed"]) == (1, 0)
    assert done["skipped"] >= 1
    (left,) = pipeline.left(1)
    assert left.attributes["dead_reason"] != "planted"  # it is the processor's own


def test_drop_wants_a_yes_and_takes_only_what_it_is_given(pipeline: Pipeline) -> None:
    one, _ = (bury(pipeline, hits("ada"), reason, resource_names.HITS_SUBSCRIPTION) for reason in ("one", "two"))
    assert "--yes" in pipeline.dead("drop", one, code=1).err
    done = pipeline.dead("drop", one, "17", "--yes", code=1)
    assert done.json == {"dropped": [one]}
    assert "no dead letter '17'" in done.err
    assert [letter.attributes["dead_reason"] for letter in pipeline.left(1)] == ["two"]


def test_a_subscription_that_is_not_there_is_named(bare: Pipeline) -> None:
    assert f"projects/{bare.project}/subscriptions/{DEAD_SUBSCRIPTION}" in bare.dead("list", code=1).err


def test_more_letters_than_one_answer_holds(pipeline: Pipeline, pubsub_host: str) -> None:
    topics: Topics = pipeline.topics
    path = topics.publisher.topic_path(pipeline.project, resource_names.DEAD_TOPIC)
    data, attributes = dead_letter(*hits("ada"), reason="odd", source=resource_names.HITS_SUBSCRIPTION)
    for future in [topics.publisher.publish(path, data + b"%d" % n, **attributes) for n in range(300)]:
        future.result(60)
    assert pipeline.dead("replay").json == {"found": 300, "published": 300, "skipped": 0, "failed": 0}
    assert len(topics.pull(resource_names.HITS_SUBSCRIPTION, 300)) == 300
    pipeline.left(0)


async def test_a_pubsub_that_does_not_answer_is_none_without_dead_letters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dead_letter_queue, "TIMEOUT", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("PUBSUB_EMULATOR_HOST", f"127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(CommandRefused, match=r"^Pub/Sub takes no connection for 0\.5 s$"):
            async with DeadLetterQueue("p", "s", wait=0.1) as queue:
                assert [one async for one in queue.messages()]


@pytest.mark.parametrize("arguments", [("list",), ("show", "1"), ("replay",), ("drop", "1")])
def test_every_action_wants_a_project(
    bare: Pipeline, arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:

    monkeypatch.delenv("PIPE_PROJECT", raising=False)
    with pytest.raises(SystemExit) as ended:
        main(["dead", *arguments])
    assert ended.value.code == 2
