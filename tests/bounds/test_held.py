"""The processor holds so many bytes of hits, however well they were compressed, and then takes no more."""

from __future__ import annotations

import asyncio
from typing import Any

from prometheus_client import CollectorRegistry

from services.processor.metrics import Metrics
from services.processor.worker import Topics, Worker
from services.shared import hit, identity, zstd_frame
from services.shared.hit import Hit
from tests.schemas import SCHEMA

PACK_BYTES = 1_000_000


class _Delivery:
    def __init__(self, number: int, answers: list[int]) -> None:
        self.number, self.answers = number, answers
        hits = [
            Hit(
                id=identity.uuid7(number),
                at=1_800_000_000_000_000,
                method="GET",
                path="/i",
                query=f"user_id=1&x={n:05}",
            )
            for n in range(10)
        ]
        wide = [Hit(**{**_fields(one), "query": one.query + "x" * (PACK_BYTES // 10)}) for one in hits]
        self.data, self.attributes = hit.pack([hit.encode(one) for one in wide], identity.uuid7(number))
        self.id, self.attempt, self.published_us, self.count = str(number), 1, 1, len(hits)

    def ack(self) -> None:
        self.answers.append(self.number)


def _fields(one: Hit) -> dict[str, Any]:
    return {name: getattr(one, name) for name in ("id", "at", "method", "path", "query")}


class _Subscriber:
    subscription = "hits"

    def __init__(self, deliveries: list[_Delivery]) -> None:
        self.left = deliveries

    def __aiter__(self) -> _Subscriber:
        return self

    async def __anext__(self) -> _Delivery:
        if not self.left:
            raise StopAsyncIteration
        return self.left.pop(0)


class _Publisher:
    """Confirms one message at each `confirm()`."""

    def __init__(self) -> None:
        self.asked = 0
        self._may = asyncio.Semaphore(0)

    async def publish(self, *_: object) -> str:
        self.asked += 1
        await self._may.acquire()
        return "1"

    def confirm(self, times: int) -> None:
        for _ in range(times):
            self._may.release()


async def test_hits_are_held_up_to_a_bound_and_taken_again_when_they_are_published() -> None:
    answers: list[int] = []
    publisher, subscriber = _Publisher(), _Subscriber([_Delivery(number, answers) for number in range(12)])
    assert zstd_frame.held(subscriber.left[0].data) > PACK_BYTES > 100 * len(subscriber.left[0].data)
    tables = SCHEMA
    worker = Worker(
        tables,
        publisher,  # type: ignore[arg-type]
        Topics("rows", "dead"),
        Metrics(CollectorRegistry(), tables.tables),
        max_bytes=4 * PACK_BYTES + PACK_BYTES // 2,
    )
    working = asyncio.create_task(worker.run(subscriber))  # type: ignore[arg-type]
    await _settled()
    assert (publisher.asked, len(subscriber.left)) == (4, 7)  # the fifth was taken, and waits as it came
    publisher.confirm(2)
    await _settled()
    assert (publisher.asked, len(answers)) == (6, 2)
    publisher.confirm(12)
    await asyncio.wait_for(working, 10)
    assert sorted(answers) == list(range(12))


async def _settled() -> None:
    """Everything that can go on without an answer of Pub/Sub has done so."""
    for _ in range(200):
        await asyncio.sleep(0)
