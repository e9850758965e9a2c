from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery

from local import run_file
from local.ports import Ports
from local.run_file import Running
from services.provision import inventory
from services.provision.config import Config
from services.provision.resource import settle
from services.shared import resource_names, schema_file
from services.shared.resource_names import subscription_path, topic_path
from services.shared.schema import Schema
from tests import process
from tests.conftest import BigQueryAddress
from tests.ops import schemas
from tests.process import wait_for
from tests.topics import Topics

DEAD_SUBSCRIPTION = "test-dead"  # without a backoff: what is given back can be seen again at once
WAIT = ("--wait", "1")  # the emulator has no more dead letters then, on a busy machine too
A_DAY, AN_HOUR = timedelta(days=1), timedelta(hours=1)


def within_one(unit: timedelta, seconds: float = 30) -> None:
    """Wait where a day or an hour of UTC ends within so many seconds: what the test does now is to be of one alone."""
    left = unit.total_seconds() - time.time() % unit.total_seconds()
    if left < seconds:
        time.sleep(left + 0.1)


@dataclass
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]


@dataclass
class Pipeline:
    """A provisioned project in the emulators, seen through the official clients, and the commands of an operator."""

    project: str
    env: Mapping[str, str]
    file: Path
    client: Any
    topics: Topics

    @property
    def schema(self) -> Schema:
        return schema_file.load(self.file)

    def provision(self, text: str, archive: str = "") -> None:
        """Write the schema file, and make what it needs."""
        self.file.write_text(text)
        list(settle(inventory.resources(Config(self.project, archive=archive), self.schema), dry_run=False))

    def ops(self, *arguments: str, code: int = 0) -> Done:
        """`python -m services.ops ARGUMENTS`; its exit code must be `code`."""
        env = {**self.env, "PIPE_PROJECT": self.project, "PIPE_SCHEMA": str(self.file)}
        ended = process.run("services.ops", *arguments, env=env)
        done = Done(ended.returncode, ended.stdout, ended.stderr)
        assert done.code == code, f"{done.code}\n{done.out}\n{done.err}"
        assert "Traceback" not in done.err
        return done

    def dead(self, action: str, *arguments: str, code: int = 0) -> Done:
        return self.ops("dead", action, "--subscription", DEAD_SUBSCRIPTION, *WAIT, *arguments, code=code)

    def load(self, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Append rows, as JSON has them, to a log table."""
        config = bigquery.LoadJobConfig(
            source_format="NEWLINE_DELIMITED_JSON",
            schema=self.client.get_table(f"pixelpipe.{table}_log").schema,
            autodetect=False,
        )
        self.client.load_table_from_json(list(rows), f"pixelpipe.{table}_log", job_config=config).result(timeout=60)

    def rows(self, sql: str) -> list[dict[str, Any]]:
        return [dict(row.items()) for row in self.client.query_and_wait(sql)]

    def number(self, sql: str) -> Any:
        (row,) = self.client.query_and_wait(sql)
        return row[0]

    def until(self, sql: str, wanted_number: int) -> None:
        """Wait until the query's only value is `wanted_number`."""
        wait_for(lambda: self.number(sql) == wanted_number, 60, f"{wanted_number} from {sql}")

    def bury(self, data: bytes, attributes: Mapping[str, str]) -> str:
        """Publish a dead letter; its id."""
        path = topic_path(self.project, resource_names.DEAD_TOPIC)
        return str(self.topics.publisher.publish(path, data, **attributes).result(60))

    def left(self, wanted: int) -> list[Any]:
        """The dead letters that are there, of which there must be `wanted`; this takes them."""
        found = self.topics.pull(DEAD_SUBSCRIPTION, wanted)
        assert len(found) == wanted
        return found

    @contextmanager
    def collector(self, **settings: str) -> Iterator[str]:
        """Run a collector of production on this project; its URL."""
        with self._service("collector", PIPE_PORT="0", PIPE_DRAIN_DELAY_SECONDS="0", **settings) as log:
            yield f"http://127.0.0.1:{self._listening(log)['port']}"

    @contextmanager
    def processor(self) -> Iterator[None]:
        """Run a processor of production on this project, which pulls already."""
        with self._service("processor") as log:
            self._listening(log)
            yield

    @contextmanager
    def services(self, *services: str) -> Iterator[None]:
        """Run services of production on this project."""
        with ExitStack() as stack:
            for name in services:
                settings = {"PIPE_LINGER_SECONDS": "0.05"} if name == "loader" else {}
                stack.enter_context(self._service(name, **settings))
            # What they are sent before they are ready waits for them in Pub/Sub.
            yield

    @contextmanager
    def stack(self) -> Iterator[Ports]:
        """Run all services of production on this project; the ports of them and of the emulators."""
        emulators = ("PUBSUB_EMULATOR_HOST", "BIGQUERY_EMULATOR_HOST", "BIGQUERY_STORAGE_EMULATOR_HOST")
        pubsub, bigquery, grpc = (int(self.env[name].rpartition(":")[2]) for name in emulators)
        free = [process.free_port() for _ in range(4)]
        ports = Ports(*free, pubsub=pubsub, bigquery=bigquery, bigquery_grpc=grpc)
        with ExitStack() as stack:
            stack.enter_context(
                self._service("loader", PIPE_ADMIN_PORT=str(ports.loader_admin), PIPE_LINGER_SECONDS="0.05")
            )
            stack.enter_context(self._service("processor", PIPE_ADMIN_PORT=str(ports.processor_admin)))
            collector = {"PIPE_PORT": str(ports.collector), "PIPE_ADMIN_PORT": str(ports.collector_admin)}
            self._listening(stack.enter_context(self._service("collector", PIPE_DRAIN_DELAY_SECONDS="0", **collector)))
            yield ports

    @contextmanager
    def _service(self, name: str, **settings: str) -> Iterator[Path]:
        """The file it logs to."""
        own = {"PIPE_PROJECT": self.project, "PIPE_HOST": "127.0.0.1", "PIPE_ADMIN_PORT": "0"}
        own |= {"PIPE_SCHEMA": str(self.file), **settings}
        child = process.start(f"services.{name}", env={**self.env, **own}, wait_ready=False)
        try:
            yield child.log
            # Before, a signal would end it as it ends any process.
            wait_for(lambda: '"admin_port":' in child.output(), 60, f"{name} to say that it works")
        finally:
            assert child.stop(timeout=60) == 0, child.output()
            child.log.unlink()

    def _listening(self, log: Path) -> dict[str, Any]:
        ready: dict[str, Any] = wait_for(lambda: process.listening(log.read_text()), 60, f"{log.stem} to listen")
        return ready


@pytest.fixture
def bare(
    project: str,
    pubsub_host: str,
    bigquery_host: BigQueryAddress,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Pipeline]:
    """A project without anything in it."""
    env = {
        "PUBSUB_EMULATOR_HOST": pubsub_host,
        "BIGQUERY_EMULATOR_HOST": bigquery_host.rest,
        "BIGQUERY_STORAGE_EMULATOR_HOST": bigquery_host.grpc,
    }
    for key, value in env.items():
        monkeypatch.setenv(key, value)
    client = bigquery.Client(project, credentials=AnonymousCredentials())
    topics = Topics(project)
    yield Pipeline(project, env, tmp_path / "schema.yaml", client, topics)
    topics.publisher.stop()
    topics.subscriber.close()
    client.close()


@pytest.fixture
def pipeline(bare: Pipeline) -> Pipeline:
    """A project provisioned for the small schema of tests.ops.schemas."""
    bare.provision(schemas.text())
    bare.topics.subscriber.create_subscription(
        name=subscription_path(bare.project, DEAD_SUBSCRIPTION),
        topic=topic_path(bare.project, resource_names.DEAD_TOPIC),
        ack_deadline_seconds=60,
    )
    return bare


@pytest.fixture
def running(pipeline: Pipeline, tmp_path: Path) -> Path:
    """The data folder of a stack whose emulators are the tests' own."""
    port = {key: int(value.rpartition(":")[2]) for key, value in pipeline.env.items()}
    ports = Ports(
        pubsub=port["PUBSUB_EMULATOR_HOST"],
        bigquery=port["BIGQUERY_EMULATOR_HOST"],
        bigquery_grpc=port["BIGQUERY_STORAGE_EMULATOR_HOST"],
    )
    now = datetime.now(UTC).isoformat()
    run_file.write(
        tmp_path, Running(os.getpid(), str(tmp_path), pipeline.project, "pixelpipe", str(pipeline.file), ports, now)
    )
    return tmp_path
