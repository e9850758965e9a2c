"""Processes for the tests of the supervisor: `python -m tests.local.run_actor ROLE …`.

Roles: `calm` ends at SIGTERM, `stubborn` does not, `brief` says something and ends with 3; `stack LOGS ROLE…` is a
supervisor of such children, and prints {"pids": {...}} once they run.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

from local import child
from local.supervisor import ChildFailed, Stopped, Supervisor


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def complain(text: str) -> None:
    sys.stderr.write(text + "\n")


def act(role: str) -> None:
    if role == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    say(json.dumps({"up": role}))
    if role == "brief":
        for number in range(30):
            say(f"line {number}")
        sys.exit(3)
    while True:
        time.sleep(60)


def supervise(logs: Path, roles: list[str]) -> int:
    supervisor = Supervisor(logs, complain)
    try:
        with supervisor:
            for role in roles:
                environment = dict(os.environ)
                spec = child.Spec(role, "tests.local.run_actor", environment, child.announces("up"), (role,), grace=0.5)
                supervisor.start([spec])
            say(json.dumps({"pids": {actor.spec.name: actor.pid for actor in supervisor.children}}))
            supervisor.watch()
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
