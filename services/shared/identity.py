"""UUIDv7: ids that sort by time and say when they were made (RFC 9562, section 5.7)."""

from __future__ import annotations

import os
import re

_UUID7 = re.compile(r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-7[0-9a-fA-F]{3}-[89abAB][0-9a-fA-F]{3}-[0-9a-fA-F]{12}")


def uuid7(now_us: int, entropy: bytes | None = None) -> str:
    """A UUIDv7 for `now_us`, microseconds since 1970. Ten bytes of `entropy` make it repeatable; random without."""
    random = int.from_bytes(entropy if entropy is not None else os.urandom(10), "big")
    value = (
        (now_us // 1000 & 0xFFFF_FFFF_FFFF) << 80
        | 0x7 << 76
        | (random >> 62 & 0xFFF) << 64
        | 0x2 << 62
        | random & 0x3FFF_FFFF_FFFF_FFFF
    )
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def time_of(identity: str) -> int | None:
    """Milliseconds since 1970 inside a UUIDv7; None for any other text."""
    if _UUID7.fullmatch(identity) is None:
        return None
    return int(identity[:8] + identity[9:13], 16)
