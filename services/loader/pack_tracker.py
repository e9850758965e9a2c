"""A pack on its way into BigQuery, and the memory of those that arrived."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from services.shared import tracing
from services.shared.lru_set import Recent
from services.shared.subscriber import Delivery

Key = tuple[str, int]


@dataclass(eq=False)
class Pack:
    """One message and all its redeliveries, which are answered together once no part of it is open any more.

    `dead` is the reason why it fails every time; `later` says that it failed now and may pass when tried again.
    `unwritten` counts its rows that got into no table.
    """

    key: Key
    deliveries: list[Delivery]
    parts: int = 0
    dead: str | None = None
    later: bool = False
    unwritten: int = 0
    span: tracing.Span = tracing.NONE


def key(delivery: Delivery) -> Key:
    """What two deliveries of the same rows share: the id of the pack, and the checksum of its bytes.

    A pack id comes again when the processor works through the same hits once more. After a change of its code or
    schema the pack may then hold other rows, and those must not be taken for the ones already written.
    """
    return delivery.attributes.get("pack") or f"message {delivery.id}", zlib.crc32(delivery.data)


class PackTracker:
    """Which packs are being written, and the last `remember` of those that were."""

    def __init__(self, remember: int) -> None:
        self._open: dict[Key, Pack] = {}
        self._settled: Recent[Key] = Recent(remember)

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
        """The pack is answered for; one that was not written is taken anew when it comes again."""
        del self._open[pack.key]
        if written:
            self._settled.add(pack.key)
