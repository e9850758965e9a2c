"""Subscription filters, as far as this emulator knows them: whether a message has an attribute, or has not."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from emulators.pubsub.errors import invalid, unsupported

MAX_BYTES = 256
_PRESENCE = re.compile(r'\s*(?P<absent>NOT\s+|-)?attributes:(?P<name>[A-Za-z_][\w-]*|"[^"\\]+")\s*', re.ASCII)

Wanted = Callable[[Mapping[str, str]], bool]


def wanted(text: str) -> Wanted | None:
    """Whether the attributes of a message pass, None for no filter; raises `PubsubError` for any other one."""
    if not text:
        return None
    if len(text.encode()) > MAX_BYTES:
        raise invalid(f"Invalid filter given: it is over {MAX_BYTES} bytes.")
    found = _PRESENCE.fullmatch(text)
    if found is None:
        raise unsupported("Subscription.filter other than `attributes:KEY` and `NOT attributes:KEY`")
    name, present = found["name"].strip('"'), found["absent"] is None
    return lambda attributes: (name in attributes) is present
