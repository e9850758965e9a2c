"""The known contents of a spool's folder, counted for its bounds and metrics. Does no I/O."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

from services.collector import pack_file
from services.collector.disk import FileState
from services.collector.metrics import Metrics


@dataclass(frozen=True, slots=True)
class Entry:
    pack: str
    hits: int
    at: float  # Unix time of writing
    bytes: int  # on disk


class Inventory:
    """Each file is a pack to drain, a confirmed pack that is not removed yet, unreadable, or set aside."""

    def __init__(self, metrics: Metrics, max_files: int, now: Callable[[], float]) -> None:
        self._metrics, self._max_files, self._now = metrics, max_files, now
        self.packs: OrderedDict[str, Entry] = OrderedDict()  # by name, oldest first
        self.confirmed: dict[str, int] = {}  # name and bytes, as below
        self._unreadable: dict[str, Entry] = {}  # but not renamed
        self._aside: dict[str, int] = {}
        self._newcomers: dict[str, FileState] = {}  # files put here by others, as they were at the last scan
        self._order = 0  # of the last name
        self.stored = asyncio.Event()  # while there are packs to drain
        self.hits = 0
        self.bytes = 0  # of all four

    @property
    def files(self) -> int:
        return len(self.packs) + len(self.confirmed) + len(self._unreadable) + len(self._aside)

    def new_name(self, pack: str, hits: int) -> str:
        """A name for a new pack, which sorts after all earlier ones, whatever the clock does."""
        self._order = max(int(self._now() * 1e6), self._order + 1)
        return pack_file.PackFile(self._order, pack, hits).name

    def written(self, name: str, pack: str, hits: int, size: int) -> None:
        if name not in self.packs:  # a scan may have found it meanwhile
            self._add(name, Entry(pack, hits, self._now(), pack_file.bytes_on_disk(size)))
        self.show()

    def begin(self, states: Mapping[str, FileState]) -> None:
        """Add what an earlier process left."""
        self._note_set_aside(states)
        self._take_on(states)

    def is_new(self, name: str) -> bool:
        """Whether a name in the folder is that of an unknown pack, or of an unknown file that was set aside."""
        if any(name in known for known in (self.packs, self.confirmed, self._unreadable, self._aside)):
            return False
        return pack_file.parse(name) is not None or pack_file.is_set_aside(name)

    def look(self, states: Mapping[str, FileState]) -> None:
        """Add the new files that have not changed since the last scan: they are no longer being copied."""
        last, self._newcomers = self._newcomers, dict(states)
        self._note_set_aside(states)
        # The scan took a while: a new file may be known by now.
        self._take_on({name: state for name, state in states.items() if last.get(name) == state and self.is_new(name)})

    def _take_on(self, states: Mapping[str, FileState]) -> None:
        for name in sorted(states)[: max(0, self._max_files - self.files)]:
            if (file := pack_file.parse(name)) is None:
                continue
            at = min(file.order / 1e6, self._now())
            self._add(name, Entry(file.pack, file.hits, at, pack_file.bytes_on_disk(states[name].size)))
            self._order = max(self._order, file.order)
            self._metrics.spool_found.inc(file.hits)
        self._sort()

    def _note_set_aside(self, states: Mapping[str, FileState]) -> None:
        for name, state in states.items():
            if pack_file.is_set_aside(name) and name not in self._aside:
                self._aside[name] = pack_file.bytes_on_disk(state.size)
                self.bytes += self._aside[name]

    def vanished(self, names: Iterable[str]) -> tuple[int, int]:
        """These files were taken away. Returns how many packs to drain, and how many hits, were among them."""
        gone = [entry for name in names if (entry := self._pop(name)) is not None]
        self.bytes -= sum(entry.bytes for entry in gone)
        self.show()
        return len(gone), sum(entry.hits for entry in gone)

    def forget_set_aside(self, names: Collection[str]) -> None:
        """Forget files set aside that are no longer among the names in the folder."""
        for name in [name for name in self._aside if name not in names]:
            self.bytes -= self._aside.pop(name)

    def confirm(self, names: Iterable[str]) -> list[str]:
        """Pub/Sub has confirmed these packs. Returns the names of those that were still to drain."""
        known = []
        for name in names:
            if (entry := self._pop(name)) is not None:
                self.confirmed[name] = entry.bytes
                # Counted when it leaves the spool, so that it counts once, however often it is published.
                self._metrics.drained.inc(entry.hits)
                known.append(name)
        self.show()
        return known

    def removed(self, names: Iterable[str]) -> None:
        """The files of these confirmed packs are removed."""
        self.bytes -= sum(self.confirmed.pop(name, 0) for name in names)
        self.show()

    def unreadable(self, name: str) -> Entry | None:
        """Skip this pack for now. Returns None if it is no longer there to drain."""
        if (entry := self._pop(name)) is not None:
            self._unreadable[name] = entry
            self.show()
        return entry

    def set_aside(self, name: str, to: str) -> None:
        """The file of an unreadable pack was renamed."""
        # A scan may have intervened: the pack is to be drained again, or its new name is known.
        entry = self._unreadable.pop(name, None) or self._pop(name)
        if entry is not None:
            self.bytes -= self._aside.get(to, 0)
            self._aside[to] = entry.bytes
            self.show()

    def try_unreadable_again(self) -> None:
        """Unreadable files that kept their names are drained again: the whole disk may have been at fault."""
        for name, entry in self._unreadable.items():
            self.bytes -= entry.bytes
            self._add(name, entry)
        if self._unreadable:
            self._unreadable.clear()
            self._sort()

    def _add(self, name: str, entry: Entry) -> None:
        self.packs[name] = entry
        self.hits += entry.hits
        self.bytes += entry.bytes

    def _pop(self, name: str) -> Entry | None:
        entry = self.packs.pop(name, None)
        if entry is not None:
            self.hits -= entry.hits
        return entry

    def _sort(self) -> None:
        self.packs = OrderedDict(sorted(self.packs.items()))
        self.show()

    def show(self) -> None:
        self._metrics.spool_packs.set(len(self.packs))
        self._metrics.spool_hits.set(self.hits)
        self._metrics.spool_bytes.set(self.bytes)
        self._metrics.spool_oldest.set(next(iter(self.packs.values())).at if self.packs else 0)
        (self.stored.set if self.packs else self.stored.clear)()
