"""The official subscriber client, with its leases counted and its retries made to fail like any other call."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from google.api_core import exceptions
from google.cloud import pubsub_v1

from services.shared import subscriber_clock

subscriber_clock.install()


class Client(pubsub_v1.SubscriberClient):  # type: ignore[misc]
    """Reports how many leases are requested, whether by the client's own threads or by a LeaseKeeper.

    A call that was retried for too long fails like any other call. The client's threads treat that as a failure that
    may pass; the RetryError they would get otherwise, after an outage of a minute, ends them.
    """

    def __init__(self, leased: Callable[[int], None], credentials: Any) -> None:
        super().__init__(credentials=credentials)
        self._leased = leased

    def modify_ack_deadline(self, *, ack_ids: Iterable[str], ack_deadline_seconds: int, **named: Any) -> None:
        ids = list(ack_ids)  # an iterator when the client's threads call
        if ack_deadline_seconds:  # 0 gives a message back
            self._leased(len(ids))
        with _retries_end():
            super().modify_ack_deadline(ack_ids=ids, ack_deadline_seconds=ack_deadline_seconds, **named)

    def acknowledge(self, **named: Any) -> None:
        with _retries_end():
            super().acknowledge(**named)


@contextmanager
def _retries_end() -> Iterator[None]:
    try:
        yield
    except exceptions.RetryError as error:
        raise exceptions.ServiceUnavailable(str(error)) from error
