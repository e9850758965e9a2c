"""Which day an event counts in: the same for every delivery of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.processor import event_day
from services.shared import identity

DAY = 86_400_000_000
HOUR, MINUTE, SECOND = DAY // 24, 60_000_000, 1_000_000
NOON = 20_000 * DAY + DAY // 2
TODAY = 20_000


def _id(at: int) -> str:
    return identity.uuid7(at, b"0123456789")


@pytest.mark.parametrize(
    ("event_id", "client_time", "wanted"),
    [
        ("order-1", None, TODAY),
        (_id(NOON - DAY), None, TODAY - 1),
        (_id(NOON - DAY) + "#3", None, TODAY - 1),
        (_id(NOON - DAY), str((NOON - 3 * DAY) // 1000), TODAY - 1),  # the id comes first
        (_id(NOON - 7 * DAY), None, TODAY - 7),
        (_id(NOON - 7 * DAY - SECOND), None, TODAY),
        (_id(NOON - 8 * DAY), str((NOON - 3 * DAY) // 1000), TODAY - 3),  # an id that is too old says nothing
        (_id(NOON + 2 * MINUTE), None, TODAY),
        ("order-1", str((NOON - DAY) // 1000), TODAY - 1),
        ("order-1", (NOON - DAY) // 1000, TODAY - 1),
        ("order-1", "2024-10-03T23:59:59Z", TODAY - 1),
        ("order-1", "2024-10-03", TODAY),  # no time that a TIMESTAMP takes
        ("order-1", str((NOON - 8 * DAY) // 1000), TODAY),
        ("order-1", str((NOON + 2 * MINUTE) // 1000), TODAY),
        ("order-1", "soon", TODAY),
        ("order-1", {"a": 1}, TODAY),
    ],
)
def test_the_id_then_the_clients_time_then_the_receipt(event_id: str, client_time: object, wanted: int) -> None:
    assert event_day.of(event_id, client_time, NOON) == wanted


@pytest.mark.parametrize("ahead", [0, SECOND, MINUTE])
def test_a_clock_that_is_a_little_ahead_may_name_tomorrow(ahead: int) -> None:
    midnight = TODAY * DAY + DAY
    received = midnight - SECOND
    moment = (received + ahead) // 1000
    assert event_day.of("order-1", str(moment), received) == moment * 1000 // DAY
    assert event_day.of(_id(moment * 1000), None, received) == moment * 1000 // DAY


@given(
    st.sampled_from(["order-1", _id(NOON), _id(NOON - 2 * HOUR)]) | st.text(),
    st.none() | st.text() | st.integers() | st.sampled_from([str((NOON - HOUR) // 1000)]),
    st.lists(st.integers(0, 6 * DAY), min_size=2, max_size=2),
)
def test_retries_of_a_client_that_says_when_have_the_same_day(
    event_id: str, client_time: object, delays: list[int]
) -> None:
    days = {event_day.of(event_id, client_time, NOON + delay) for delay in delays}
    said = client_time == str((NOON - HOUR) // 1000) or identity.time_of(event_id.partition("#")[0]) is not None
    assert len(days) == 1 or not said
    assert all(TODAY - 7 <= day <= TODAY + 7 for day in days)
