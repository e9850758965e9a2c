"""The drainer on disks that fail: it goes on, lets live traffic go on, and publishes each pack once."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from errno import EMFILE
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from services.collector.breaker import CLOSED, HALF_OPEN, OPEN
from services.collector.drainer import Drainer
from services.collector.metrics import Metrics
from services.collector.outbox import Outbox
from services.collector.spool import Spool
from services.shared import hit
from services.shared.background import Background, BackgroundTaskEnded
from services.shared.hit import Hit
from services.shared.publisher import Unconfirmed
from tests.collector.disks import BROKEN, READ_ONLY, FailingDisk
from tests.waiting import until

LINE = hit.encode(Hit(id="a", at=1, method="GET", path="/i"))
DRAINED = "pixelpipe_collector_spool_drained_hits_total"


class Switch:
    """A Pub/Sub that is there or not; `hold` keeps publishes waiting."""

    def __init__(self) -> None:
        self.up = True
        self.hold = asyncio.Event()
        self.hold.set()
        self.packs: Counter[str] = Counter()
        self.asked = 0

    async def publish(self, _topic: str, data: bytes, attributes: Mapping[str, str]) -> str:
        self.asked += 1
        await self.hold.wait()
        if not self.up:
            raise Unconfirmed("away")
        assert len(hit.unpack(data, attributes)) == 1
        self.packs[attributes["pack"]] += 1
        return "1"


@dataclass
class Parts:
    pubsub: Switch
    disk: FailingDisk
    spool: Spool
    outbox: Outbox
    background: Background
    registry: CollectorRegistry

    async def put(self) -> None:
        await asyncio.wait_for(self.outbox.put([LINE]), 10)

    async def spooled(self, count: int) -> None:
        """Bring so many packs into the spool, in an outage that ends."""
        self.pubsub.up = False
        for _ in range(count):
            await self.put()
        assert (self.spool.packs, self.outbox.breaker.state) == (count, OPEN)


@asynccontextmanager
async def _parts(folder: Path) -> AsyncIterator[Parts]:
    pubsub, disk, registry = Switch(), FailingDisk(folder), CollectorRegistry()
    metrics = Metrics(registry)
    async with (
        Background() as background,
        Spool(disk, 10**7, metrics, background, scan_seconds=0.02) as spool,
        Outbox(
            pubsub, "hits", spool, metrics, background, linger_seconds=0, in_flight=4, max_pending_bytes=10**7
        ) as outbox,  # type: ignore[arg-type]
    ):
        yield Parts(pubsub, disk, spool, outbox, background, registry)


def _drainer(parts: Parts, shutdown_timeout: float = 0, fast: float = 5) -> Drainer:
    return Drainer(
        parts.spool,
        parts.pubsub,  # type: ignore[arg-type]
        "hits",
        parts.outbox.breaker,
        parts.background,
        fast=fast,
        shutdown_timeout=shutdown_timeout,
    )


async def test_packs_that_cannot_be_removed_are_published_and_counted_once(tmp_path: Path) -> None:
    async with _parts(tmp_path) as parts:
        await parts.spooled(40)
        parts.disk.fails["remove"] = READ_ONLY
        parts.pubsub.up = True
        async with _drainer(parts):
            await until(lambda: parts.spool.packs == 0, "an empty spool")
            assert parts.outbox.breaker.state == CLOSED
            await parts.put()
    assert len(parts.pubsub.packs) == 41
    assert set(parts.pubsub.packs.values()) == {1}
    assert parts.registry.get_sample_value(DRAINED) == 40


@pytest.mark.parametrize("error", [OSError(EMFILE, "Too many open files"), TimeoutError()], ids=["files", "hangs"])
async def test_while_the_spool_cannot_be_read_live_traffic_finds_out_whether_pubsub_answers(
    tmp_path: Path, error: OSError
) -> None:
    async with _parts(tmp_path) as parts:
        await parts.spooled(20)
        parts.disk.fails |= {"read": error, "write": READ_ONLY}
        parts.pubsub.up = True
        async with _drainer(parts):

            async def taken() -> bool:
                try:
                    await parts.put()
                except Exception:  # noqa: BLE001 - not yet: neither Pub/Sub nor the disk
                    return False
                return True

            await until(taken, "a hit that is taken")
            assert parts.outbox.breaker.state == CLOSED
            assert parts.spool.packs == 20
            parts.disk.fails.clear()
            await until(lambda: parts.spool.packs == 0, "an empty spool")
            await parts.put()
    assert set(parts.pubsub.packs.values()) == {1}


async def test_packs_that_cannot_be_read_cost_no_others_and_keep_no_breaker_open(tmp_path: Path) -> None:
    async with _parts(tmp_path) as parts:
        await parts.spooled(20)
        parts.disk.fails |= {"read": BROKEN, "rename": BROKEN, "write": READ_ONLY}
        async with _drainer(parts):
            await until(lambda: parts.spool.packs == 0, "the drainer to try them")
            parts.pubsub.up = True
            parts.disk.fails.clear()
            await until(lambda: len(parts.pubsub.packs) == 20, "all packs")
            await until(lambda: parts.outbox.breaker.state == CLOSED, "a closed breaker")
    assert set(parts.pubsub.packs.values()) == {1}


async def test_a_drainer_that_is_cancelled_while_it_tries_does_not_leave_the_breaker_half_open(tmp_path: Path) -> None:
    async with _parts(tmp_path) as parts:
        await parts.spooled(1)
        parts.pubsub.hold.clear()
        async with _drainer(parts):
            await until(lambda: parts.outbox.breaker.state == HALF_OPEN, "a try")
        assert parts.outbox.breaker.state == OPEN
        parts.pubsub.hold.set()


async def test_what_is_not_foreseen_ends_the_service_and_names_the_drainer(tmp_path: Path) -> None:
    async def failing() -> None:
        async with _parts(tmp_path) as parts:
            await parts.spooled(1)
            parts.disk.fails["read"] = RuntimeError("a bug")
            async with _drainer(parts):
                await asyncio.sleep(60)

    with pytest.raises(BackgroundTaskEnded, match=r"^drainer: RuntimeError\('a bug'\)$"):
        await asyncio.wait_for(failing(), 30)


class SkippingLoop(asyncio.SelectorEventLoop):
    """Its time can be moved on."""

    skipped = 0.0

    def time(self) -> float:
        return super().time() + self.skipped


def test_a_step_that_does_not_move_is_seen_and_one_without_work_is_not(tmp_path: Path) -> None:
    async def scenario(loop: SkippingLoop) -> None:
        async with _parts(tmp_path) as parts:
            loop.skipped += 1_000
            assert parts.background.stuck is None
            parts.pubsub.hold.clear()
            put = asyncio.create_task(parts.put())
            await until(lambda: parts.pubsub.asked == 1, "a publish")
            assert parts.background.stuck is None
            parts.pubsub.hold.set()
            await put
            await parts.spooled(1)
            parts.pubsub.hold.clear()
            async with _drainer(parts):
                await until(lambda: parts.outbox.breaker.state == HALF_OPEN, "a try")
                assert parts.background.stuck is None
                loop.skipped += 200
                assert parts.background.stuck == "drainer has not moved for 200 s"
            await parts.put()
            loop.skipped += 200
            await until(lambda: parts.background.stuck is None, "no work")

    with asyncio.Runner(loop_factory=SkippingLoop) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, SkippingLoop)
        runner.run(scenario(loop))


async def test_on_leaving_the_spool_is_emptied_while_packs_are_confirmed(tmp_path: Path) -> None:
    async with _parts(tmp_path) as parts:
        await parts.spooled(40)
        parts.pubsub.up = True
        async with _drainer(parts, shutdown_timeout=20):
            pass
        assert parts.spool.packs == 0
    assert len(parts.pubsub.packs) == 40


async def test_a_late_answer_that_empties_the_spool_closes_the_breaker(tmp_path: Path) -> None:
    """Without traffic nothing else would ever find out that Pub/Sub answers again."""
    async with _parts(tmp_path) as parts:
        await parts.spooled(1)
        parts.pubsub.up = True
        async with _drainer(parts, fast=0):  # every answer is late
            await until(lambda: parts.spool.packs == 0, "an empty spool")
            await until(lambda: parts.outbox.breaker.state == CLOSED, "a closed breaker")
