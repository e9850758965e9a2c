"""wrk as a load that can be paused: its connections stay, so that no slice pays for opening them."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

from tests.bench import needs

SCRIPTS = Path(__file__).parent
LONGEST = "1h"  # it is ended long before


class Wrk:
    """A wrk of one thread and so many connections, running one of the .lua files here; paused at first.

    `arguments` are the script's.
    """

    def __init__(self, port: int, connections: int, script: str, *arguments: str) -> None:
        program = needs.tool("wrk")
        options = [program, "-t1", f"-c{connections}", f"-d{LONGEST}", "-s", str(SCRIPTS / script)]
        self._process = subprocess.Popen(
            [*options, f"http://127.0.0.1:{port}/", *(("--", *arguments) if arguments else ())],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.pid = self._process.pid
        self.pause()

    def __enter__(self) -> Wrk:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()  # also what is paused
        self._process.wait(10)

    def resume(self) -> None:
        if self._process.poll() is not None:
            raise AssertionError(f"wrk ended with {self._process.returncode}")
        self._process.send_signal(signal.SIGCONT)

    def pause(self) -> None:
        self._process.send_signal(signal.SIGSTOP)
