"""The account that a service acts as: found once, and waited for if it is not there yet.

On GKE a pod starts some seconds before its metadata server answers. Google's clients look for credentials when they are
created, block while they do, and fail if there are none.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from typing import Any

import google.auth
from google.auth.exceptions import GoogleAuthError, RefreshError, TransportError
from google.auth.transport.requests import Request

from services.shared import daemon_thread, log
from services.shared.background import Background
from services.shared.backoff import Backoff
from services.shared.config import ConfigError

PUBSUB_EMULATOR = "PUBSUB_EMULATOR_HOST"
FILE = "GOOGLE_APPLICATION_CREDENTIALS"
AWAITED = "waiting for credentials"
_FILE_SECONDS = 10.0  # a service waits for this at its start
_ATTEMPT_SECONDS = 60.0  # google.auth tries a silent metadata server several times, which takes about 40 s
_RETRY_SECONDS = (0.5, 5.0)  # backoff between attempts

_log = log.get("credentials")


class NoCredentials(Exception):
    """There are none yet; a later call may find them."""


class Account:
    """Google's default credentials of this process, for all its clients.

    Entering it returns at once: a background task looks for them until they are found. None are needed if all of the
    variables `emulators` are set. Raises ConfigError if the file GOOGLE_APPLICATION_CREDENTIALS names cannot be used.
    """

    def __init__(self, background: Background, *emulators: str, environ: Mapping[str, str] = os.environ) -> None:
        self._background, self._file = background, environ.get(FILE, "")
        self._needed = not all(environ.get(name) for name in emulators)
        self._found: Any = None
        self._settled = asyncio.Event()
        self._looking: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Account:
        if self._needed and self._file:
            await self._read_file()
        if not self._needed or self._found is not None:
            self._settled.set()
        else:
            self._looking = self._background.start("credentials", self._look(), ending=self._settled.is_set)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._looking is not None:
            self._looking.cancel()

    @property
    def missing(self) -> str | None:
        """Why there are no credentials; None once there are."""
        return None if self._settled.is_set() else AWAITED

    def credentials(self) -> Any:
        """As google.auth gives them, or None if only emulators are used. Raises NoCredentials."""
        if not self._settled.is_set():
            raise NoCredentials(AWAITED)
        return self._found

    async def found(self, stop: asyncio.Event) -> bool:
        """Wait for the credentials; False if `stop` is set first."""
        waiting = [asyncio.ensure_future(event.wait()) for event in (self._settled, stop)]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in waiting:
                one.cancel()
        return self._settled.is_set()

    async def _read_file(self) -> None:
        """A file that cannot be used is a mistake that no retry fixes; a server it points to may just be away."""
        try:
            self._found = await daemon_thread.call("credentials", _from_file, _FILE_SECONDS)
        except (TransportError, RefreshError, TimeoutError) as error:
            _log.warning("waiting for credentials", error=_text(error))
        except Exception as error:
            raise ConfigError(
                f"{FILE}={self._file!r}: {_text(error)} (name a credentials file that can be read, or unset the"
                " variable to use the account of the pod or the machine)"
            ) from error

    async def _look(self) -> None:
        backoff, said = Backoff(*_RETRY_SECONDS), bool(self._file)
        find = _from_file if self._file else _from_surroundings
        while self._found is None:
            try:
                self._found = await daemon_thread.call("credentials", find, _ATTEMPT_SECONDS)
            except Exception as error:  # noqa: BLE001 - whatever the libraries make of a wrong answer, the next may be right
                if not said:
                    _log.warning("waiting for credentials", error=_text(error))
                    said = True
                await asyncio.sleep(backoff.wait())
        self._settled.set()
        if said:
            _log.info("credentials found")


def _from_file() -> Any:
    found, _ = google.auth.default()
    return found


def _from_surroundings() -> Any:
    """Credentials with a token: a metadata server answers before it has one to give."""
    found, _ = google.auth.default()
    found.refresh(Request())
    if not found.token:
        raise RefreshError("the token is empty")
    return found


def _text(error: Exception) -> str:
    """The first line, for the log and for the operator."""
    if isinstance(error, GoogleAuthError):
        return str(error.args[0] if error.args else error).partition("\n")[0]
    return f"{type(error).__name__}: {error}".partition("\n")[0]
