"""The page's proof by hour: what waits somewhere is on its way and not missing, and an earlier run's hits count too."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from local import proof, query
from local.proof import Proof
from services.ops import reconcile
from services.ops.reconcile_report import COUNTS, Group


def this_hour() -> datetime:
    return datetime.now(UTC).replace(minute=0, second=0, microsecond=0)


CLOSED = this_hour() - timedelta(hours=3)
NOTHING: dict[str, Any] = {"spool": None, "hits": None, "rows": None, "dead": None}


def group(hour: datetime, **counts: int) -> Group:
    return Group(hour, "native", {**dict.fromkeys(COUNTS, 0), **counts})


def waiting(of: datetime, hits: int = 0, where: str = "spool") -> dict[str, Any]:
    """Queues of which one holds something as old as that."""
    return NOTHING | {where: {"hits": hits, "messages": 1, "oldest_seconds": (datetime.now(UTC) - of).total_seconds()}}


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[Group]:
    """What the view says: a test may change it."""
    found: list[Group] = []
    monkeypatch.setattr(reconcile, "ask", lambda *_: list(found))
    return found


def of(raw_hits: Any = None) -> Proof:
    return Proof(query.client("nowhere", "http://127.0.0.1:1"), "web", raw_hits)


async def test_what_the_spool_holds_of_a_closed_hour_is_on_its_way(told: list[Group]) -> None:
    told[:] = [group(CLOSED, acknowledged=50, loaded=20, difference=30)]
    found = await of().by_hour(24, waiting(CLOSED + timedelta(minutes=50), hits=30))
    (hour,) = found["hours"]
    assert (hour["in_flight"], hour["difference"]) == (30, 0)
    assert found["text"] == "Nothing is missing: of 50 hits, 30 are on their way."


async def test_what_is_more_than_the_spool_holds_is_missing(told: list[Group]) -> None:
    older = CLOSED - timedelta(hours=1)
    told[:] = [group(hour, acknowledged=50, loaded=20, difference=30) for hour in (older, CLOSED)]
    found = await of().by_hour(24, waiting(older + timedelta(minutes=50), hits=40))
    assert [(one["in_flight"], one["difference"]) for one in found["hours"]] == [(10, 20), (30, 0)]
    assert found["text"] == "20 of 100 hits are missing."


async def test_what_the_spool_took_later_excuses_no_earlier_hour(told: list[Group]) -> None:
    told[:] = [group(CLOSED, acknowledged=50, loaded=20, difference=30)]
    this = this_hour()
    for queues in (waiting(this, hits=1000), waiting(this, where="hits"), waiting(this, where="rows"), NOTHING):
        (hour,) = (await of().by_hour(24, queues))["hours"]
        assert (hour["in_flight"], hour["difference"]) == (0, 30), queues


@pytest.mark.parametrize("where", ["hits", "rows"])
async def test_what_waits_in_pubsub_since_a_closed_hour_is_on_its_way(told: list[Group], where: str) -> None:
    told[:] = [group(CLOSED, acknowledged=50, loaded=20, difference=30)]
    found = await of().by_hour(24, waiting(CLOSED + timedelta(minutes=1), where=where))
    (hour,) = found["hours"]
    assert (hour["in_flight"], hour["difference"]) == (30, 0)
    # How many hits a message has nobody knows.
    assert found["text"] == "Nothing is known to be missing: of 50 hits, 30 are on their way."


async def test_what_has_left_the_spool_has_time_to_arrive(told: list[Group], monkeypatch: pytest.MonkeyPatch) -> None:
    told[:] = [group(CLOSED, acknowledged=50, loaded=20, difference=30)]
    found = of()
    await found.by_hour(24, waiting(CLOSED, hits=30))
    (hour,) = (await found.by_hour(24, NOTHING))["hours"]
    assert (hour["in_flight"], hour["difference"]) == (30, 0)
    monkeypatch.setattr(proof, "_ARRIVES", timedelta(0))
    (hour,) = (await found.by_hour(24, NOTHING))["hours"]
    assert (hour["in_flight"], hour["difference"]) == (0, 30)


async def test_with_kept_data_what_comes_since_the_last_tally_is_collected_too(told: list[Group]) -> None:
    """The loader is down, so no tally arrives: what the page has seen is beside what earlier runs have told."""
    this = this_hour()
    name = this.isoformat().replace("+00:00", "Z")
    seen = SimpleNamespace(counts=Counter({name: 7}), earlier=Counter({name: 2}))
    told[:] = [group(this, acknowledged=100, loaded=98, in_flight=2)]  # 2 in the spool of the run before
    found = of(seen)
    await found.begin()
    (hour,) = (await found.by_hour(24, NOTHING))["hours"]
    assert (hour["collected"], hour["in_flight"]) == (105, 7)
    told[:] = [group(this, acknowledged=105, loaded=105)]  # the tally and all rows have come
    (hour,) = (await found.by_hour(24, NOTHING))["hours"]
    assert (hour["collected"], hour["in_flight"], hour["untold"]) == (105, 0, 0)


async def test_a_proof_that_cannot_be_begun_counts_what_the_page_sees() -> None:
    this = this_hour()
    name = this.isoformat().replace("+00:00", "Z")
    found = of(SimpleNamespace(counts=Counter({name: 7}), earlier=Counter[str]()))
    await found.begin()  # BigQuery does not answer
