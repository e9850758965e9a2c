"""The dead letters that wait, as `pixelpipe dead list` shows them. They are looked at and given back."""

from __future__ import annotations

import asyncio
import time
from http import HTTPStatus
from math import inf
from typing import Any

from google.api_core import exceptions

from local.refusal import Refused
from services.ops.dead_letter_queue import DeadLetterQueue
from services.ops.deployment import CommandRefused
from services.shared import fault
from services.shared.config import ConfigError

MOST = 100
_WAIT = 1.0  # seconds for another one
# What was given back comes again only after the subscription's backoff, so looks are rare.
_SECONDS = 15.0


class DeadLetters:
    def __init__(self, project: str, subscription: str) -> None:
        self._project, self._subscription = project, subscription
        self._one = asyncio.Lock()
        self._found: list[dict[str, Any]] = []
        self._read = -inf

    async def shown(self) -> list[dict[str, Any]]:
        """The summaries of MOST at most, oldest first, a few seconds old. Raises Refused."""
        async with self._one:
            if time.monotonic() - self._read > _SECONDS:
                try:
                    self._found = await self._look()
                except (CommandRefused, ConfigError) as error:
                    raise Refused(str(error), HTTPStatus.SERVICE_UNAVAILABLE) from error
                except exceptions.GoogleAPIError as error:
                    raise Refused(
                        f"Pub/Sub says: {fault.words(error)[:200]}", HTTPStatus.SERVICE_UNAVAILABLE
                    ) from error
                self._read = time.monotonic()
            return self._found

    async def _look(self) -> list[dict[str, Any]]:
        found = []
        async with DeadLetterQueue(self._project, self._subscription, wait=_WAIT) as queue:
            async for one in queue.messages():
                found.append(one.summary())
                if len(found) == MOST:
                    break
        return sorted(found, key=lambda one: str(one["published"]))
