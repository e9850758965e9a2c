"""The packs being written, and the ids of those that were."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from services.shared import tracing
from services.shared.lru_set import LruSet
from services.shared.subscriber import Delivery
from services.shared.tally_rows import Origin

Key = tuple[str, int]


@dataclass(eq=False)
class Pack:
    """One message and all its redeliveries, which are answered together once every slice of it is settled.

    `dead` says why it can never be loaded; `retry` that it failed now and may pass next time. `unwritten` counts its
    rows that are in no table, `rejected` those that went to `rejects`. `origin` is what its receipt will say, None once
    that is `receipted`: on its way to the table `tallies`.
    """

    key: Key
    deliveries: list[Delivery]
    open_slices: int = 0
    dead: str | None = None
    retry: bool = False
    unwritten: int = 0
    rejected: int = 0
    table: str = ""
    origin: Origin | None = None
    receipted: bool = False
    span: tracing.Span = tracing.NONE


def key(delivery: Delivery) -> Key:
    """What two deliveries of the same rows share: the pack id and the checksum of its bytes.

    The processor reuses a pack id when it processes the same hits again. After a change of its code or schema that pack
    may hold different rows, which must not pass for the ones already written.
    """
    return delivery.attributes.get("pack") or f"message {delivery.id}", zlib.crc32(delivery.data)


class PackTracker:
    """Which packs are being written, and the last `remember` of those that were."""

    def __init__(self, remember: int) -> None:
        self._open: dict[Key, Pack] = {}
        self._settled: LruSet[Key] = LruSet(remember)

    def __len__(self) -> int:
        return len(self._open)

    def __iter__(self) -> Iterator[Pack]:
        return iter(list(self._open.values()))

    def was_written(self, pack: Key) -> bool:
        return pack in self._settled

    def being_written(self, pack: Key) -> Pack | None:
        return self._open.get(pack)

    def open(self, pack: Pack) -> None:
        self._open[pack.key] = pack

    def close(self, pack: Pack, *, written: bool) -> None:
        """The pack is answered; one that was not written is processed again when it is redelivered."""
        del self._open[pack.key]
        if written:
            self._settled.add(pack.key)
