"""What a collector counts, and when it tells."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.collector.tally_counter import MOST, TallyCounter, TallySender, label, labels
from services.shared import hit, tally_rows
from services.shared.background import Background
from services.shared.hit import Hit
from services.shared.tally import ACKNOWLEDGED, HOUR_US, REFUSED, Count, Tally
from tests.waiting import until

MORE = st.lists(st.tuples(st.integers(0, 3), st.sampled_from(("", "segment.track")), st.booleans()), max_size=20)


@given(MORE, st.integers(-15, 15))
def test_a_batch_has_the_hours_and_protocols_that_the_processor_reads_in_its_hits(
    made: list[tuple[int, str, bool]], offset: int
) -> None:
    start = 1_000 * HOUR_US + offset
    hits = [Hit("", start, "POST", "/", via=via, tenant=str(tenant)) if kept else None for tenant, via, kept in made]
    found = labels(hits)
    sent = [msgspec.structs.replace(one, at=one.at + index) for index, one in enumerate(hits) if one is not None]
    assert found == [(one.at // HOUR_US, one.protocol, one.tenant) for one in sent]


def test_only_what_changed_is_told() -> None:
    counter = TallyCounter()
    counter.add(label(HOUR_US), ACKNOWLEDGED, 2)
    counter.add_all({label(HOUR_US): 3, label(2 * HOUR_US, "segment.page", "shop"): 1}, ACKNOWLEDGED)
    first = counter.changed()
    assert set(first) == {
        Count(1, "native", "", ACKNOWLEDGED, 5),
        Count(2, "segment", "shop", ACKNOWLEDGED, 1),
    }
    counter.add(label(HOUR_US), ACKNOWLEDGED)  # while they are on their way
    counter.told(first, 2)
    assert counter.changed() == (Count(1, "native", "", ACKNOWLEDGED, 6),)
    counter.told(counter.changed(), 2)
    assert counter.changed() == ()


def test_a_clock_that_goes_ahead_and_back_makes_no_total_smaller() -> None:
    """Of one process the largest total counts: one that began anew would hide hits that are missing."""
    counter = TallyCounter()
    counter.add(label(HOUR_US), ACKNOWLEDGED, 5)
    counter.told(counter.changed(), 1)
    counter.add(label(200 * HOUR_US), ACKNOWLEDGED)
    counter.told(counter.changed(), 200)
    counter.add(label(HOUR_US), ACKNOWLEDGED)
    assert counter.changed() == (Count(1, "native", "", ACKNOWLEDGED, 6),)


def test_hours_that_are_over_are_forgotten_when_there_are_many() -> None:
    counter = TallyCounter()
    for hour in range(3 * MOST):
        counter.add(label(hour * HOUR_US), ACKNOWLEDGED)
        if hour % 100 == 0:
            counter.told(counter.changed(), hour)
    counter.told(counter.changed(), 3 * MOST)
    assert len(counter) == MOST
    for tenant in range(2 * MOST):  # what may change yet stays, and so does what was not told
        counter.add(label(3 * MOST * HOUR_US, tenant=str(tenant)), ACKNOWLEDGED)
    counter.told(counter.changed(), 3 * MOST)
    assert len(counter) == 2 * MOST + 2  # of which two are of the last two hours


class Sent:
    def __init__(self) -> None:
        self.tallies: list[Tally] = []
        self.fails = False
        self.failed = 0

    async def __call__(self, line: bytes) -> Exception | None:
        (found,) = hit.unpack(*hit.pack([line], "p", tally=True))
        assert found.tally is not None
        if self.fails:
            self.failed += 1
            return ConnectionError("down")
        self.tallies.append(found.tally)
        return None


@pytest.fixture
async def background() -> AsyncIterator[Background]:
    async with Background() as found:
        yield found


async def test_it_tells_at_the_start_again_and_at_the_end(background: Background) -> None:
    counter, sent = TallyCounter(), Sent()
    clock: Callable[[], float] = lambda: 7_200.0  # noqa: E731 - typed
    async with TallySender(counter, sent, background, seconds=0.01, now=clock):
        await until(lambda: sent.tallies, "the first tally")
        assert (sent.tallies[0].counts, sent.tallies[0].final) == ((), False)
        sent.fails = True
        counter.add(label(HOUR_US), REFUSED, 4)
        await until(lambda: sent.failed, "a tally that could not be told")
        sent.fails = False
        await until(lambda: any(one.counts for one in sent.tallies), "what could not be told before")
        counter.add(label(HOUR_US), REFUSED)
    final = sent.tallies[-1]
    assert final.final and final.counts == (Count(1, "native", "", REFUSED, 5),)
    assert len({one.id for one in sent.tallies}) == 1
    numbers = [one.sequence for one in sent.tallies]
    assert numbers == sorted(set(numbers))
    batch = tally_rows.batch((one, 9) for one in sent.tallies)
    assert batch.num_rows == len(sent.tallies)  # one with hits or without


def test_the_metrics_of_the_spool_do_not_count_a_tally_as_a_hit() -> None:
    _, attributes = hit.pack([b"{}"], "p", tally=True)
    assert attributes == hit.attributes(0, "p") == {**hit.attributes(1, "p"), hit.TALLY: "1"}
