"""A quick run of the faults that most often find something, and the test of the test."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import tools
from tests.chaos import faults
from tests.chaos.faults import FAULTS
from tests.chaos.run import run
from tests.chaos.scene import QUICK, Unavailable

pytestmark = pytest.mark.timeout(600)  # half a minute as a rule; the waits of one run may take minutes
QUICKEST = ("kill-all", "spool-disk-full", "clock-steps", "sweeps")


@pytest.mark.slow  # in `make test` the simulation breaks what these break
@pytest.mark.parametrize("name", QUICKEST)
async def test_nothing_acknowledged_is_lost_and_every_event_counts_once(name: str, tmp_path: Path) -> None:
    try:
        result = await run(FAULTS[name], QUICK, tmp_path / name)
    except Unavailable as error:
        tools.missing(str(error))
    finally:
        faults.clean(tmp_path / name)
    assert result.kept, result
    assert result.reconciled, result
    assert result.verdict.rejects, result  # the load has events that cannot become rows


@pytest.mark.slow
async def test_a_collector_that_replies_before_it_publishes_is_found_out(tmp_path: Path) -> None:
    result = await run(FAULTS["kill-collector"], QUICK, tmp_path / "planted", plant=True, wait=5)
    assert result.verdict.lost > 0, result
    assert not result.kept
