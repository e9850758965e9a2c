"""A spooled pack as a file: its name, its size on disk, and whether its content is intact. Pure."""

from __future__ import annotations

import re
from typing import NamedTuple

from services.shared import zstd_frame
from services.shared.errors import Poison

DAMAGED = ".damaged"  # suffix of a file that is set aside
MAX_BYTES = 9_000_000  # Pub/Sub accepts 10 MB; a pack that it rejects every time would block the others
_BLOCK = 4096  # bytes; a file takes whole blocks
_NAME = re.compile(r"([0-9]{16})-([0-9A-Za-z-]{1,64})-(0|[1-9][0-9]{0,4})\.zst")
_MAX_ORDER = 10**16 - 1


class PackFile(NamedTuple):
    """`order` is the time of writing in microseconds since 1970, or one more than that of the previous pack.

    A pack of 0 hits is a tally.
    """

    order: int
    pack: str
    hits: int

    @property
    def name(self) -> str:
        """Names sort in the order of writing. Raises ValueError if the fields do not make a valid name."""
        name = f"{min(max(self.order, 0), _MAX_ORDER):016}-{self.pack}-{self.hits}.zst"
        found = parse(name)
        if found is None or (found.pack, found.hits) != (self.pack, self.hits):
            raise ValueError(f"pack {self.pack!r} of {self.hits} hits makes no file name")
        return name


def parse(name: str) -> PackFile | None:
    """The parts of a pack's file name; None for any other name."""
    match = _NAME.fullmatch(name)
    return PackFile(int(match[1]), match[2], int(match[3])) if match else None


def is_set_aside(name: str) -> bool:
    return name.endswith(DAMAGED) and parse(name.removesuffix(DAMAGED)) is not None


def bytes_on_disk(size: int) -> int:
    """The disk space of a file of `size` bytes: whole blocks, at least one."""
    return max(1, -(-size // _BLOCK)) * _BLOCK


def check(data: bytes) -> None:
    """Raises Poison unless `data` is one complete zstd frame whose checksum matches, if it has one."""
    if len(data) > MAX_BYTES:
        raise Poison(f"it has over {MAX_BYTES} bytes")
    if not zstd_frame.decompress(data):  # the checksum of an empty frame is not verified
        raise Poison("it is empty")
