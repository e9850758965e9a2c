"""The processor holds so many bytes of hits, however well they were compressed, and then takes no more."""

from __future__ import annotations

import asyncio

from prometheus_client import CollectorRegistry

from services.processor.metrics import Metrics
from services.processor.worker import Topics, Worker
from services.shared import hit, identity, zstd_frame
from services.shared.hit import Hit
from tests.deliveries import Delivery, subscriber
from tests.schemas import SCHEMA

PACK_BYTES = 1_000_000


def _delivery(number: int, answers: list[int]) -> Delivery:
    queries = (f"user_id=1&x={n:05}{'x' * (PACK_BYTES // 10)}" for n in range(10))
    hits = [Hit(identity.uuid7(number), 1_800_000_000_000_000, "GET", "/i", query) for query in queries]
    data, attributes = hit.pack([hit.encode(one) for one in hits], identity.uuid7(number))
    return Delivery(data, attributes, lambda _: answers.append(number))


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
    publisher, hits = _Publisher(), subscriber(*(_delivery(number, answers) for number in range(12)))
    assert zstd_frame.held(hits.left[0].data) > PACK_BYTES > 100 * len(hits.left[0].data)
    worker = Worker(
        SCHEMA,
        publisher,  # type: ignore[arg-type]
        Topics("rows", "dead"),
        Metrics(CollectorRegistry(), SCHEMA.tables),
        max_bytes=4 * PACK_BYTES + PACK_BYTES // 2,
    )
    working = asyncio.create_task(worker.run(hits))
    await _settled()
    assert (publisher.asked, len(hits.left)) == (4, 7)  # the fifth was taken, and waits as it came
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
