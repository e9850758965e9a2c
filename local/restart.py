"""Asks the supervisor to kill, stop or start a process, through the socket that only the page has inherited."""

from __future__ import annotations

import asyncio
import json
import socket
from http import HTTPStatus

from local.refusal import Refused
from local.watched import Watched

ACTIONS = ("kill", "stop", "start")
_SECONDS = 15.0
_BYTES = 4096
_BY_STATUS = {"running": ("kill", "stop"), "ready": ("kill", "stop"), "not_ready": ("kill", "stop")} | {
    "starting": ("kill", "stop"),
    "stopping": ("kill",),
    "ended": ("start",),
    "stopped": ("start",),
}
_NOT_PUBSUB = "pubsub"  # what it holds is in memory: the stack ends with it


class Restarts:
    """`fd` is the page's end of the socket pair; None where nobody listens."""

    def __init__(self, fd: int | None) -> None:
        self._socket = None if fd is None else socket.socket(fileno=fd)
        if self._socket is not None:
            self._socket.setblocking(False)
        self._one = asyncio.Lock()
        self._number = 0

    def possible(self, watched: Watched, part: str, status: str) -> list[str]:
        """What can be asked of a part that has this status now."""
        if self._socket is None or watched.read_only or part == _NOT_PUBSUB or part not in watched.children:
            return []
        return list(_BY_STATUS.get(status, ()))

    async def ask(self, watched: Watched, name: str, action: str) -> dict[str, str]:
        """{name, status}. Raises Refused."""
        if action not in ACTIONS:
            raise Refused(f"use one of {', '.join(ACTIONS)}", HTTPStatus.NOT_FOUND)
        if self._socket is None or name == "page" or name not in watched.children:
            raise Refused(f"{name[:40]!r} cannot be started or stopped here", HTTPStatus.NOT_FOUND)
        if name == _NOT_PUBSUB:
            raise Refused(
                "what the Pub/Sub emulator holds is in memory and the stack ends with it; set a fault instead"
            )
        loop = asyncio.get_running_loop()
        try:
            async with self._one, asyncio.timeout(_SECONDS):
                self._number += 1
                request = {"do": action, "name": name, "id": self._number}
                await loop.sock_sendall(self._socket, json.dumps(request).encode())
                while True:
                    answer = json.loads(await loop.sock_recv(self._socket, _BYTES))
                    if answer.pop("id", None) == self._number:  # not one that came too late for an earlier request
                        break
        except (TimeoutError, OSError, ValueError) as error:
            raise Refused("the supervisor does not answer", HTTPStatus.SERVICE_UNAVAILABLE) from error
        if "error" in answer:
            raise Refused(answer["error"], HTTPStatus.CONFLICT)
        return {"name": answer["name"], "status": answer["status"]}
