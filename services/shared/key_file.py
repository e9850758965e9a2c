"""Files of keys, as a Secret is mounted: read once, at the start, and refused where others may read them."""

from __future__ import annotations

import os
import stat
from pathlib import Path

MAX_BYTES = 65_536


def read(file: str) -> list[bytes]:
    """The lines of the file, without blank ones.

    Raises ValueError for one that cannot be read, that every user may read, that is too large, or that holds no key. A
    group may read it: so Kubernetes mounts a Secret for a pod that is not root (`fsGroup`).
    """
    try:
        with Path(file).open("rb") as opened:
            shared = os.fstat(opened.fileno()).st_mode & stat.S_IROTH
            content = opened.read(MAX_BYTES + 1)
    except OSError as error:
        raise ValueError(f"{file} cannot be read: {error.strerror}; mount it, readable for this user") from error
    if shared:
        raise ValueError(f"every user may read {file}; make its mode 0400 or 0440 (of a mounted Secret: defaultMode)")
    if len(content) > MAX_BYTES:
        raise ValueError(f"{file} is over {MAX_BYTES} bytes; it should hold keys, one a line")
    found = [line.strip() for line in content.splitlines() if line.strip()]
    if not found:
        raise ValueError("the file holds no key")
    return found
