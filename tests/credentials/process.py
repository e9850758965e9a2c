"""A service as a process of its own, whatever it makes of its credentials."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from tests import process
from tests.process import Child, wait_for
from tests.schemas import SCHEMA_FILE


@dataclass(frozen=True)
class Service:
    process: Child
    port: int
    admin_port: int

    def get(self, path: str, port: int | None = None) -> tuple[int, str]:
        """Status and text of an answer of the admin port, or of another; (0, "") where nobody listens."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port or self.admin_port}{path}", timeout=30) as answer:
                return answer.status, answer.read().decode(errors="replace").strip()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode(errors="replace").strip()
        except OSError:
            return 0, ""

    def hit(self, path: str = "/i?user_id=1") -> int:
        return self.get(path, self.port)[0]

    def until(self, path: str, status: int, text: str = "") -> None:
        def said() -> bool:
            assert self.process.process.poll() is None, self.process.output()
            found, answer = self.get(path)
            return found == status and text in answer

        wait_for(said, 80, f"{path} to say {status} {text}")

    def until_logged(self, text: str) -> None:
        wait_for(lambda: text in self.process.output(), 80, text)

    def lines(self, message: str) -> int:
        return self.process.output().count(f'"message":"{message}"')


@contextmanager
def running(name: str, env: Mapping[str, str]) -> Iterator[Service]:
    port, admin = process.free_port(), process.free_port()
    ports = {"PIPE_ADMIN_PORT": str(admin), **({"PIPE_PORT": str(port)} if name == "collector" else {})}
    own = {"PIPE_SCHEMA": str(SCHEMA_FILE)} if name != "collector" else {}
    started = process.start(f"services.{name}", env={**env, **own, **ports}, wait_ready=False)
    service = Service(started, port, admin)
    try:
        service.until("/livez", 200)
        yield service
    finally:
        started.stop(timeout=60)
        started.log.unlink()
