"""`tail` shows what passes, by a subscription of its own that is gone afterwards."""

from __future__ import annotations

import argparse
import asyncio
import json
import re
from typing import Any

import pyarrow as pa
import pytest
from google.pubsub_v1 import SubscriberAsyncClient
from msgspec import Raw

from services.ops import tail
from services.ops.__main__ import parser
from services.ops.deployment import CommandRefused
from services.shared import hit, identity, resource_names, rows
from services.shared.hit import Hit
from services.shared.resource_names import topic_path
from services.shared.tally import Tally
from tests.ops.conftest import Pipeline

ITEM = b'{"type":"track","event":"a","userId":"ada","messageId":"m-17"}'
NOW = 1_790_000_000_000_000


def options(pipeline: Pipeline, *arguments: str) -> argparse.Namespace:
    return parser(["tail"]).parse_args(["tail", *arguments, "--project", pipeline.project])


def subscriptions(pipeline: Pipeline, topic: str) -> list[str]:
    return list(pipeline.topics.publisher.list_topic_subscriptions(topic=topic_path(pipeline.project, topic)))


async def tailed(pipeline: Pipeline, topic: str, messages: list[Any], *arguments: str) -> None:
    """Run it, publish these once it listens, and wait until it ends by itself."""
    before = subscriptions(pipeline, topic)
    running = asyncio.create_task(tail.run(options(pipeline, *arguments)))
    while len(subscriptions(pipeline, topic)) == len(before):
        await asyncio.sleep(0.01)
        assert not running.done() or await running == 0
    for data, attributes in messages:
        pipeline.topics.publish(topic, data, attributes)
    assert await asyncio.wait_for(running, 60) == 0
    assert subscriptions(pipeline, topic) == before


def pack(*queries: str) -> tuple[bytes, dict[str, str]]:
    made = [
        Hit(identity.uuid7(NOW), NOW, "GET", "/pixel.gif", query, {"host": "t.example.com"}, "192.0.2.0")
        for query in queries
    ]
    return hit.pack([hit.encode(one) for one in made], identity.uuid7(NOW))


async def test_hits_are_shown_and_a_pack_delivered_again_once(
    pipeline: Pipeline, capsys: pytest.CaptureFixture[str]
) -> None:
    counted = Hit(identity.uuid7(NOW), NOW, "GET", "/tally", tally=Tally("c1", "collector"))
    tally = hit.pack([hit.encode(counted)], identity.uuid7(NOW), tally=True)  # no hit: what a collector counted
    again = pack("user_id=ada&type=view", "user_id=\x1b[31mbob")
    await tailed(
        pipeline, resource_names.HITS_TOPIC, [tally, again, again, pack("user_id=cid")], "hits", "--count", "3"
    )
    first, second, third = capsys.readouterr().out.splitlines()
    assert "GET /pixel.gif?user_id=ada&type=view" in first and "native" in first
    assert "\\x1b[31mbob" in second
    assert "user_id=cid" in third


async def test_a_hit_is_shown_with_the_id_of_its_event(pipeline: Pipeline, capsys: pytest.CaptureFixture[str]) -> None:
    item = Hit(identity.uuid7(NOW), NOW, "POST", "/v1/batch", via="segment.batch", body=Raw(ITEM))
    data = hit.pack([hit.encode(item)], identity.uuid7(NOW))
    messages = [pack("event_id=order-17&user_id=ada"), data, pack("user_id=ada")]
    await tailed(pipeline, resource_names.HITS_TOPIC, messages, "--count", "3")
    own, theirs, none = capsys.readouterr().out.splitlines()
    assert re.search(r"  order-17  \(hit 01[0-9a-f-]{34}\)  GET ", own)
    assert f"  m-17  (hit {item.id})  POST " in theirs
    assert "(hit " not in none
    await tailed(pipeline, resource_names.HITS_TOPIC, messages[1:2], "--count", "1", "--json")
    shown = json.loads(capsys.readouterr().out)
    assert (shown["event_id"], shown["id"]) == ("m-17", item.id)


async def test_what_a_collector_counted_is_no_hit(pipeline: Pipeline, capsys: pytest.CaptureFixture[str]) -> None:
    told = Hit(identity.uuid7(NOW), NOW, "GET", "/tally", tally=Tally(identity.uuid7(NOW), "collector"))
    counted = hit.pack([hit.encode(told)], identity.uuid7(NOW), tally=True)
    await tailed(pipeline, resource_names.HITS_TOPIC, [counted, pack("user_id=ada")], "hits", "--count", "1")
    assert "user_id=ada" in capsys.readouterr().out


async def test_rows_of_one_kind_are_shown_that_hold_a_text(
    pipeline: Pipeline, capsys: pytest.CaptureFixture[str]
) -> None:
    def message(table: str, *users: str) -> tuple[bytes, dict[str, str]]:
        batch = pa.RecordBatch.from_pydict({"user_id": list(users), "n": [None] * len(users)})
        return rows.pack(batch, table, identity.uuid7(NOW))

    messages = [
        message("tallies", "ada"),
        message("rejects", "ada"),
        message("events", "bob", "ada"),
        (b"no arrow", {"table": "events"}),
    ]
    await tailed(pipeline, resource_names.ROWS_TOPIC, messages, "rows", "--json", "--grep", "ada", "--count", "1")
    assert json.loads(capsys.readouterr().out) == {"table": "events", "user_id": "ada", "n": None}
    await tailed(pipeline, resource_names.ROWS_TOPIC, messages, "rejects", "--count", "1")
    assert capsys.readouterr().out == "rejects  user_id=ada\n"


async def test_what_cannot_be_read_is_a_line(pipeline: Pipeline, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = [(b"torn", {"schema": "hit/1", "encoding": "zstd", "count": "1", "pack": "x"})]
    await tailed(pipeline, resource_names.HITS_TOPIC, wrong, "--count", "1")
    assert capsys.readouterr().out.startswith("a message that cannot be read: ")


async def test_it_ends_after_so_long_and_leaves_nothing(pipeline: Pipeline) -> None:
    before = subscriptions(pipeline, resource_names.HITS_TOPIC)
    assert await tail.run(options(pipeline, "--seconds", "0.2")) == 0
    assert subscriptions(pipeline, resource_names.HITS_TOPIC) == before


async def test_it_leaves_nothing_where_it_ends_while_its_subscription_is_made(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, create = asyncio.Event(), SubscriberAsyncClient.create_subscription

    async def slowly(*arguments: Any, **options: Any) -> Any:
        found = await create(*arguments, **options)
        made.set()
        await asyncio.sleep(0.5)
        return found

    monkeypatch.setattr(SubscriberAsyncClient, "create_subscription", slowly)
    before = subscriptions(pipeline, resource_names.HITS_TOPIC)
    assert await tail.run(options(pipeline, "--seconds", "0.1")) == 0
    assert subscriptions(pipeline, resource_names.HITS_TOPIC) == before
    made.clear()
    running = asyncio.create_task(tail.run(options(pipeline)))
    await made.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert subscriptions(pipeline, resource_names.HITS_TOPIC) == before


async def test_a_topic_that_is_not_there_is_named(pipeline: Pipeline) -> None:
    with pytest.raises(CommandRefused, match=r"there is no topic .+/no-such-topic"):
        await tail.run(options(pipeline, "--hits-topic", "no-such-topic"))
