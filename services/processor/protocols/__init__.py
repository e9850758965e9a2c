"""What other trackers send, each protocol in a file of its own: `read` makes parameters with canonical names of a hit.

A reader is pure and takes anything a stranger can send: it raises Unreadable, whose text is a reject's detail, for an
item that is not an event of its protocol, and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from services.shared.hit import Hit

# The names every protocol uses for the same thing; `properties` and `context` are objects.
CANONICAL = (
    "event_id", "event_time", "sent_at", "user_id", "anonymous_id", "session_id", "type", "url", "referrer", "title",
    "consent", "properties", "context",
)  # fmt: skip

Reader = Callable[[Hit], dict[str, Any]]


class Unreadable(Exception):
    """This item is not an event of the protocol; the text says why, without anything that a stranger wrote."""
