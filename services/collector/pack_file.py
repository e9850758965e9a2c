"""A spooled pack as a file: what its name says, what it takes, and whether its content is whole. Pure."""

from __future__ import annotations

import re
from typing import NamedTuple

from services.shared import zstd_frame
from services.shared.errors import Poison

DAMAGED = ".damaged"  # ends the name of a file that is set aside
MAX_BYTES = 9_000_000  # Pub/Sub takes 10 MB, attributes and all; what it would refuse each time holds up the others
_BLOCK = 4096  # bytes; a file takes whole blocks
_NAME = re.compile(r"([0-9]{16})-([0-9A-Za-z-]{1,64})-([1-9][0-9]{0,4})\.zst")
_MAX_ORDER = 10**16 - 1


class PackFile(NamedTuple):
    """`order` is the time of writing in microseconds since 1970, or one more than the pack before had."""

    order: int
    pack: str
    hits: int

    @property
    def name(self) -> str:
        """Names sort as the files were written. Raises ValueError for a pack that makes no name."""
        name = f"{min(max(self.order, 0), _MAX_ORDER):016}-{self.pack}-{self.hits}.zst"
        if _NAME.fullmatch(name) is None:
            raise ValueError(f"pack {self.pack!r} of {self.hits} hits makes no file name")
        return name


def parse(name: str) -> PackFile | None:
    """What a name says; None for one that is not a pack's."""
    match = _NAME.fullmatch(name)
    return PackFile(int(match[1]), match[2], int(match[3])) if match else None


def is_set_aside(name: str) -> bool:
    return name.endswith(DAMAGED) and parse(name.removesuffix(DAMAGED)) is not None


def bytes_on_disk(size: int) -> int:
    """What a file of `size` bytes takes: whole blocks, and at least one."""
    return max(1, -(-size // _BLOCK)) * _BLOCK


def check(data: bytes) -> None:
    """Raises Poison unless `data` is one whole zstd frame whose checksum fits, if it has one."""
    if len(data) > MAX_BYTES:
        raise Poison(f"it has over {MAX_BYTES} bytes")
    if not zstd_frame.decompress(data):  # a frame that says it is empty is not read to its checksum
        raise Poison("it is empty")
