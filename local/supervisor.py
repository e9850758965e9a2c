"""Starts children, watches them, starts single ones again when asked, and ends them in reverse order.

No threads and no event loop: signals, the ends of children and what the page asks wake one `select`.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

from local.child import Child, Spec, finished

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_READY_SECONDS = 120.0
_GLANCE_SECONDS = 0.03  # between checks of a child that is starting
_WATCH_SECONDS = 5.0  # SIGCHLD wakes sooner
_REQUEST_BYTES = 4096
_KILL_SECONDS = 3.0  # the kernel ends a process at once, unless the machine is busy


class Stopped(Exception):
    """A signal asked the stack to end."""


class ChildFailed(Exception):
    """A child exited by itself, or was not ready in time; the text names it and shows the end of its log."""


class Supervisor:
    """Runs child processes; on exit, none is left running.

    `say` prints one line. After leaving, `killed` names the children that did not exit within their grace period.
    """

    def __init__(self, logs: Path, say: Callable[[str], None]) -> None:
        self._logs, self._say = logs, say
        self._signals: list[int] = []
        self.children: list[Child] = []
        self.killed: list[str] = []

    def __enter__(self) -> Supervisor:
        self._wake, self._woken = socket.socketpair()
        self._wake.setblocking(False)
        self._woken.setblocking(False)
        signal.set_wakeup_fd(self._wake.fileno(), warn_on_full_buffer=False)
        self._before = {number: signal.signal(number, self._on_signal) for number in (*_ENDING, signal.SIGCHLD)}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._end_all()
        finally:
            signal.set_wakeup_fd(-1)
            for number, handler in self._before.items():
                signal.signal(number, handler)
            self._wake.close()
            self._woken.close()

    def start(self, specs: Sequence[Spec]) -> None:
        """Start these in parallel and wait until all are ready. Raises ChildFailed or Stopped."""
        for spec in specs:
            self.children.append(Child(spec, self._logs))
        limit = time.monotonic() + _READY_SECONDS
        while waiting := [child for child in self.children if not child.check_ready()]:
            self._check()
            if time.monotonic() > limit:
                late = waiting[0]
                raise ChildFailed(
                    f"{late.spec.name} was not ready in {_READY_SECONDS:.0f} s; the end of {late.log}:\n{late.tail()}"
                )
            self._sleep(_GLANCE_SECONDS)
        # A one-off process that has finished is no longer watched.
        self.children = [child for child in self.children if child.spec.ready is not finished]

    def watch(self, asked: socket.socket | None = None, changed: Callable[[], None] = lambda: None) -> None:
        """Wait for ever. Raises ChildFailed when a child ends that the stack cannot go on without, Stopped at a signal.

        `asked` is a datagram socket: each request, such as {"do": "kill", "name": "loader"}, is answered with one
        datagram, {"name", "status"} or {"error"}, with the `id` of the request if it has one. `changed` is called after
        a child's status has changed.
        """
        if asked is not None:
            asked.setblocking(False)
        while True:
            if self._signals:
                raise Stopped
            before = self._statuses()
            if asked is not None:
                self._answer(asked)
            for child in self.children:
                self._look(child)
            if self._statuses() != before:
                changed()
            busy = any(child.status in ("starting", "stopping") for child in self.children)
            self._sleep(_GLANCE_SECONDS if busy else _WATCH_SECONDS, asked)

    def _statuses(self) -> list[tuple[int, str]]:
        return [(child.pid, child.status) for child in self.children]

    def _look(self, child: Child) -> None:
        """Notice a child's end, its readiness, and that it does not end though it was asked to."""
        if child.ended is not None:
            return
        code = child.exit_code()
        if code is not None:
            if child.spec.again is None:
                raise self._failure(child, code)
            child.ended, child.since = _how(code), time.time()
            if child.asked is None:
                self._say(
                    f"{child.spec.name} ended: {_how(code)}; the rest goes on; see {child.log}; {child.spec.again}"
                )
            else:
                self._say(f"{child.spec.name} ended, as the page asked: {_how(code)}")
        elif child.asked is None:
            if not child.ready and child.check_ready():
                child.since = time.time()
                self._say(f"{child.spec.name} is ready again")
        elif child.asked == "stop" and time.time() - child.since > child.spec.grace:
            self._say(f"killing {child.spec.name}: it did not end {child.spec.grace:.0f} s after SIGTERM")
            child.asked = "kill"
            child.signal(signal.SIGKILL)

    def _answer(self, asked: socket.socket) -> None:
        """Answer what was asked; nobody waits for an answer that finds no room."""
        while True:
            try:
                request = asked.recv(_REQUEST_BYTES)
            except BlockingIOError:
                return
            number: dict[str, int] = {}
            try:
                wanted = json.loads(request)
                number = {"id": wanted["id"]} if "id" in wanted else {}
                said: dict[str, Any] = {**self._obey(wanted), **number}
            except (ValueError, KeyError, TypeError, OSError) as error:
                said = {"error": str(error), **number}
            with suppress(BlockingIOError):
                asked.send(json.dumps(said).encode())

    def _obey(self, request: dict[str, str]) -> dict[str, str]:
        """Raises ValueError for what cannot be done now."""
        do, name = request["do"], request["name"]
        place = next((at for at, one in enumerate(self.children) if one.spec.name == name and one.spec.again), None)
        if place is None or do not in ("kill", "stop", "start"):
            raise ValueError(f"{do} {name}: nothing here can be asked for that")
        child = self.children[place]
        if do == "start":
            if child.ended is None:
                raise ValueError(f"{name} is running already")
            self.children[place] = child = Child(child.spec, self._logs)
            self._say(f"starting {name} again, as the page asked")
        elif child.exit_code() is not None:
            raise ValueError(f"{name} is not running")
        else:
            child.asked, child.since = do, time.time()
            child.signal(signal.SIGKILL if do == "kill" else signal.SIGTERM)
            if do == "kill" and child.ends_within(_KILL_SECONDS):
                self._look(child)
        return {"name": name, "status": child.status}

    def _check(self) -> None:
        if self._signals:
            raise Stopped
        for child in self.children:
            code = child.exit_code()
            if code is not None and not (code == 0 and child.spec.ready is finished):
                raise self._failure(child, code)

    def _failure(self, child: Child, code: int) -> ChildFailed:
        return ChildFailed(f"{child.spec.name} ended: {_how(code)}; the end of {child.log}:\n{child.tail()}")

    def _end_all(self) -> None:
        """Send SIGTERM to one child after another, the last started first; a second signal kills the rest."""
        asked = len(self._signals)
        for child in reversed(self.children):
            code = child.exit_code()
            if code is None:
                if child.asked is None:  # a second SIGTERM would end it at once
                    child.signal(signal.SIGTERM)
                code = self._await_end(child, asked)
                if code != 0:
                    self._say(f"{child.spec.name} ended: {_how(code)}")

    def _await_end(self, child: Child, asked: int) -> int:
        limit = time.monotonic() + child.spec.grace
        while (code := child.exit_code()) is None:
            hurried = len(self._signals) > asked
            if hurried or time.monotonic() > limit:
                why = "a second signal" if hurried else f"it did not end {child.spec.grace:.0f} s after SIGTERM"
                self._say(f"killing {child.spec.name}: {why}")
                self.killed.append(child.spec.name)
                child.signal(signal.SIGKILL)
                limit = time.monotonic() + child.spec.grace
                asked = len(self._signals)
            self._sleep(min(0.5, max(0.01, limit - time.monotonic())))
        return code

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if number != signal.SIGCHLD:
            self._signals.append(number)

    def _sleep(self, seconds: float, asked: socket.socket | None = None) -> None:
        """Sleep until a signal, the end of a child, a request, or the time given."""
        readable, _, _ = select.select([self._woken, *([asked] if asked else [])], [], [], seconds)
        if self._woken in readable:
            os.read(self._woken.fileno(), 4096)


def _how(code: int) -> str:
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
