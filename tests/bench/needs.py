"""What a part of the bench needs of the machine. A part that does not get it is refused with one line, not crashed."""

from __future__ import annotations

import os
import shutil


class Missing(Exception):
    """The machine lacks what the part needs; the text says what, and how to get it."""


def tool(name: str) -> str:
    """The path of nginx or wrk. Raises Missing."""
    # nginx is where root finds programs, which others do not look at.
    path = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if path is None:
        raise Missing(f"needs {name}: apt-get install nginx-light wrk")
    return path


def cores() -> tuple[int, int]:
    """One core for the server and one for the load, of those this process may use. Raises Missing."""
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) < 2:
        raise Missing("needs two cores: on one, the load takes from the server what is being measured")
    return allowed[0], allowed[1]
