"""CPU time: of a process, of a core, and which cores a process may run on."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_IDLE = (3, 4)  # columns of /proc/stat: idle, and idle while a disk works
_GUEST = 8  # the columns from here on are in the first two already


def of(pid: int) -> float:
    """CPU seconds a process has used, all its threads, those that ended too.

    The kernel's clock of that process (clock_getcpuclockid(3)): utime and stime of /proc/PID/stat, but not rounded to
    10 ms, which would be 1 % of a slice.
    """
    return time.clock_gettime((~pid << 3) | 2)


def busy(cores: Collection[int], stat: Path = Path("/proc/stat")) -> float:
    """CPU seconds these cores were busy with anything, or taken away by the host, since the machine started."""
    wanted = {f"cpu{core}" for core in cores}
    ticks = 0
    for line in stat.read_text().splitlines():
        name, *columns = line.split()
        if name in wanted:
            ticks += sum(int(value) for n, value in enumerate(columns[:_GUEST]) if n not in _IDLE)
    return ticks / _TICKS


@contextmanager
def on(*cores: int) -> Iterator[None]:
    """What is started within runs on these cores only: a child inherits them from who starts it."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
