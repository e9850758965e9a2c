"""The pipeline of one fault: emulators and services, each a process of its own that can be killed and started again."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery

from local import stack
from local.ports import HOST, Ports
from services.shared import resource_names
from tests import process
from tests.schemas import SCHEMA_FILE
from tests.waiting import until

PROJECT = "chaos"
SERVICES = ("collector", "processor", "loader")
READY_SECONDS = 90.0
GRACE_SECONDS = 60.0  # from SIGTERM to the end, the most any service's settings allow here


@dataclass
class Member:
    """One process of a service; it keeps its ports and its spool across restarts."""

    service: str
    number: int
    environment: Mapping[str, str]
    admin: int
    port: int | None
    log: Path
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    @property
    def name(self) -> str:
        return f"{self.service}-{self.number}"


@dataclass
class Fleet:
    """`environment` makes Google's clients talk to the emulators; `control` has the URLs of the control ports."""

    folder: Path
    environment: Mapping[str, str]
    control: Mapping[str, str]
    http: aiohttp.ClientSession
    members: list[Member] = field(default_factory=list)

    def of(self, service: str) -> list[Member]:
        return [member for member in self.members if member.service == service]

    def collectors(self) -> list[str]:
        return [member.url for member in self.of("collector")]

    def add(self, service: str, settings: Mapping[str, str] | None = None) -> Member:
        """A member that is not started yet. Its settings are those of production but for what a test must choose."""
        number = len(self.of(service))
        admin, port = process.free_port(), None
        own = {"PIPE_PROJECT": PROJECT, "PIPE_HOST": HOST, "PIPE_ADMIN_PORT": str(admin)}
        own["PIPE_SCHEMA"] = str(SCHEMA_FILE)
        if service == "collector":
            port = process.free_port()
            own |= {
                "PIPE_PORT": str(port),
                "PIPE_DRAIN_DELAY_SECONDS": "0.5",  # no load balancer has to stop routing first
                "PIPE_SPOOL": str(self.folder / f"spool-{number}"),
            }
        log = self.folder / f"{service}-{number}.log"
        member = Member(service, number, {**self.environment, **own, **(settings or {})}, admin, port, log)
        self.members.append(member)
        return member

    async def start(self, *members: Member) -> None:
        """Start them side by side and return when all are ready."""
        for member in members:
            with member.log.open("ab") as log:
                member.process = subprocess.Popen(
                    [sys.executable, "-m", f"services.{member.service}"],
                    cwd=process.ROOT,
                    env=dict(member.environment),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                )
        await asyncio.gather(*(self._ready(member) for member in members))

    async def stop(self, member: Member, how: signal.Signals) -> int:
        """Signal it, wait for its end, and return the exit code."""
        started = member.process
        assert started is not None
        if started.poll() is None:
            started.send_signal(how)
            try:
                await asyncio.to_thread(started.wait, GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                started.kill()
                await asyncio.to_thread(started.wait)
                raise AssertionError(f"{member.name} did not end in {GRACE_SECONDS:.0f} s: {member.log}") from None
        return started.returncode

    async def fault(self, emulator: str, **fault: Any) -> None:
        async with self.http.post(f"{self.control[emulator]}/faults", json=fault) as reply:
            assert reply.ok, await reply.text()

    async def clear_faults(self) -> None:
        """Remove all faults of both emulators."""
        for url in self.control.values():
            async with self.http.delete(f"{url}/faults") as reply:
                assert reply.ok, await reply.text()

    async def metric(self, member: Member, name: str) -> float:
        """The value of one series of a member's metrics."""
        async with self.http.get(f"http://{HOST}:{member.admin}/metrics") as reply:
            for line in (await reply.text()).splitlines():
                if line.startswith(name + " "):
                    return float(line.rpartition(" ")[2])
        raise AssertionError(f"{member.name} has no metric {name}")

    async def until(self, condition: Callable[[], Any], seconds: float, what: str) -> None:
        """Wait until the coroutine that `condition` makes says true. AssertionError naming `what` at the limit."""
        await until(condition, what, seconds)

    async def provision(self, schema: Path) -> None:
        """As an upgrade of the chart does before its pods change."""
        await asyncio.to_thread(_provision, {**self.environment, "PIPE_SCHEMA": str(schema)})

    async def count(self, where: str) -> int:
        """Rows of events that were appended and are so."""
        sql = f"SELECT COUNT(*) AS n FROM {resource_names.DATASET}.events_log WHERE {where}"
        [row] = await asyncio.to_thread(lambda: list(self.bigquery().query_and_wait(sql)))
        return int(row["n"])

    def bigquery(self) -> bigquery.Client:
        options = {"api_endpoint": self.environment["BIGQUERY_EMULATOR_HOST"]}
        return bigquery.Client(PROJECT, AnonymousCredentials(), client_options=options)

    async def _ready(self, member: Member) -> None:
        async def answers() -> bool:
            assert member.process is not None
            code = member.process.poll()
            assert code is None, f"{member.name} ended with {code} at its start: {member.log}"
            try:
                async with self.http.get(f"http://{HOST}:{member.admin}/livez") as reply:
                    return reply.status == 200
            except (aiohttp.ClientError, TimeoutError):
                return False

        await self.until(answers, READY_SECONDS, f"{member.name} to start")


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[Fleet]:
    """Emulators that are provisioned, in a new folder, and no service yet; at the end all that runs is ended."""
    folder.mkdir(parents=True)
    data = str(folder / "bigquery.duckdb")
    with (
        process.running("emulators.pubsub", "--port", "0", "--control-port", "0") as pubsub,
        process.running(
            *("emulators.bigquery", "--rest-port", "0", "--grpc-port", "0", "--control-port", "0"),
            *("--data", data),
        ) as emulated,
    ):
        ports = Ports(
            pubsub=pubsub.ready["grpc"], bigquery=emulated.ready["rest"], bigquery_grpc=emulated.ready["grpc"]
        )
        environment = stack.emulator_environment(ports, os.environ)
        control = {
            "pubsub": f"http://{HOST}:{pubsub.ready['control']}",
            "bigquery": f"http://{HOST}:{emulated.ready['control']}",
        }
        await asyncio.to_thread(_provision, environment)
        timeout = aiohttp.ClientTimeout(total=30)
        async with aiohttp.ClientSession(timeout=timeout) as http:
            fleet = Fleet(folder, environment, control, http)
            try:
                yield fleet
            finally:
                for member in fleet.members:
                    if member.process is not None and member.process.poll() is None:
                        member.process.kill()
                        member.process.wait()


def _provision(environment: Mapping[str, str]) -> None:
    subprocess.run(
        [sys.executable, "-m", "services.provision"],
        cwd=process.ROOT,
        env={"PIPE_SCHEMA": str(SCHEMA_FILE), **environment, "PIPE_PROJECT": PROJECT},
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        timeout=120,
    )
