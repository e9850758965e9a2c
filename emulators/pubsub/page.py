"""Paging of lists, stable while items come and go: a token names the last item that was seen."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from emulators.pubsub.errors import invalid

MOST = 1_000
_MARK = "after:"

T = TypeVar("T")


def cut(items: list[T], key: Callable[[T], str], size: int, token: str) -> tuple[list[T], str]:
    """One page of items sorted by `key`, and the token of the next one, "" on the last; size 0 is 1,000, the most.

    Raises `PubsubError` INVALID_ARGUMENT for a negative size or a token that no page gave.
    """
    if size < 0:
        raise invalid(f"Invalid page_size given ({size}). It must not be negative.")
    if token and not token.startswith(_MARK):
        raise invalid(f"Invalid page_token given ({token[:200]}).")
    rest = [item for item in items if key(item) > token.removeprefix(_MARK)] if token else items
    count = min(size or MOST, MOST)
    return rest[:count], _MARK + key(rest[count - 1]) if len(rest) > count else ""
