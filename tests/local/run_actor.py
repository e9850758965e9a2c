"""Processes for the tests of the supervisor: `python -m tests.local.run_actor ROLE …`.

Roles: `calm` ends at SIGTERM, `stubborn` does not, `brief` says something and ends with 3 once all run, `stillborn`
ends before that; `stack LOGS ROLE…` is a supervisor of such children, and prints {"pids": {...}} once they run. One
whose role ends in + can be started again; the lines of stdin are what the page would ask, and each answer is printed.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path

from local import child
from local.supervisor import ChildFailed, Stopped, Supervisor

RUNNING = "RUN_ACTOR_RUNNING"  # the file that is there once all have said that they are up


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def complain(text: str) -> None:
    sys.stderr.write(text + "\n")


def act(role: str) -> None:
    if role == "stillborn":
        sys.exit(7)
    if role == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    say(json.dumps({"up": role}))
    if role == "brief":
        while not Path(os.environ[RUNNING]).exists():
            time.sleep(0.01)
        for number in range(30):
            say(f"line {number}")
        sys.exit(3)
    while True:
        time.sleep(60)


def relay(pages: socket.socket) -> None:
    """Ask what stdin says, line by line."""
    for line in sys.stdin:
        pages.send(line.encode())
        complain(f"answer {pages.recv(4096).decode()}")


def supervise(logs: Path, roles: list[str]) -> int:
    supervisor, running = Supervisor(logs, complain), logs / "running"
    try:
        with supervisor:
            for role in roles:
                name, again = role.removesuffix("+"), "ask the page" if role.endswith("+") else None
                spec = child.Spec(
                    name,
                    "tests.local.run_actor",
                    {**os.environ, RUNNING: str(running)},
                    child.announces("up"),
                    (name,),
                    grace=0.5 if name == "stubborn" else 60.0,
                    again=again,
                )
                supervisor.start([spec])
            say(json.dumps({"pids": {actor.spec.name: actor.pid for actor in supervisor.children}}))
            running.touch()
            ours, pages = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
            threading.Thread(target=relay, args=(pages,), daemon=True).start()
            supervisor.watch(ours)
    except Stopped:
        return 1 if supervisor.killed else 0
    except ChildFailed as error:
        complain(str(error))
        return 4
    return 5


if __name__ == "__main__":
    if sys.argv[1] == "stack":
        sys.exit(supervise(Path(sys.argv[2]), sys.argv[3:]))
    act(sys.argv[1])
