"""One container of an image, made once and started as often as needed: read-only, on loopback, as the image's user."""

from __future__ import annotations

import json
import os
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from tests.images import build
from tests.images.build import podman
from tests.process import ROOT, wait_for

INSIDE = ROOT / "tests" / "images" / "inside.py"


class Container:
    def __init__(self, image: str, env: dict[str, str], *command: str, admin_port: int = 0) -> None:
        self.image, self.admin_port = image, admin_port
        self.id = podman(
            *("create", "--pull=never", "--runtime=runc", "--network=host", "--read-only", "--tmpfs=/tmp"),
            *("--cap-drop=all", "--security-opt=no-new-privileges"),
            *build.ulimits(),
            *build.environment(env),
            *(build.reference(image), *command),
        ).strip()

    def start(self) -> float:
        """Start it and wait for /readyz where it has a port for it; the seconds that its process took to be ready."""
        podman("start", self.id)
        self.pid = int(self._state("Pid"))
        if not self.admin_port:
            return 0.0
        wait_for(self._ready, 120, f"{self.image} to be ready")
        return time.clock_gettime(time.CLOCK_BOOTTIME) - _started(self.pid)

    def _ready(self) -> bool:
        assert self._state("Status") == "running", f"{self.image} ended:\n{self.logs()}"
        return self.get("/readyz") == 200

    def get(self, path: str) -> int:
        """The status of a GET on the admin port; 0 if nobody answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.admin_port}{path}", timeout=5) as reply:
                return int(reply.status)
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return 0

    def signal(self, name: str) -> None:
        podman("kill", "--signal", name, self.id)

    def exit_code(self, timeout: float = 120) -> int:
        """Wait for its end."""
        return int(podman("wait", self.id, timeout=timeout).strip())

    def stop(self) -> int:
        self.signal("TERM")
        return self.exit_code()

    def look(self, *modules: str) -> dict[str, Any]:
        """What tests/images/inside.py says in there."""
        found: dict[str, Any] = json.loads(self.python("-", *modules, given=INSIDE.read_text()))
        return found

    def python(self, *arguments: str, given: str | None = None, timeout: float = 120) -> str:
        """What `python ARGUMENTS` in there prints."""
        return podman("exec", "--interactive", self.id, "python", *arguments, given=given, timeout=timeout)

    def memory(self, which: str) -> int:
        """Bytes of its process: VmRSS now, VmHWM the most it had."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith(which + ":"))

    def logs(self) -> str:
        return build.run("sh", "-c", 'exec "$@" 2>&1', "logs", "podman", *build.STORAGE, "logs", self.id)

    def _state(self, field: str) -> str:
        return podman("inspect", "--format", "{{.State." + field + "}}", self.id).strip()


def _started(pid: int) -> float:
    """When a process began, in seconds after the machine did."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[19]) / os.sysconf("SC_CLK_TCK")
