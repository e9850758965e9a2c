"""The official subscriber client, set up as the services need it: its leases, its clock, its flow control."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

from google.cloud import pubsub_v1
from google.cloud.pubsub_v1.subscriber._protocol import helper_threads, leaser

from services.shared.leases import LEASE_SECONDS

# The client drops a lease after an hour by default: the message would come again while it is still in hand, once an
# hour of an outage. Pub/Sub keeps what is leased no longer than any message, 31 days at most.
_LONGEST_LEASE = 31 * 24 * 60 * 60.0


class _Steady:
    """The client's threads time their waits by the wall clock: set back by an hour, it sends no ack for an hour."""

    time = staticmethod(time.monotonic)


helper_threads.time = leaser.time = _Steady


class Client(pubsub_v1.SubscriberClient):  # type: ignore[misc]
    """Says of how many messages the leases are asked for, be it by the client's threads or by a LeaseKeeper."""

    def __init__(self, leased: Callable[[int], None], credentials: Any) -> None:
        super().__init__(credentials=credentials)
        self._leased = leased

    def modify_ack_deadline(self, *, ack_ids: Iterable[str], ack_deadline_seconds: int, **named: Any) -> None:
        ids = list(ack_ids)  # an iterator, where the client's threads call
        if ack_deadline_seconds:  # 0 gives a message back
            self._leased(len(ids))
        super().modify_ack_deadline(ack_ids=ids, ack_deadline_seconds=ack_deadline_seconds, **named)


def flow_control(max_messages: int, max_bytes: int) -> pubsub_v1.types.FlowControl:
    """So many messages and bytes out at a time, with leases of LEASE_SECONDS that are kept as long as it takes."""
    return pubsub_v1.types.FlowControl(
        max_messages=max_messages,
        max_bytes=max_bytes,
        max_lease_duration=_LONGEST_LEASE,
        min_duration_per_lease_extension=LEASE_SECONDS,
        max_duration_per_lease_extension=LEASE_SECONDS,
    )
