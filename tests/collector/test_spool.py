"""The spool on a real disk: what is put is there after a kill, and no state of the disk loses or blocks anything."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from services.collector.metrics import Metrics
from services.collector.spool import FILE, Spool, SpoolError
from services.shared.config import ConfigError
from tests.child import ROOT


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def metrics(registry: CollectorRegistry) -> Metrics:
    return Metrics(registry)


@pytest.fixture
async def spool(tmp_path: Path, metrics: Metrics) -> AsyncIterator[Spool]:
    async with Spool(tmp_path, 1_000_000, metrics) as spool:
        yield spool


def _value(registry: CollectorRegistry, name: str) -> float:
    lines = generate_latest(registry).decode().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(name + " "))


async def test_packs_come_back_oldest_first_and_are_gone_when_deleted(
    spool: Spool, registry: CollectorRegistry
) -> None:
    for name in ("a", "b", "c"):
        await spool.put(name, 10, name.encode() * 100)
    found = await spool.oldest_packs(2)
    assert [(one.pack, one.hits, one.data) for one in found] == [("a", 10, b"a" * 100), ("b", 10, b"b" * 100)]
    assert (spool.packs, spool.hits, spool.bytes) == (3, 30, 300)
    assert _value(registry, "pixelpipe_collector_spool_oldest_timestamp_seconds") > 1e9
    await spool.delete(found)
    assert [one.pack for one in await spool.oldest_packs(9)] == ["c"]
    await spool.delete(await spool.oldest_packs(9))
    assert (spool.packs, spool.bytes) == (0, 0)
    assert _value(registry, "pixelpipe_collector_spool_oldest_timestamp_seconds") == 0


async def test_many_packs_at_once_are_all_kept(spool: Spool) -> None:
    await asyncio.gather(*(spool.put(str(number), 1, b"x" * 100) for number in range(500)))
    assert sorted(int(one.pack) for one in await spool.oldest_packs(1000)) == list(range(500))


async def test_what_an_earlier_process_left_is_there(tmp_path: Path, metrics: Metrics) -> None:
    async with Spool(tmp_path, 1_000_000, metrics) as first:
        await first.put("left", 3, b"data")
    async with Spool(tmp_path, 1_000_000, metrics) as second:
        assert (second.packs, second.hits, second.bytes) == (1, 3, 4)
        await asyncio.wait_for(second.wait(), 5)
        assert [one.pack for one in await second.oldest_packs(5)] == ["left"]


WRITER = """
import asyncio, sys
from pathlib import Path
from prometheus_client import CollectorRegistry
from services.collector.metrics import Metrics
from services.collector.spool import Spool
async def main():
    async with Spool(Path(sys.argv[1]), 10**9, Metrics(CollectorRegistry())) as spool:
        for number in range(10**6):
            await spool.put(str(number), 1, b"x" * 1000)
            print(number, flush=True)
asyncio.run(main())
"""


async def test_a_pack_that_was_acknowledged_survives_kill_9(tmp_path: Path, metrics: Metrics) -> None:
    command = [sys.executable, "-c", WRITER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as writer:
        assert writer.stdout is not None
        seen = [int(writer.stdout.readline()) for _ in range(30)]
        os.kill(writer.pid, signal.SIGKILL)
        seen += [int(line) for line in writer.stdout.read().splitlines()]
    async with Spool(tmp_path, 10**9, metrics) as spool:
        found = {int(one.pack) for one in await spool.oldest_packs(10**6)}
    assert set(seen) <= found
    assert len(found) <= len(seen) + 1


async def test_over_its_bytes_the_spool_refuses_until_there_is_room(tmp_path: Path, metrics: Metrics) -> None:
    async with Spool(tmp_path, 1000, metrics) as spool:
        await spool.put("a", 1, b"x" * 600)
        with pytest.raises(SpoolError, match="the spool is full: 600 of 1000 bytes"):
            await spool.put("b", 1, b"x" * 600)
        assert spool.refuses == "the spool is full: 600 of 1000 bytes"
        await spool.delete(await spool.oldest_packs(1))
        assert spool.refuses is None
        await spool.put("b", 1, b"x" * 600)


@pytest.mark.parametrize("damage", ["garbage", "torn", "page"])
async def test_a_broken_file_is_set_aside_and_service_goes_on(
    tmp_path: Path, metrics: Metrics, registry: CollectorRegistry, damage: str
) -> None:
    async with Spool(tmp_path, 10**7, metrics) as spool:
        for number in range(50):
            await spool.put(str(number), 1, os.urandom(5000))
    path = tmp_path / FILE
    content = bytearray(path.read_bytes())
    if damage == "garbage":
        content = bytearray(os.urandom(len(content)))
    elif damage == "torn":
        content = content[: len(content) // 2 + 100]
    else:
        content[4096:8192] = os.urandom(4096)
    path.write_bytes(content)
    async with Spool(tmp_path, 10**7, metrics) as spool:
        assert spool.packs == 0
        await spool.put("after", 1, b"data")
        assert [one.pack for one in await spool.oldest_packs(5)] == ["after"]
    aside = [one for one in tmp_path.iterdir() if ".corrupt-" in one.name]
    assert [one.read_bytes() for one in aside] == [bytes(content)]
    assert _value(registry, "pixelpipe_collector_spool_corrupt_total") == 1


async def test_a_file_that_breaks_while_it_is_used_is_replaced(spool: Spool, tmp_path: Path) -> None:
    await spool.put("lost with its file", 1, b"x")
    spool._db.close()
    for part in tmp_path.glob(FILE + "*"):
        part.write_bytes(b"this is no database, " * 500)
    spool._db = sqlite3.connect(tmp_path / FILE, isolation_level=None, check_same_thread=False)
    await spool.put("next", 1, b"y")
    assert [one.pack for one in await spool.oldest_packs(5)] == ["next"]
    assert spool.refuses is None


async def test_what_was_read_from_a_file_set_aside_deletes_nothing_of_its_successor(
    spool: Spool, tmp_path: Path
) -> None:
    await spool.put("lost with its file", 1, b"x")
    read = await spool.oldest_packs(1)
    spool._db.close()
    for part in tmp_path.glob(FILE + "*"):
        part.write_bytes(b"this is no database, " * 500)
    spool._db = sqlite3.connect(tmp_path / FILE, isolation_level=None, check_same_thread=False)
    await spool.put("next", 1, b"y")
    assert not await spool.delete(read)
    assert [one.pack for one in await spool.oldest_packs(5)] == ["next"]
    assert spool.packs == 1


async def test_a_full_disk_refuses_and_recovers(spool: Spool, tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    await spool.put("before", 1, b"x" * 1000)
    size = max(one.stat().st_size for one in tmp_path.iterdir())
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        outcomes = await asyncio.gather(
            *(spool.put(str(number), 1, b"x" * 8000) for number in range(100)), return_exceptions=True
        )
        assert isinstance(outcomes[-1], SpoolError)
        assert "the spool cannot be used" in (spool.refuses or "")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    await spool.put("after", 1, b"x")
    assert spool.refuses is None
    names = [one.pack for one in await spool.oldest_packs(1000)]
    assert names[0] == "before"
    assert names[-1] == "after"


async def test_a_full_disk_is_emptied_though_nothing_can_be_deleted(
    spool: Spool, tmp_path: Path, registry: CollectorRegistry
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    for number in range(20):
        await spool.put(str(number), 2, b"x" * 3000)
    size = max(one.stat().st_size for one in tmp_path.iterdir())
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        with pytest.raises(SpoolError):
            await spool.put("more", 1, b"x" * 8000)
        drained = []
        while packs := await spool.oldest_packs(8):
            drained += [one.pack for one in packs]
            assert await spool.delete(packs)
        assert drained == [str(number) for number in range(20)]
        assert (spool.packs, spool.hits, spool.bytes, spool.oldest) == (0, 0, 0, None)
        assert spool.refuses is None
        await spool.put("after", 1, b"x")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [one.pack for one in await spool.oldest_packs(9)] == ["after"]
    assert _value(registry, "pixelpipe_collector_spool_packs") == 1


async def test_a_second_collector_does_not_take_the_same_folder(spool: Spool, tmp_path: Path, metrics: Metrics) -> None:
    with pytest.raises(ConfigError, match=r"PIPE_SPOOL=.*another collector uses it"):
        async with Spool(tmp_path, 1000, metrics):
            pass


async def test_a_folder_that_cannot_be_written_is_refused_at_start(tmp_path: Path, metrics: Metrics) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="PIPE_SPOOL="):
        async with Spool(tmp_path / "file" / "spool", 1000, metrics):
            pass
