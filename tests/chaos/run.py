"""One fault from an empty fleet to the verdict."""

from __future__ import annotations

import asyncio
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from tests.chaos import faults, fleet
from tests.chaos.client import Client
from tests.chaos.faults import Fault
from tests.chaos.judge import Verdict, judge, reconcile
from tests.chaos.scene import Pace, Scene

AFTER_SECONDS = 2.0  # of load, once the fault is over


@dataclass(frozen=True)
class Result:
    """`recovery_s` is from the end of the fault until every event acknowledged by then and after was in its view."""

    fault: str
    load: int  # acknowledged events a second
    refused: int
    broken: int
    verdict: Verdict
    recovery_s: float

    @property
    def kept(self) -> bool:
        verdict = self.verdict
        return not (verdict.lost or verdict.duplicated_view or verdict.unknown) and verdict.acknowledged > 0

    @property
    def reconciled(self) -> bool:
        """Whether the difference is 0 or explained: more may have arrived than a killed collector told, or refused."""
        verdict = self.verdict
        return verdict.difference == 0 or (verdict.difference < 0 and bool(verdict.unfinished or self.refused))

    def row(self) -> dict[str, object]:
        verdict = self.verdict
        return {
            "fault": self.fault,
            "acknowledged": verdict.acknowledged,
            "rows": verdict.rows,
            "rejects": verdict.rejects,
            "lost": verdict.lost,
            "duplicated_view": verdict.duplicated_view,
            "duplicated_physical": verdict.duplicated_physical,
            "recovery_s": round(self.recovery_s, 1),
            "load": self.load,
            "refused": self.refused,
            "broken": self.broken,
            "tallied": verdict.tallied,
            "difference": verdict.difference,
            "unfinished": verdict.unfinished,
        }


async def run(fault: Fault, pace: Pace, folder: Path, *, plant: bool = False, wait: float | None = None) -> Result:
    """Raises Unavailable where the fault needs what is not installed, AssertionError where a service does not behave.

    `plant` makes the collector reply before it publishes: a bug that the verdict must show. It lingers for long then,
    since of a pack that fills for 50 ms a kill may find nothing but requests that have no reply yet.
    """
    faults.clean(folder)
    settings = {"PIPE_ACK": "immediate", "PIPE_LINGER_SECONDS": "1"} if plant else {}
    async with fleet.running(folder) as ships:
        fault.compose(ships, settings)
        await ships.start(*ships.members)
        async with Client(ships.collectors(), fault.rate, fault.days) as client:
            began = time.monotonic()
            scene = Scene(ships, client, pace)
            await fault.work(scene)
            over = time.monotonic()
            await asyncio.sleep(AFTER_SECONDS)
            await client.stop()
            fired = time.monotonic() - began
            if fault.finish is not None:
                await fault.finish(scene)
            verdict = await asyncio.to_thread(
                judge, ships.bigquery(), client.acknowledged, client.sent, wait or fault.within
            )
            recovered = time.monotonic() - over
            for member in ships.of("collector"):
                await ships.stop(member, signal.SIGTERM)
            verdict = await asyncio.to_thread(reconcile, ships.bigquery(), verdict)
        return Result(
            fault.name,
            round(len(client.acknowledged) / fired),
            client.refused,
            client.broken,
            verdict,
            recovered,
        )
