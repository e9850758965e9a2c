"""The spool on a real disk: what is put is there after a kill, and no state of the disk loses or blocks anything."""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from errno import EMFILE
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from services.collector import pack_file
from services.collector.config import Config
from services.collector.disk import FileState, Folder
from services.collector.inventory import Inventory
from services.collector.metrics import Metrics
from services.collector.spool import MAX_FILES, Spool, SpoolError
from services.shared import zstd_frame
from services.shared.background import Background, BackgroundTaskEnded
from services.shared.config import ConfigError
from services.shared.errors import Poison
from tests.collector.disks import BROKEN, READ_ONLY, FailingDisk
from tests.process import ROOT
from tests.waiting import until

BLOCK = 4096
OLDEST = "pixelpipe_collector_spool_oldest_timestamp_seconds"
Open = Callable[..., AbstractAsyncContextManager[Spool]]


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def disk(tmp_path: Path) -> FailingDisk:
    return FailingDisk(tmp_path)


@pytest.fixture
def opened(tmp_path: Path, registry: CollectorRegistry) -> Open:
    """Opens a spool in `tmp_path`, with the options given; each as a process of its own would."""
    metrics = Metrics(registry)

    @asynccontextmanager
    async def go(limit: int = 10**7, disk: Folder | None = None, **options: object) -> AsyncIterator[Spool]:
        options = {"scan_seconds": 0.02, "disk_seconds": 60, **options}  # a busy disk is no broken one
        async with (
            Background() as background,
            Spool(disk or Folder(tmp_path), limit, metrics, background, **options) as spool,  # type: ignore[arg-type]
        ):
            yield spool

    return go


@pytest.fixture
async def spool(opened: Open, disk: FailingDisk) -> AsyncIterator[Spool]:
    """On the disk of the test."""
    async with opened(disk=disk) as spool:
        yield spool


def _data(text: str, size: int = 0) -> bytes:
    return zstd_frame.compress(text.encode() + os.urandom(size))


async def _names(spool: Spool, count: int = 10**6) -> list[str]:
    return [one.pack for one in await spool.oldest_packs(count)]


async def test_what_was_given_up_while_the_disk_hangs_is_not_kept_for_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "hangs")  # opened to be read it waits for a writer
    folder = Folder(tmp_path)
    try:
        await _given_up(folder.read("hangs", 1))
        packs = _Packs([("0000000000000001-p-1.zst", b"")])
        await _given_up(folder.write(packs))
        kept = weakref.ref(packs)
        del packs
        await asyncio.sleep(0)
        gc.collect()  # the tracebacks
        assert kept() is None
    finally:
        os.close(os.open(tmp_path / "hangs", os.O_WRONLY))
        await folder.close()


class _Packs(list[tuple[str, bytes]]):
    """A list that a weak reference can watch."""


async def _given_up(work: Coroutine[None, None, object]) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await work


async def test_packs_come_back_oldest_first_and_are_gone_when_deleted(
    spool: Spool, registry: CollectorRegistry, tmp_path: Path
) -> None:
    for name in ("c", "a", "b"):
        await spool.put(name, 10, _data(name))
    found = await spool.oldest_packs(2)
    assert [(one.pack, one.hits, one.data) for one in found] == [("c", 10, _data("c")), ("a", 10, _data("a"))]
    assert (spool.packs, spool.hits, spool.bytes_on_disk) == (3, 30, 3 * BLOCK)
    await spool.delete(found)
    assert await _names(spool) == ["b"]
    await spool.delete(await spool.oldest_packs(9))
    assert (spool.packs, spool.hits, spool.bytes_on_disk) == (0, 0, 0)
    assert registry.get_sample_value(OLDEST) == 0
    assert registry.get_sample_value("pixelpipe_collector_spool_drained_hits_total") == 30
    assert [one.name for one in tmp_path.iterdir()] == ["lock"]


async def test_many_packs_at_once_are_all_kept(spool: Spool) -> None:
    await asyncio.gather(*(spool.put(str(number), 1, _data("x")) for number in range(500)))
    assert await _names(spool) == [str(number) for number in range(500)]


async def test_depth_bytes_and_oldest_age_are_metrics(spool: Spool, registry: CollectorRegistry) -> None:
    before = time.time()
    await spool.put("a", 10, _data("a", 5000))
    await spool.put("b", 5, _data("b"))
    shown = {
        name: registry.get_sample_value(f"pixelpipe_collector_spool_{name}") for name in ("packs", "hits", "bytes")
    }
    assert shown == {"packs": 2, "hits": 15, "bytes": 3 * BLOCK}
    oldest = registry.get_sample_value("pixelpipe_collector_spool_oldest_timestamp_seconds")
    assert oldest is not None
    assert before <= oldest <= time.time()


async def test_what_an_earlier_process_left_is_there(opened: Open, registry: CollectorRegistry) -> None:
    async with opened() as first:
        await first.put("left", 3, _data("left"))
    async with opened() as second:
        assert (second.packs, second.hits, second.bytes_on_disk) == (1, 3, BLOCK)
        assert registry.get_sample_value("pixelpipe_collector_spool_found_hits") == 3
        await asyncio.wait_for(second.wait(), 30)
        assert await _names(second) == ["left"]


@pytest.mark.slow
async def test_ten_thousand_files_at_start_are_drained_oldest_first(opened: Open, tmp_path: Path) -> None:
    for number in range(10_000):
        (tmp_path / pack_file.PackFile(10**15 + number, str(number), 7).name).write_bytes(_data(str(number)))
    drained = []
    async with opened(10**9, scan_seconds=60) as spool:
        assert (spool.packs, spool.hits) == (10_000, 70_000)
        while packs := await spool.oldest_packs(500):
            drained += [int(one.pack) for one in packs]
            await spool.delete(packs)
    assert drained == list(range(10_000))


def test_the_bound_of_files_is_reached_before_the_disk_of_the_default_size_has_no_inodes_left() -> None:
    disk_bytes = Config("p").spool_max_bytes * 5 // 4
    reserved = 100  # by ext4, for the lock and a file being written
    assert disk_bytes // 16_384 - reserved > MAX_FILES  # mke2fs makes an inode for each 16 KiB


async def test_more_files_than_the_bound_are_drained_bit_by_bit(opened: Open, tmp_path: Path) -> None:
    for number in range(12):
        (tmp_path / pack_file.PackFile(10**15 + number, str(number), 1).name).write_bytes(_data(str(number)))
    drained: list[int] = []
    async with opened(max_files=5) as spool:
        assert spool.packs == 5
        with pytest.raises(SpoolError, match="the spool is full: 5 of 5 files"):
            await spool.put("more", 1, _data("more"))

        async def all_drained() -> bool:
            packs = await spool.oldest_packs(5)
            drained.extend(int(one.pack) for one in packs)
            await spool.delete(packs)
            return len(drained) == 12

        await until(all_drained, "all packs")
        assert drained == list(range(12))
        await spool.put("more", 1, _data("more"))


WRITER = """
import asyncio, sys
from pathlib import Path
from prometheus_client import CollectorRegistry
from services.collector.disk import FileState, Folder
from services.collector.inventory import Inventory
from services.collector.metrics import Metrics
from services.collector.spool import Spool
from services.shared import zstd_frame
from services.shared.background import Background
async def main():
    metrics = Metrics(CollectorRegistry())
    async with Background() as background, Spool(Folder(Path(sys.argv[1])), 10**9, metrics, background) as spool:
        async def write(lane):
            for number in range(lane, 10**6, 4):
                await spool.put(str(number), 1, zstd_frame.compress(b"x" * 1000))
                print(number, flush=True)
        await asyncio.gather(*(write(lane) for lane in range(4)))
asyncio.run(main())
"""


async def test_a_pack_that_was_acknowledged_survives_kill_9(
    opened: Open, tmp_path: Path, registry: CollectorRegistry
) -> None:
    command = [sys.executable, "-c", WRITER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as writer:
        assert writer.stdout is not None
        seen = [int(writer.stdout.readline()) for _ in range(60)]
        os.kill(writer.pid, signal.SIGKILL)
        seen += [int(line) for line in writer.stdout.read().splitlines()]
    async with opened(10**9) as spool:
        found = {int(name) for name in await _names(spool)}
    assert set(seen) <= found
    assert len(found) <= len(seen) + 4  # written, and not yet acknowledged
    assert not list(tmp_path.glob("*.partial"))
    assert registry.get_sample_value("pixelpipe_collector_spool_corrupt_total") == 0


async def test_what_a_killed_process_left_half_written_is_removed(opened: Open, tmp_path: Path) -> None:
    half = tmp_path / f"{pack_file.PackFile(1, 'half', 1).name}.partial"
    half.write_bytes(_data("half")[:10])
    async with opened() as spool:
        assert spool.packs == 0
        assert not half.exists()


async def test_names_keep_their_order_when_the_clock_steps_back(opened: Open, registry: CollectorRegistry) -> None:
    clock = [1.8e9]
    async with opened(now=lambda: clock[0]) as spool:
        await spool.put("first", 1, _data("1"))
        clock[0] -= 7 * 86_400
        await spool.put("second", 1, _data("2"))
    async with opened(now=lambda: clock[0]) as spool:
        clock[0] = -1.0
        await spool.put("third", 1, _data("3"))
        assert await _names(spool) == ["first", "second", "third"]
        oldest = registry.get_sample_value(OLDEST)
        assert oldest is not None
        assert oldest <= 1.8e9


# Bounds


async def test_over_its_bytes_the_spool_refuses_until_there_is_room(opened: Open) -> None:
    async with opened(2 * BLOCK) as spool:
        await spool.put("a", 1, _data("a", 5000))
        with pytest.raises(SpoolError, match="the spool is full: 8192 of 8192 bytes"):
            await spool.put("b", 1, _data("b"))
        assert spool.refuses == "the spool is full: 8192 of 8192 bytes"
        await spool.delete(await spool.oldest_packs(1))
        assert spool.refuses is None
        await spool.put("b", 1, _data("b"))


async def test_packs_that_are_being_written_count_against_the_bounds(opened: Open) -> None:
    async with opened(5 * BLOCK) as spool:
        outcomes = await asyncio.gather(*(spool.put(str(n), 1, _data("x")) for n in range(20)), return_exceptions=True)
        assert [outcome is None for outcome in outcomes] == [True] * 5 + [False] * 15
    async with opened(max_files=7) as spool:
        outcomes = await asyncio.gather(*(spool.put(str(n), 1, _data("x")) for n in range(20)), return_exceptions=True)
        assert [outcome is None for outcome in outcomes] == [True] * 2 + [False] * 18
        assert spool.refuses == "the spool is full: 5 of 7 files"


# Files that are damaged, foreign, copied or taken away


@pytest.mark.parametrize("damage", ["empty", "torn", "flipped", "garbage", "too large"])
async def test_a_damaged_file_costs_its_pack_alone_and_is_kept(
    opened: Open, tmp_path: Path, registry: CollectorRegistry, damage: str
) -> None:
    async with opened() as spool:
        for name in ("a", "b", "c"):
            await spool.put(name, 10, _data(name, 5000))
    victim = next(tmp_path.glob("*-b-10.zst"))
    content = bytearray(victim.read_bytes())
    content[3000] ^= 4
    bad = {
        "empty": b"",
        "torn": bytes(content[:4096]),
        "flipped": bytes(content),
        "garbage": os.urandom(5000),
        "too large": bytes(pack_file.MAX_BYTES + 1),
    }[damage]
    victim.write_bytes(bad)
    for start in (1, 2):
        async with opened(10**8) as spool:
            assert await _names(spool) == ["a", "c"]
            assert (spool.packs, spool.hits, spool.refuses) == (2, 20, None)
            # What is set aside takes room all the same.
            assert spool.bytes_on_disk == 4 * BLOCK + max(1, -(-len(bad) // BLOCK)) * BLOCK, start
    assert (tmp_path / f"{victim.name}.damaged").read_bytes() == bad
    assert registry.get_sample_value("pixelpipe_collector_spool_corrupt_total") == 1


@pytest.mark.parametrize("when", ["hangs", "late"])
async def test_a_scan_while_a_file_is_set_aside_confuses_nothing(
    opened: Open, disk: FailingDisk, tmp_path: Path, when: str
) -> None:
    async with opened(disk=disk) as spool:
        await spool.put("a", 1, _data("a"))
        await spool.put("b", 1, _data("b"))
        next(tmp_path.glob("*-a-1.zst")).write_bytes(b"torn")
        getattr(disk, when).add("rename")
        reading = asyncio.create_task(_names(spool))
        await until(lambda: "rename" in disk.calls, "the file to be renamed")
        scans = disk.calls.count("names")
        await until(lambda: disk.calls.count("names") > scans + 2, "scans")
        disk.go_on()
        assert await asyncio.wait_for(reading, 10) == ["b"]
        await until(lambda: (spool.packs, spool.hits, spool.bytes_on_disk) == (1, 1, 2 * BLOCK), "the right counts")
        assert await _names(spool) == ["b"]


def test_a_file_that_becomes_unreadable_while_a_scan_looks_at_it_is_counted_once() -> None:
    held = Inventory(Metrics(CollectorRegistry()), 10, time.time)
    name, state = pack_file.PackFile(1, "a", 3).name, FileState(5, 1.0)
    held.begin({name: state})
    for _ in range(3):
        held.try_unreadable_again()
        assert not held.is_new(name)
        assert held.unreadable(name) is not None
        assert not held.is_new(name)
        held.look({name: state})  # it was looked at before
    assert (len(held.packs), held.files, held.hits, held.bytes) == (0, 1, 0, BLOCK)


async def test_files_set_aside_take_room_until_they_are_removed_by_hand(opened: Open, tmp_path: Path) -> None:
    (tmp_path / pack_file.PackFile(1, "a", 1).name).write_bytes(b"torn")
    async with opened() as spool:
        assert await _names(spool) == []
        assert spool.bytes_on_disk == BLOCK
        aside = next(tmp_path.glob("*.damaged"))
        (tmp_path / f"{pack_file.PackFile(2, 'b', 1).name}.damaged").write_bytes(aside.read_bytes())
        await until(lambda: spool.bytes_on_disk == 2 * BLOCK, "the room of another that someone put there")
        for one in tmp_path.glob("*.damaged"):
            one.unlink()
        await until(lambda: spool.bytes_on_disk == 0, "the room of the files")


def test_no_flipped_bit_passes_for_another_content() -> None:
    data = _data("some hits" * 3)
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        try:
            pack_file.check(bytes(flipped))
        except Poison:
            continue
        assert zstd_frame.decompress(bytes(flipped)) == zstd_frame.decompress(data)  # one bit of a frame means nothing


async def test_a_replacement_waits_for_the_one_that_is_ending(opened: Open) -> None:
    async with opened() as first:
        await first.put("a", 1, _data("a"))

        async def replace() -> list[str]:
            async with opened() as second:
                return await _names(second)

        replacement = asyncio.create_task(replace())
        await asyncio.sleep(0)
    assert await asyncio.wait_for(replacement, 20) == ["a"]


async def test_other_files_and_folders_are_left_alone(opened: Open, tmp_path: Path) -> None:
    (tmp_path / "lost+found").mkdir()
    (tmp_path / "lost+found" / "#123").write_bytes(b"x")
    (tmp_path / "README").write_text("mine")
    (tmp_path / "notes.partial").write_text("mine")
    (tmp_path / "0000000000000001-a-1.zst.bak").write_text("mine")
    (tmp_path / "0000000000000001-a-01.zst").write_text("no number")
    (tmp_path / "0000000000000001-folder-1.zst").mkdir()
    (tmp_path / "0000000000000001-link-1.zst").symlink_to("README")
    before = sorted(path.name for path in tmp_path.rglob("*"))
    async with opened() as spool:
        assert spool.packs == 0
        await spool.put("a", 1, _data("a"))
        await spool.delete(await spool.oldest_packs(5))
    assert sorted(path.name for path in tmp_path.rglob("*")) == sorted([*before, "lock"])


async def test_a_file_copied_in_is_drained_once_it_is_whole(
    opened: Open, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, disk: FailingDisk
) -> None:
    elsewhere = tmp_path_factory.mktemp("other")
    async with (
        Background() as background,
        Spool(Folder(elsewhere), 10**7, Metrics(CollectorRegistry()), background) as dead,
    ):
        await dead.put("copied", 9, _data("copied", 5000))
    source = next(elsewhere.glob("*.zst"))
    async with opened(disk=disk) as spool:
        await spool.put("own", 1, _data("own"))
        rest = [source.read_bytes()[start : start + 500] for start in range(0, 6000, 500)]
        with (tmp_path / source.name).open("wb") as copy:

            def write_on() -> None:
                assert spool.packs == 1 or not rest
                if rest:
                    copy.write(rest.pop(0))
                    copy.flush()

            disk.looked = write_on
            await until(lambda: spool.packs == 2, "the copied pack")
        assert await _names(spool) == ["copied", "own"]
        assert spool.hits == 10


async def test_files_that_someone_takes_away_are_forgotten(opened: Open, tmp_path: Path) -> None:
    async with opened(scan_seconds=0.02) as spool:
        for name in ("a", "b", "c"):
            await spool.put(name, 10, _data(name))
        next(tmp_path.glob("*-b-10.zst")).unlink()
        await until(lambda: spool.packs == 2, "the missing pack to be forgotten")
        assert (spool.hits, spool.bytes_on_disk) == (20, 2 * BLOCK)
    async with opened(scan_seconds=60) as spool:
        next(tmp_path.glob("*-a-10.zst")).unlink()
        assert await _names(spool) == ["c"]
        assert (spool.packs, spool.hits) == (1, 10)


# Disks that fail


async def test_a_disk_that_turns_read_only_refuses_and_recovers(
    spool: Spool, disk: FailingDisk, registry: CollectorRegistry
) -> None:
    await spool.put("before", 1, _data("x"))
    disk.fails["write"] = READ_ONLY
    with pytest.raises(SpoolError, match=r"the spool cannot be written: .*Read-only"):
        await spool.put("refused", 1, _data("x"))
    assert "Read-only" in (spool.refuses or "")
    assert registry.get_sample_value("pixelpipe_collector_spool_errors_total") == 1
    assert await _names(spool) == ["before"]
    disk.fails.clear()
    await spool.put("after", 1, _data("x"))
    assert spool.refuses is None
    assert await _names(spool) == ["before", "after"]


async def test_a_full_disk_costs_only_the_packs_it_has_no_room_for(opened: Open, tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    async with opened() as spool:
        resource.setrlimit(resource.RLIMIT_FSIZE, (5000, hard))
        try:
            outcomes = await asyncio.gather(
                *(spool.put(str(n), 1, _data("x", 8000 if n % 2 else 10)) for n in range(20)), return_exceptions=True
            )
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert [isinstance(one, SpoolError) for one in outcomes] == [False, True] * 10
        assert await _names(spool) == [str(n) for n in range(0, 20, 2)]
        await spool.put("after", 1, _data("x", 8000))
        assert spool.refuses is None
    assert len(list(tmp_path.iterdir())) == 12


async def test_files_that_cannot_be_removed_do_not_keep_those_behind_them(
    opened: Open, disk: FailingDisk, registry: CollectorRegistry, tmp_path: Path
) -> None:
    drained = "pixelpipe_collector_spool_drained_hits_total"
    async with opened(disk=disk) as spool:
        for number in range(20):
            await spool.put(str(number), 2, _data("x"))
        disk.fails["remove"] = READ_ONLY
        seen = []
        while packs := await spool.oldest_packs(8):
            seen += [one.pack for one in packs]
            await spool.delete(packs)
            await spool.delete(packs)
        assert seen == [str(number) for number in range(20)]
        assert (spool.packs, spool.hits, registry.get_sample_value(OLDEST)) == (0, 0, 0)
        assert spool.bytes_on_disk == 20 * BLOCK
        assert registry.get_sample_value(drained) == 40
        errors = registry.get_sample_value("pixelpipe_collector_spool_errors_total") or 0
        await until(
            lambda: (registry.get_sample_value("pixelpipe_collector_spool_errors_total") or 0) > errors + 2, "retries"
        )
        assert (spool.packs, len(list(tmp_path.glob("*.zst")))) == (0, 20)
        disk.fails.clear()
        await until(lambda: spool.bytes_on_disk == 0, "the files to be removed")
    assert not list(tmp_path.glob("*.zst"))
    assert registry.get_sample_value(drained) == 40


async def test_a_file_that_can_be_neither_read_nor_renamed_blocks_nothing_and_is_tried_again(
    spool: Spool, disk: FailingDisk, registry: CollectorRegistry
) -> None:
    await spool.put("a", 1, _data("a"))
    await spool.put("b", 1, _data("b"))
    disk.fails |= {"read": BROKEN, "rename": BROKEN}
    while spool.packs:
        assert await spool.oldest_packs(1) == []
    assert spool.hits == 0
    disk.fails.clear()
    await until(lambda: spool.packs == 2, "another try")
    assert await _names(spool) == ["a", "b"]
    assert spool.bytes_on_disk == 2 * BLOCK
    corrupt = registry.get_sample_value("pixelpipe_collector_spool_corrupt_total")
    assert corrupt == 2  # each file counts once, however often it is tried


async def test_packs_that_a_failing_disk_did_not_let_be_read_keep_their_names_and_come_back(
    spool: Spool, disk: FailingDisk, tmp_path: Path
) -> None:
    for name in ("a", "b", "c"):
        await spool.put(name, 1, _data(name))
    disk.fails["read"] = BROKEN
    while spool.packs:
        assert await spool.oldest_packs(2) == []
    disk.fails.clear()
    await until(lambda: spool.packs == 3, "another try")
    assert await _names(spool) == ["a", "b", "c"]
    assert not list(tmp_path.glob("*.damaged"))


@pytest.mark.parametrize("error", [OSError(EMFILE, "Too many open files"), TimeoutError()])
async def test_an_error_that_says_nothing_about_the_file_sets_nothing_aside(
    spool: Spool, disk: FailingDisk, error: OSError
) -> None:
    await spool.put("a", 1, _data("a"))
    assert spool.drainable
    disk.fails["read"] = error
    with pytest.raises(SpoolError, match=r"the spool's disk fails: (.*Too many open files|no answer in time)"):
        await spool.oldest_packs(1)
    assert not spool.drainable
    disk.fails.clear()
    assert await _names(spool) == ["a"]
    assert spool.drainable


async def test_a_disk_that_hangs_refuses_in_time_and_what_it_wrote_late_is_drained(
    opened: Open, disk: FailingDisk, registry: CollectorRegistry
) -> None:
    async with opened(disk=disk, disk_seconds=0.8) as spool:
        disk.late.add("write")
        first, second = (asyncio.create_task(spool.put(name, 5, _data(name))) for name in ("a", "b"))
        with pytest.raises(SpoolError, match="cannot be written: no answer in time"):
            await asyncio.wait_for(first, 10)
        with pytest.raises(SpoolError, match="no answer in time"):
            await asyncio.wait_for(second, 10)
        probing = asyncio.create_task(spool.put("c", 5, _data("c")))
        await asyncio.sleep(0)
        calls = len(disk.calls)
        with pytest.raises(SpoolError, match="no answer in time"):
            await spool.put("d", 5, _data("d"))  # at once: another one is finding out
        assert len(disk.calls) == calls
        with pytest.raises(SpoolError):
            await asyncio.wait_for(probing, 10)
        assert spool.refuses is not None
        disk.go_on()
        await until(lambda: spool.packs == 3, "what was written after all")
        await spool.put("e", 5, _data("e"))
        assert spool.refuses is None
        assert await _names(spool) == ["a", "b", "c", "e"]
    assert registry.get_sample_value("pixelpipe_collector_spool_found_hits") == 15


async def test_reads_and_removals_on_a_disk_that_hangs_end_in_time(opened: Open, disk: FailingDisk) -> None:
    async with opened(disk=disk, disk_seconds=1.5, scan_seconds=60) as spool:
        await spool.put("a", 1, _data("a"))
        packs = await spool.oldest_packs(1)
        disk.hangs = {"read", "remove"}
        with pytest.raises(SpoolError, match="no answer in time"):
            await asyncio.wait_for(spool.oldest_packs(1), 10)
        await asyncio.wait_for(spool.delete(packs), 10)
        assert spool.packs == 0
        disk.go_on()


# Start and end


async def _fail() -> None:
    raise RuntimeError("a bug")


async def test_when_the_service_fails_packs_that_wait_are_refused(opened: Open, disk: FailingDisk) -> None:
    disk.late.add("write")
    outcomes: list[BaseException | None] = []

    async def failing() -> None:
        async with (
            Background() as background,
            Spool(disk, 10**7, Metrics(CollectorRegistry()), background) as spool,
        ):
            puts = [asyncio.create_task(spool.put(name, 1, _data("a"))) for name in ("a", "b")]
            await until(lambda: disk.calls.count("write"), "the first batch")
            puts.append(asyncio.create_task(spool.put("c", 1, _data("a"))))
            await asyncio.sleep(0)
            background.start("victim", _fail())
            try:
                await asyncio.sleep(60)
            finally:
                puts.append(asyncio.create_task(spool.put("d", 1, _data("d"))))
                outcomes.extend(await asyncio.wait_for(asyncio.gather(*puts, return_exceptions=True), 10))

    with pytest.raises(BackgroundTaskEnded, match=r"^victim: RuntimeError"):
        await failing()
    assert [str(one) for one in outcomes] == ["the spool is closed"] * 4


async def test_what_is_not_foreseen_ends_the_service_and_names_the_task(opened: Open, disk: FailingDisk) -> None:
    puts = []

    async def failing() -> None:
        async with opened(disk=disk) as spool:
            disk.fails["write"] = RuntimeError("a bug")
            puts.append(asyncio.create_task(spool.put("a", 1, _data("a"))))
            await asyncio.sleep(60)

    with pytest.raises(BackgroundTaskEnded, match=r"^spool: RuntimeError\('a bug'\)$"):
        await failing()
    with pytest.raises(SpoolError, match="the spool is closed"):
        await asyncio.wait_for(puts[0], 10)


async def test_a_second_collector_does_not_take_the_same_folder(spool: Spool, opened: Open) -> None:
    with pytest.raises(ConfigError, match=r"PIPE_SPOOL=.*another collector uses it"):
        async with opened(lock_seconds=0.1):
            pass


async def test_a_folder_that_cannot_be_written_is_refused_at_start(opened: Open, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"PIPE_SPOOL='.*/file/spool': Not a directory; give a folder"):
        async with opened(disk=Folder(tmp_path / "file" / "spool")):
            pass


async def test_a_spool_of_the_old_kind_is_named(opened: Open, tmp_path: Path) -> None:
    (tmp_path / "hits.sqlite").write_bytes(b"SQLite format 3\0")
    with pytest.raises(ConfigError, match=r"PIPE_SPOOL=.*: hits.sqlite holds packs of an earlier version"):
        async with opened():
            pass
    assert (tmp_path / "hits.sqlite").exists()
    (tmp_path / "hits.sqlite").unlink()
    async with opened():  # the lock was given back
        pass
