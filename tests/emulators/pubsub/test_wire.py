"""Responses are written byte by byte; the official types must read them as they would read their own."""

from __future__ import annotations

import pytest
from google.pubsub_v1 import types
from hypothesis import given
from hypothesis import strategies as st

from emulators.pubsub import wire
from emulators.pubsub.message import Delivery, stamp

MESSAGES = st.builds(
    lambda data, attributes, key: types.PubsubMessage.pb()(data=data, attributes=attributes, ordering_key=key),
    st.binary(max_size=300),
    st.dictionaries(st.text(max_size=5), st.text(max_size=200), max_size=3),
    st.text(max_size=5),
)


@pytest.mark.parametrize("response", [types.PullResponse, types.StreamingPullResponse])
@given(st.lists(st.tuples(st.text(max_size=200), MESSAGES, st.integers(0, 2**31 - 1)), max_size=5))
def test_the_official_types_read_what_is_written(response: type, rows: list[tuple[str, object, int]]) -> None:
    kept = [(ack_id, stamp(raw, 7, 1_800_000_000.25), attempt) for ack_id, raw, attempt in rows]
    expected = response.pb()(
        received_messages=[
            {"ack_id": ack_id, "message": raw, "delivery_attempt": attempt} for ack_id, raw, attempt in rows
        ]
    )
    assert response.pb().FromString(wire.received([Delivery(*row) for row in kept])) == expected


@pytest.mark.parametrize("length", [0, 1, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152])
def test_lengths_at_every_varint_boundary_are_read(length: int) -> None:
    message = stamp(types.PubsubMessage.pb()(data=b"x" * length), 1, 1_800_000_000.0)
    read = types.PullResponse.pb().FromString(wire.received([Delivery("id", message, 1), Delivery("id", message, 0)]))
    assert [len(one.message.data) for one in read.received_messages] == [length, length]
    assert [one.delivery_attempt for one in read.received_messages] == [1, 0]
