"""Whether the emulators named in the environment answer. Google's clients would retry for ten minutes, silently."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from urllib.parse import urlsplit

from services.shared.config import ConfigError, shown

PUBSUB, BIGQUERY = "PUBSUB_EMULATOR_HOST", "BIGQUERY_EMULATOR_HOST"
_SECONDS = 5.0  # to connect
_PAUSE = 0.1


def check(*variables: str, environ: Mapping[str, str] = os.environ, wait: float = 0.0) -> None:
    """Raises ConfigError for an emulator, named by one of these variables, that takes no connection for `wait` seconds.

    With 0 it is tried once.
    """
    end = time.monotonic() + wait
    for variable in variables:
        if not (value := environ.get(variable)):
            continue
        try:
            place = urlsplit(value if "//" in value else f"//{value}")
            if not place.hostname or not place.port:
                raise ValueError("it has no host and port")
            _connect(place.hostname, place.port, end)
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or error
            raise ConfigError(
                f"{variable}={shown(value)}: no emulator answers there: {why}; is `make run` running? Unset it to use "
                "Google Cloud"
            ) from error


def _connect(host: str, port: int, end: float) -> None:
    while True:
        try:
            return socket.create_connection((host, port), _SECONDS).close()
        except OSError:
            if time.monotonic() >= end:
                raise
        time.sleep(_PAUSE)
