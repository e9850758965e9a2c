"""The processes of the local stack, in order of start, and the environment of each.

The services are the production ones; only the addresses of the Google clients make them local.
"""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emulators.arguments import HOST
from local import child, run_file
from local.child import Spec
from local.ports import Ports
from services.shared import config, reconciliation, resource_names, schema, schema_file
from services.shared.config import PREFIX

PROJECT = "local"
DATA = Path(".local")
_CONFIGURED = ("provision", "collector", "processor", "loader")
# Set here for each service; every other PIPE_* comes from the user, as in production.
_OURS = {
    "PIPE_PROJECT": f"the local stack is the project `{PROJECT}`",
    "PIPE_HOST": f"the local stack listens on {HOST} only",
    "PIPE_PORT": "use --collector-port",
    "PIPE_ADMIN_PORT": "use --collector-admin-port, --processor-admin-port, --loader-admin-port",
}


@dataclass(frozen=True)
class Layout:
    """The ports, files and names of one stack."""

    ports: Ports
    data: Path
    dataset: str = resource_names.DATASET
    schema: Path = schema.DEFAULT_FILE

    @property
    def logs(self) -> Path:
        return self.data / run_file.LOGS

    @property
    def archive(self) -> Path:
        return self.data / "archive"

    @property
    def bigquery_file(self) -> Path:
        return self.data / "bigquery.duckdb"

    def url(self, name: str) -> str:
        """The URL of one of the ports: http://127.0.0.1:PORT."""
        return f"http://{HOST}:{getattr(self.ports, name)}"


def pixel(ports: Ports) -> str:
    """The URL of a pixel that fits the default schema file."""
    return f"http://{HOST}:{ports.collector}/pixel.gif?user_id=ada&type=view"


def admin_urls(ports: Ports) -> dict[str, str]:
    """The admin URL of each service, where its metrics are."""
    return {name: f"http://{HOST}:{getattr(ports, f'{name}_admin')}" for name in reconciliation.SERVICES}


def sample_sql(dataset: str) -> str:
    return f"SELECT user_id, type FROM {dataset}.events"  # noqa: S608 - shown, not run


def sample_command(data: Path, dataset: str) -> str:
    return query_command(data, sample_sql(dataset))


def query_command(data: Path, sql: str) -> str:
    """The command that queries the stack whose folder is `data`."""
    if data == DATA:
        return f"make query SQL='{sql}'"
    return f"python -m local query --data {shlex.quote(str(data))} '{sql}'"


def ops_command(data: Path, arguments: str) -> str:
    """One of the operator's commands on the stack whose folder is `data`."""
    if data == DATA:
        return f".venv/bin/pixelpipe {arguments}"
    return f"python -m local ops --data {shlex.quote(str(data))} {arguments}"


def layout(ports: Ports, data: Path, environ: Mapping[str, str]) -> Layout:
    return Layout(
        ports,
        data,
        environ.get("PIPE_DATASET", resource_names.DATASET),
        Path(environ.get("PIPE_SCHEMA", str(schema.DEFAULT_FILE))),
    )


def remarks(environ: Mapping[str, str]) -> list[str]:
    """One line for each of the user's settings that the stack overrides. Raises ConfigError for an unknown one."""
    known = {key for service in _CONFIGURED for key in _settings(service)}
    errors = []
    for key in sorted(environ):
        if key.startswith(PREFIX) and key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            errors.append(f"{key} is a setting of no service; " + (f"did you mean {near[0]}?" if near else "unset it"))
    if errors:
        raise config.ConfigError("\n".join(errors))
    return [f"{key}={environ[key]} is not used here: {why}" for key, why in _OURS.items() if key in environ]


def check(place: Layout, groups: Sequence[Sequence[Spec]]) -> None:
    """Check every service's settings before anything starts. Raises ConfigError with one line per problem."""
    errors: dict[str, str] = {}
    for spec in (spec for group in groups for spec in group if spec.name in _CONFIGURED):
        try:
            config.read(_config(spec.name), spec.environment)
        except config.ConfigError as error:  # two services may report the same setting, with different text in brackets
            errors |= {line.partition(" (")[0]: line for line in str(error).splitlines()}
    if errors:
        raise config.ConfigError("\n".join(errors.values()))
    schema_file.load(place.schema)


def past_proxies(environ: Mapping[str, str]) -> str:
    """A value for NO_PROXY: the current one plus this machine."""
    return ",".join(part for part in (environ.get("NO_PROXY") or environ.get("no_proxy"), HOST) if part)


def emulator_environment(ports: Ports, environ: Mapping[str, str]) -> dict[str, str]:
    """The environment that points Google's clients at the emulators, bypassing any proxy."""
    past = past_proxies(environ)
    return {
        **{key: value for key, value in environ.items() if not key.startswith(PREFIX)},
        "PUBSUB_EMULATOR_HOST": f"{HOST}:{ports.pubsub}",
        "BIGQUERY_EMULATOR_HOST": f"http://{HOST}:{ports.bigquery}",
        "BIGQUERY_STORAGE_EMULATOR_HOST": f"{HOST}:{ports.bigquery_grpc}",
        "NO_PROXY": past,
        "no_proxy": past,
    }


def specs(place: Layout, environ: Mapping[str, str], control: int) -> list[Sequence[Spec]]:
    """Groups of processes; a group starts at once, after the previous group is ready.

    `control` is the file descriptor at which the page asks the supervisor for restarts.

    Readers start before the writer, so that shutdown, in reverse order, stops the flow at its source first.
    """
    ports, again = place.ports, f"start it again at {place.url('page')}"
    shared = {**emulator_environment(ports, environ), "PYTHONUNBUFFERED": "1"}
    emulators = (
        Spec(
            "pubsub",
            "emulators.pubsub",
            shared,
            child.announces("grpc"),
            (
                *("--host", HOST, "--port", str(ports.pubsub), "--control-port", str(ports.pubsub_control)),
                # Used where PIPE_ARCHIVE is set. Production's objects are open for five minutes.
                *("--archive-dir", str(place.archive), "--archive-seconds", "10"),
            ),
            {"grpc": ports.pubsub, "control": ports.pubsub_control},
        ),
        Spec(
            "bigquery",
            "emulators.bigquery",
            shared,
            child.announces("rest", "grpc"),
            (
                *("--host", HOST, "--rest-port", str(ports.bigquery), "--grpc-port", str(ports.bigquery_grpc)),
                *("--data", str(place.bigquery_file), "--control-port", str(ports.bigquery_control)),
            ),
            {"rest": ports.bigquery, "grpc": ports.bigquery_grpc, "control": ports.bigquery_control},
            again=again,  # its file has what was acknowledged; Pub/Sub's memory, topics included, would be gone
        ),
    )
    provision = Spec("provision", "services.provision", _configured("provision", shared, environ, {}), child.finished)
    services = (
        _service("loader", ports.loader_admin, shared, environ, again),
        _service("processor", ports.processor_admin, shared, environ, again),
        # There is no load balancer to drain here, so by default the collector stops at once.
        _service(
            "collector",
            ports.collector_admin,
            shared,
            {"PIPE_DRAIN_DELAY_SECONDS": "0", "PIPE_SPOOL": str(place.data / run_file.SPOOL), **environ},
            again,
            port=ports.collector,
        ),
    )
    return [emulators, (provision,), (*services, _page(place, shared, environ, control))]


def _page(place: Layout, shared: Mapping[str, str], environ: Mapping[str, str], control: int) -> Spec:
    # It explains requests as the services would take them, so it has the settings of all.
    theirs = {key: value for key, value in environ.items() if key.startswith(PREFIX)}
    return Spec(
        "page",
        "local.page",
        {**shared, **theirs},
        child.answers(place.ports.page),
        ("--data", str(place.data), "--control-fd", str(control)),
        {"http": place.ports.page},
        again="only a new start of the stack brings it back",
        inherits=(control,),
    )


def _service(
    name: str,
    admin_port: int,
    shared: Mapping[str, str],
    environ: Mapping[str, str],
    again: str,
    port: int | None = None,
) -> Spec:
    own = {"PIPE_HOST": HOST, "PIPE_ADMIN_PORT": str(admin_port)}
    ports = {"admin": admin_port}
    if port is not None:
        own["PIPE_PORT"] = str(port)
        ports = {"http": port, **ports}
    environment, ready = _configured(name, shared, environ, own), child.answers(admin_port)
    return Spec(name, f"services.{name}", environment, ready, ports=ports, again=again)


def _configured(
    service: str, shared: Mapping[str, str], environ: Mapping[str, str], own: Mapping[str, str]
) -> dict[str, str]:
    """The user's PIPE_* that this service knows, overridden by ours; a service refuses unknown settings."""
    theirs = {key: environ[key] for key in _settings(service) if key in environ and key not in _OURS}
    return {**shared, **theirs, "PIPE_PROJECT": PROJECT, **own}


def _settings(service: str) -> list[str]:
    return [config.name(field) for field in dataclasses.fields(_config(service))]


def _config(service: str) -> Any:
    return importlib.import_module(f"services.{service}.config").Config
