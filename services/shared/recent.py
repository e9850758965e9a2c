"""Remembers the last ids seen, so that a redelivered pack is known as one."""

from __future__ import annotations

from collections import OrderedDict


class Recent:
    """A set of at most `size` texts; the one not used for longest is forgotten first."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._ids: OrderedDict[str, None] = OrderedDict()

    def __contains__(self, identity: str) -> bool:
        if identity in self._ids:
            self._ids.move_to_end(identity)
            return True
        return False

    def add(self, identity: str) -> None:
        self._ids[identity] = None
        self._ids.move_to_end(identity)
        if len(self._ids) > self._size:
            self._ids.popitem(last=False)
