"""Remembers the ids seen last, so that a redelivered pack is recognized."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class LruSet(Generic[K]):
    """A set of at most `size` ids; the least recently used is evicted first."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._ids: OrderedDict[K, None] = OrderedDict()

    def __contains__(self, identity: K) -> bool:
        if identity in self._ids:
            self._ids.move_to_end(identity)
            return True
        return False

    def add(self, identity: K) -> None:
        self._ids[identity] = None
        self._ids.move_to_end(identity)
        if len(self._ids) > self._size:
            self._ids.popitem(last=False)
