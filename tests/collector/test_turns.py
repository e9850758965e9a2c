"""A large body does not keep everybody else waiting while it is cleaned, and what takes too much is not stored."""

from __future__ import annotations

import asyncio
import json

import msgspec
import pytest

from services.collector import privacy
from services.shared.guard import TOO_MUCH, TOO_MUCH_SAID
from services.shared.hit import Hit
from services.shared.privacy import Privacy
from services.shared.redact import STEPS
from tests.collector.conftest import Running, Start
from tests.collector.policies import protection

LIKE = Hit("", 1, "POST", "/events")
EVENT = b'{"type":"view","n":%d,"token":"s3cret","title":"' + b"x" * 200 + b'"}'
HOSTILE = b'{"type":"track",%b"z":1}' % (b'"token":"s3cret",' * STEPS)


def _cleaned(number: int) -> bytes:
    return (EVENT % number).replace(b'"token":"s3cret",', b"")


async def test_others_have_a_turn_between_the_items_of_a_body(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(privacy, "_SLICE", 0.0)
    protected = protection(Privacy())
    turns, done = 0, asyncio.Event()

    async def other() -> None:
        nonlocal turns
        while not done.is_set():
            turns += 1
            await asyncio.sleep(0)

    waiting = asyncio.create_task(other())
    _, items = await protected.clean_items(LIKE, [EVENT % number for number in range(1_000)], [""] * 1_000)
    done.set()
    await waiting
    assert turns >= 900
    assert items == [_cleaned(number) for number in range(1_000)]


async def test_others_have_a_turn_while_signals_are_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(privacy, "_SLICE", 0.0)
    looking = asyncio.create_task(protection(Privacy()).signals_of(["consent=denied", EVENT] * 500, b"", ""))
    turns = 0
    while not looking.done():
        turns += 1
        await asyncio.sleep(0)
    assert turns >= 900
    assert await looking == ["consent", ""] * 500


async def test_of_large_bodies_one_is_cleaned_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many there are, between two of their slices everybody else has a turn."""
    monkeypatch.setattr(privacy, "_SLICE", 0.0)
    protected = protection(Privacy())
    ended: list[int] = []

    async def body(number: int) -> None:
        await protected.clean_items(
            LIKE, [EVENT % item for item in range(200 - number * 10)], [""] * (200 - number * 10)
        )
        ended.append(number)

    await asyncio.gather(*map(body, range(5)))
    assert ended == [0, 1, 2, 3, 4], "the shorter ones would end before"


async def test_the_hits_of_large_bodies_keep_their_order_and_end_together_with_small_ones(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(privacy, "_SLICE", 0.0)
    collector = await start()

    async def post(data: bytes) -> int:
        async with collector.http.post(collector.url + "/events", data=data) as reply:
            return reply.status

    large = [b"[%b]" % b",".join(EVENT % (first + number) for number in range(300)) for first in (0, 1_000, 2_000)]
    statuses = await asyncio.gather(*map(post, [*large, EVENT % 5_000]))
    assert statuses == [204] * 4
    hits = sorted(collector.hits(901), key=lambda one: one.at)
    for first in (0, 1_000, 2_000):
        own = [one for one in hits if first <= json.loads(bytes(one.body))["n"] < first + 300]
        assert [one.index for one in own] == list(range(300))
        assert [bytes(one.body) for one in own] == [_cleaned(first + one.index) for one in own]
    assert collector.metric("pixelpipe_collector_pending_bytes") == 0


async def test_a_body_counts_as_pending_while_it_is_cleaned(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(privacy, "_SLICE", 0.0)
    body = b"[%b]" % b",".join(EVENT % number for number in range(800))
    collector = await start(max_pending_bytes=1_100_000)
    original, pending = privacy.Protection._clean_items, []

    async def observed(*given: object) -> object:
        pending.append(collector.metric("pixelpipe_collector_pending_bytes"))
        return await original(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(privacy.Protection, "_clean_items", observed)
    async with collector.http.post(collector.url + "/events", data=body) as reply:
        assert reply.status == 204
    assert pending == [len(body)]


async def test_an_event_of_ours_that_takes_too_much_is_answered_413(collector: Running) -> None:
    async with collector.http.post(collector.url + "/events", data=HOSTILE) as reply:
        assert (reply.status, (await reply.json())["error"]) == (413, TOO_MUCH_SAID)
    async with collector.http.post(
        collector.url + "/events",
        data="token=s3cret&" * (STEPS + 1),
        headers={"Content-Type": "application/x-www-form-urlencoded"},
    ) as reply:
        assert reply.status == 413


async def test_an_item_of_others_that_takes_too_much_is_kept_without_its_values(collector: Running) -> None:
    body = b'{"batch":[{"type":"track","event":"a"},%b,{"type":"track","event":"b"}]}' % HOSTILE
    async with collector.http.post(collector.url + "/v1/batch", data=body) as reply:
        assert reply.status == 200
    hits = sorted(collector.hits(3), key=lambda one: one.index)
    assert [bytes(one.body) for one in hits] == [
        b'{"type":"track","event":"a"}', TOO_MUCH, b'{"type":"track","event":"b"}'
    ]  # fmt: skip
    assert b"s3cret" not in msgspec.json.encode(hits)
