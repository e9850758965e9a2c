"""The fault of sweeps: days are settled again and again while their late, repeated and replayed rows come in.

Two sweeps run at once, and one is killed in the middle. The watermark moves through days that get rows. At the end
some days are settled, yesterday is closed and not settled, and today is open.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from services.shared import resource_names
from tests import process
from tests.chaos.fleet import PROJECT, Fleet
from tests.chaos.judge import VIEWS
from tests.chaos.scene import Scene
from tests.schemas import SCHEMA_FILE

DAYS = 6  # that events are of: a client's own day counts for a week
REPEATED = 200  # events that are sent again in each round
_LOOK_SECONDS = 0.3  # between two looks at the views


async def under_load(scene: Scene) -> None:
    fleet = scene.fleet
    await scene.load()
    await fleet.fault("pubsub", effect="duplicate", share=0.2)
    await fleet.fault("bigquery", effect="lost_reply", method="AppendRows", share=0.1)
    async with asyncio.TaskGroup() as tasks:
        watching = tasks.create_task(_watch(fleet))
        for left in range(max(2, scene.pace.kills // 2), 0, -1):
            await _round(scene, _compact(min(left, DAYS - 2)))
        watching.cancel()
    await fleet.clear_faults()


async def last(scene: Scene) -> None:
    """One sweep once all rows are in the tables: those that were late for settled days are shown from then on."""
    fleet, acknowledged = scene.fleet, scene.client.acknowledged

    async def arrived() -> bool:
        return acknowledged <= await _ids(fleet, "_log")

    await fleet.until(arrived, 120, "the rows of all acknowledged events")
    assert acknowledged - await _ids(fleet, ""), "no event came late for a settled day, so nothing was tried"
    await _ops(scene, *_compact(1))


def _compact(settled_after: int) -> tuple[str, ...]:
    return ("compact", "--closed-after", "0", "--settled-after", str(settled_after))


async def _round(scene: Scene, compact: tuple[str, ...]) -> None:
    await scene.load()
    async with asyncio.TaskGroup() as tasks:
        for _ in range(2):
            tasks.create_task(_ops(scene, *compact))
        tasks.create_task(_ops(scene, "replay", "--all"))
        tasks.create_task(scene.client.repeat(REPEATED))
    await _killed(scene, *compact)


async def _watch(fleet: Fleet) -> None:
    """Count events in the views again and again: never is one there twice."""
    while True:
        for view in VIEWS:
            sql = f"SELECT COUNT(*) AS shown, COUNT(DISTINCT event_id) AS events FROM {resource_names.DATASET}.{view}"
            (row,) = await _ask(fleet, sql)
            assert row["shown"] == row["events"], f"{view} shows {row['shown']} rows of {row['events']} events"
        await asyncio.sleep(_LOOK_SECONDS)


async def _ids(fleet: Fleet, suffix: str) -> set[str]:
    """Those in the tables, or without the suffix in the views."""
    parts = (f"SELECT event_id FROM {resource_names.DATASET}.{view}{suffix}" for view in VIEWS)
    return {row["event_id"] for row in await _ask(fleet, "\nUNION ALL\n".join(parts))}


async def _ask(fleet: Fleet, sql: str) -> list[Any]:
    return await asyncio.to_thread(lambda: list(fleet.bigquery().query_and_wait(sql)))


async def _ops(scene: Scene, *arguments: str) -> None:
    async with _started(scene, *arguments) as command:
        out, _ = await command.communicate()
        assert command.returncode == 0, f"{' '.join(arguments)} ended with {command.returncode}: {out.decode()}"


async def _killed(scene: Scene, *compact: str) -> None:
    """A sweep that dies when it has compacted the first day."""
    async with _started(scene, *compact) as sweep:
        assert sweep.stdout is not None
        async for line in sweep.stdout:
            if b'"compacted"' in line:
                sweep.kill()
                break
        assert await sweep.wait() == -signal.SIGKILL, "the sweep was over before it could be killed"


@asynccontextmanager
async def _started(scene: Scene, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """`python -m services.ops ARGUMENTS`, which does not outlive the block."""
    settings = {"PIPE_PROJECT": PROJECT, "PIPE_SCHEMA": str(SCHEMA_FILE)}
    with (scene.fleet.folder / "ops.log").open("ab") as log:
        command = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "services.ops", *arguments),
            cwd=process.ROOT,
            env={**scene.fleet.environment, **settings},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
        )
    try:
        yield command
    finally:
        if command.returncode is None:
            command.kill()
            await command.wait()
