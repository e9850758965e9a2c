"""What a fault works on: a fleet under load, and for how long."""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tests.chaos.client import Client
from tests.chaos.fleet import Fleet, Member


@dataclass(frozen=True)
class Pace:
    """How long a fault lasts."""

    kills: int = 10
    outage: float = 60.0  # seconds something is down
    hold: float = 25.0  # seconds something is slow or behaves badly


FULL = Pace()
QUICK = Pace(kills=2, outage=3.0, hold=3.0)


@dataclass
class Scene:
    """A fleet under load."""

    fleet: Fleet
    client: Client
    pace: Pace

    def only(self, service: str) -> Member:
        (member,) = self.fleet.of(service)
        return member

    async def load(self, events: int = 200) -> None:
        """Let the load run until so many more events are acknowledged."""
        await self.client.until_acknowledged(len(self.client.acknowledged) + events)

    async def kill(self, *members: Member) -> None:
        for member in members:
            await self.fleet.stop(member, signal.SIGKILL)


class Unavailable(Exception):
    """The fault cannot be made on this machine; says what to install."""


Work = Callable[[Scene], Awaitable[None]]
Compose = Callable[[Fleet, dict[str, str]], None]  # the settings are added to every collector's
