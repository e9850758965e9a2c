"""Listens on the port of a setting; a port or host that is not available is a wrong setting, reported in one line."""

from __future__ import annotations

import os

from aiohttp import web

from services.shared.config import ConfigError, shown


async def start(site: web.BaseSite, host: str, port: int, setting: str) -> None:
    """Start a site. Raises ConfigError that names PIPE_HOST and `setting`, the variable of the port."""
    try:
        await site.start()
    except OSError as error:
        # uvloop's own text repeats the address; a name that does not resolve has no errno of the system.
        why = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
        raise ConfigError(
            f"{setting}={port} with PIPE_HOST={shown(host)}: cannot listen there: {why}; choose another port or address"
        ) from error
