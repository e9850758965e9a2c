"""The faults: each does its worst to a running fleet while the load goes on, and returns when it is over.

A fault is a coroutine of a `Scene`. It may choose how the fleet is made up before that, in `compose`.
"""

from __future__ import annotations

import asyncio
import glob
import os
import shutil
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.chaos import sweeps
from tests.chaos.fleet import SERVICES, Fleet, Member
from tests.chaos.scene import Compose, Scene, Unavailable, Work
from tests.schemas import SCHEMA_FILE

SPOOL_DISK_BYTES = 1_500_000


def one_of_each(fleet: Fleet, settings: dict[str, str]) -> None:
    for service in SERVICES:
        fleet.add(service, settings if service == "collector" else None)


def two_of_each(fleet: Fleet, settings: dict[str, str]) -> None:
    one_of_each(fleet, settings)
    one_of_each(fleet, settings)


def _killer(service: str) -> Work:
    async def work(scene: Scene) -> None:
        for _ in range(scene.pace.kills):
            await scene.load()
            await scene.kill(scene.only(service))
            await scene.fleet.start(scene.only(service))

    return work


async def _all_killed(scene: Scene) -> None:
    for _ in range(max(1, scene.pace.kills // 3)):
        await scene.load()
        await scene.kill(*scene.fleet.members)
        await scene.fleet.start(*scene.fleet.members)


async def _rolling_restart(scene: Scene) -> None:
    for member in scene.fleet.members:
        await scene.load()
        code = await scene.fleet.stop(member, signal.SIGTERM)
        assert code == 0, f"{member.name} ended with {code} after SIGTERM: {member.log}"
        await scene.fleet.start(member)


async def _one_of_two_killed(scene: Scene) -> None:
    for service in SERVICES:
        await scene.load()
        await scene.kill(scene.fleet.of(service)[0])
    await scene.load(1000)
    # What died had a spool; its successor finds it.
    await scene.fleet.start(scene.fleet.of("collector")[0])


def _down(emulator: str) -> Work:
    async def work(scene: Scene) -> None:
        await scene.load()
        await _break(scene, emulator)
        await asyncio.sleep(scene.pace.outage)
        await scene.fleet.clear_faults()

    return work


async def _break(scene: Scene, emulator: str) -> None:
    """Every call fails, and the streams that are open end."""
    await scene.fleet.fault(emulator, effect="error", code="UNAVAILABLE")
    await scene.fleet.fault(emulator, effect="drop_stream")


def _held(emulator: str, *faults: dict[str, object]) -> Work:
    async def work(scene: Scene) -> None:
        await scene.load()
        for fault in faults:
            await scene.fleet.fault(emulator, **fault)
        await asyncio.sleep(scene.pace.hold)
        await scene.fleet.clear_faults()

    return work


async def _killed_while_spooling_and_draining(scene: Scene) -> None:
    collector, fleet = scene.only("collector"), scene.fleet

    async def spooled() -> bool:
        return await fleet.metric(collector, "pixelpipe_collector_spool_packs") > 20

    await scene.load()
    await _break(scene, "pubsub")
    for _ in range(max(1, scene.pace.kills // 3)):
        await fleet.until(spooled, 60, "packs in the spool")
        await scene.kill(collector)
        await fleet.start(collector)
    await fleet.until(spooled, 60, "packs in the spool")
    await fleet.clear_faults()
    # Slower than replies can wait: what comes in meanwhile is spooled as well, so every kill meets a spool to empty.
    await fleet.fault("pubsub", effect="latency", method="Publish", delay=1)
    for _ in range(max(1, scene.pace.kills // 3)):
        before = await fleet.metric(collector, "pixelpipe_collector_spool_drained_hits_total")

        async def draining(before: float = before) -> bool:
            return await fleet.metric(collector, "pixelpipe_collector_spool_drained_hits_total") > before

        await fleet.until(draining, 60, "a pack drained")
        await scene.kill(collector)
        await fleet.start(collector)
    await fleet.clear_faults()


def _small_disk(fleet: Fleet, settings: dict[str, str]) -> None:
    """A collector whose spool's disk, a tmpfs, has a megabyte and a half."""
    spool = fleet.folder / "disk"
    spool.mkdir()
    mounting = ["mount", "-t", "tmpfs", "-o", f"size={SPOOL_DISK_BYTES}", "spool", str(spool)]
    if os.geteuid() != 0 or subprocess.run(mounting, capture_output=True).returncode != 0:
        raise Unavailable("needs a small disk: run it as root where a tmpfs may be mounted")
    fleet.add("collector", {**settings, "PIPE_SPOOL": str(spool)})
    for service in SERVICES[1:]:
        fleet.add(service)


async def _disk_full(scene: Scene) -> None:
    await scene.load()
    await _break(scene, "pubsub")
    collector = scene.only("collector")

    async def refuses() -> bool:
        return await scene.fleet.metric(collector, "pixelpipe_collector_spool_errors_total") > 0

    await scene.fleet.until(refuses, 120, "a full disk")
    await asyncio.sleep(scene.pace.hold / 2)
    await scene.fleet.until(lambda: scene.client.refused, 60, "a full disk to be answered 503")
    await scene.fleet.clear_faults()


def _stepping(fleet: Fleet, settings: dict[str, str]) -> None:
    """Services that see the clock that the file `clock` says: libfaketime, over the wall clock alone."""
    found = sorted(glob.glob("/usr/lib/*/faketime/libfaketimeMT.so.1"))
    if not found:
        raise Unavailable("needs libfaketime: apt-get install faketime")
    (fleet.folder / "clock").write_text("+0s")
    clock = {
        "LD_PRELOAD": found[0],
        "FAKETIME_TIMESTAMP_FILE": str(fleet.folder / "clock"),
        "FAKETIME_CACHE_DURATION": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    for service in SERVICES:
        fleet.add(service, {**clock, **(settings if service == "collector" else {})})


async def _clock_steps(scene: Scene) -> None:
    for step in ("+1800s", "-1800s", "+7d", "-3d", "+0s"):
        await scene.load()
        (scene.fleet.folder / "clock").write_text(step)
        await asyncio.sleep(scene.pace.hold / 5)


def _newer_schema(scene: Scene) -> Path:
    """The default schema file with one column more, which every event of the load has a value for."""
    text = SCHEMA_FILE.read_text()
    before = "      params:"
    assert text.count(before) == 1
    file = scene.fleet.folder / "newer.yaml"
    file.write_text(text.replace(before, f"      session: {{type: STRING, from: param.session}}\n{before}"))
    return file


async def _newer(scene: Scene, service: str, file: Path) -> Member:
    member = scene.fleet.add(service, {"PIPE_SCHEMA": str(file)})
    await scene.fleet.start(member)
    return member


async def _end(scene: Scene, *members: Member) -> None:
    for member in members:
        code = await scene.fleet.stop(member, signal.SIGTERM)
        assert code == 0, f"{member.name} ended with {code} after SIGTERM: {member.log}"


async def _until_filled(scene: Scene, more: int = 200) -> None:
    """Wait for so many rows more that have a value in the new column."""
    wanted = await scene.fleet.count("session IS NOT NULL") + more

    async def filled() -> bool:
        return await scene.fleet.count("session IS NOT NULL") >= wanted

    await scene.fleet.until(filled, 60, "rows with the new column")


async def _upgrade(scene: Scene) -> None:
    """Provisioned first; then each old processor, and after them each old loader, gives way to a new one."""
    file = _newer_schema(scene)
    await scene.load()
    await scene.fleet.provision(file)
    for service in ("processor", "loader"):
        for old in scene.fleet.of(service):
            await _newer(scene, service, file)
            await _until_filled(scene)  # while old ones work beside it
            await _end(scene, old)
    await scene.load()


async def _rollback(scene: Scene) -> None:
    """New rows wait in Pub/Sub and in loaders when only old loaders and processors are left to take them."""
    file, fleet = _newer_schema(scene), scene.fleet
    await scene.load()
    await fleet.provision(file)
    newer = [await _newer(scene, service, file) for service in ("processor", "loader")]
    older = [member for service in ("processor", "loader") for member in fleet.of(service) if member not in newer]
    await _end(scene, *older)
    await _until_filled(scene)
    # What is asked by SQL goes on.
    await fleet.fault("bigquery", effect="error", code="UNAVAILABLE", method="AppendRows")
    await fleet.fault("bigquery", effect="drop_stream", method="AppendRows")
    await scene.load(1000)
    await fleet.start(*older)
    await _end(scene, *newer)
    before = await fleet.count("session IS NOT NULL")
    await fleet.clear_faults()

    async def written() -> bool:
        return await fleet.count("session IS NOT NULL") > before

    await fleet.until(written, 60, "rows of the newer processor, written by older loaders")


async def _old_pod_left(scene: Scene) -> None:
    """One processor and one loader are never upgraded."""
    file = _newer_schema(scene)
    await scene.load()
    await scene.fleet.provision(file)
    for service in ("processor", "loader"):
        old, _left = scene.fleet.of(service)
        await _newer(scene, service, file)
        await _end(scene, old)
    await _until_filled(scene)
    await asyncio.sleep(scene.pace.hold)
    await _until_filled(scene)


@dataclass(frozen=True)
class Fault:
    """`rate` is the load in events a second; `within` the seconds after which no event may wait any more.

    The events are of `days` days, the last of them today; `finish` is done when the load has ended.
    """

    name: str
    work: Work
    compose: Compose = one_of_each
    rate: float = 700.0
    within: float = 120.0
    days: int = 1
    finish: Work | None = None


FAULTS = {
    fault.name: fault
    for fault in (
        Fault("kill-collector", _killer("collector")),
        Fault("kill-processor", _killer("processor")),
        Fault("kill-loader", _killer("loader")),
        Fault("kill-all", _all_killed),
        Fault("rolling-restart", _rolling_restart, two_of_each),
        Fault("one-of-two-killed", _one_of_two_killed, two_of_each),
        Fault("pubsub-down", _down("pubsub")),
        Fault("pubsub-silent", _held("pubsub", {"effect": "blackhole"})),
        Fault("pubsub-slow", _held("pubsub", {"effect": "latency", "method": "Publish", "delay": 2})),
        Fault("pubsub-duplicates", _held("pubsub", {"effect": "duplicate", "share": 0.2})),
        Fault(
            "pubsub-disorder",
            _held(
                "pubsub",
                {"effect": "reorder"},
                {"effect": "drop_acks", "share": 0.1},
                {"effect": "lost_reply", "method": "Publish", "share": 0.1},
            ),
        ),
        Fault("bigquery-down", _down("bigquery")),
        Fault("bigquery-slow", _held("bigquery", {"effect": "latency", "method": "AppendRows", "delay": 5})),
        Fault("bigquery-rejects", _held("bigquery", {"effect": "row_errors", "share": 0.01, "resource": "events_log"})),
        Fault(
            "bigquery-disorder",
            _held(
                "bigquery",
                {"effect": "lost_reply", "method": "AppendRows", "share": 0.2},
                {"effect": "append_error", "code": "ABORTED", "share": 0.2},
            ),
        ),
        Fault("rolling-upgrade", _upgrade, two_of_each, within=30),
        Fault("rollback", _rollback, within=30),
        Fault("old-pod-left", _old_pod_left, two_of_each, within=30),
        Fault("spool-disk-full", _disk_full, _small_disk),
        Fault("kill-while-draining", _killed_while_spooling_and_draining),
        Fault("clock-steps", _clock_steps, _stepping),
        Fault("sweeps", sweeps.under_load, rate=300, days=sweeps.DAYS, finish=sweeps.last),
    )
}


def clean(folder: Path) -> None:
    """Remove what a run left, a mounted disk too."""
    disk = folder / "disk"
    if disk.is_mount():
        subprocess.run(["umount", str(disk)], check=True)
    shutil.rmtree(folder, ignore_errors=True)
