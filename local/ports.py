"""The ports of the local stack: fixed by default, all on the loopback address."""

from __future__ import annotations

import argparse
import dataclasses
import errno
import os
import random
import socket
from collections.abc import Mapping
from dataclasses import dataclass

from emulators.arguments import HOST, LAST_PORT, port

# Below the range that Linux uses for outgoing connections, so that none of those can take the port first.
_FREE = range(20_000, 32_000)
_TRIES = 200
_TAKEN = "is taken"
_FEW = 2  # ports that other programs have; more of them are those of another stack


@dataclass(frozen=True)
class Ports:
    """Port numbers; 0 means any free port, until `choose()` picks it."""

    collector: int = 8080
    collector_admin: int = 9101
    processor_admin: int = 9102
    loader_admin: int = 9103
    page: int = 8000
    pubsub: int = 8085
    bigquery: int = 9050
    bigquery_grpc: int = 9060
    pubsub_control: int = 8086
    bigquery_control: int = 9070


USES = {
    "collector": "the collector's pixels and events",
    "collector_admin": "the collector's readiness and metrics",
    "processor_admin": "the processor's readiness and metrics",
    "loader_admin": "the loader's readiness and metrics",
    "page": "the inspector page",
    "pubsub": "the Pub/Sub emulator",
    "bigquery": "the BigQuery emulator's REST API",
    "bigquery_grpc": "the BigQuery emulator's Storage Write API",
    "pubsub_control": "the faults of the Pub/Sub emulator",
    "bigquery_control": "the faults of the BigQuery emulator",
}


class PortError(Exception):
    """Ports cannot be used; what is wrong, and the option that changes it."""


def option(name: str) -> str:
    return f"--{name.replace('_', '-')}-port"


def variable(name: str) -> str:
    return f"LOCAL_{name.upper()}_PORT"


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--port-base", type=port, metavar="N", help="take consecutive ports from N on; 0 takes any that are free"
    )
    for field in dataclasses.fields(Ports):
        parser.add_argument(
            option(field.name),
            type=port,
            metavar="N",
            help=f"{USES[field.name]} ({field.default}; environment {variable(field.name)})",
        )


def read(options: argparse.Namespace, environ: Mapping[str, str]) -> Ports:
    """Ports from the options, else the environment, else --port-base, else the defaults. Raises PortError."""
    numbers: dict[str, int] = {}
    errors = []
    fields = dataclasses.fields(Ports)
    base: int | None = options.port_base
    if base is not None and base + len(fields) - 1 > LAST_PORT:
        raise PortError(
            f"--port-base {base}: {len(fields)} ports do not fit above it; use at most {LAST_PORT - len(fields) + 1}"
        )
    for place, field in enumerate(fields):
        given: int | None = getattr(options, f"{field.name}_port")
        try:
            if given is None and (text := environ.get(variable(field.name))):
                given = port(text)
        except argparse.ArgumentTypeError as error:
            errors.append(f"{variable(field.name)}: {error}")
            continue
        if given is None and base is not None:
            given = base and base + place
        chosen = int(field.default) if given is None else given  # type: ignore[arg-type]
        if chosen and chosen in numbers.values():
            errors.append(
                f"port {chosen} is used twice; choose another for {USES[field.name]} with {option(field.name)}"
            )
        numbers[field.name] = chosen
    if errors:
        raise PortError("\n".join(errors))
    return Ports(**numbers)


def choose(ports: Ports) -> Ports:
    """Replace each 0 with a free port. Raises PortError with what cannot be used, and what to do."""
    numbers = dataclasses.asdict(ports)
    unusable = {name: why for name, number in numbers.items() if number and (why := _unusable(number))}
    if len(unusable) > _FEW:
        lines = []
        for why in dict.fromkeys(unusable.values()):
            listed = ", ".join(str(numbers[name]) for name in unusable if unusable[name] == why)
            about = "are taken; is another stack running already?" if why == _TAKEN else why
            lines.append(f"ports {listed} {about}")
        lines.append("to take others: .venv/bin/python -m local run --port-base N, from N on; with 0 any that are free")
        raise PortError("\n".join(lines))
    if unusable:
        raise PortError(
            "\n".join(
                f"port {numbers[name]}, for {USES[name]}, {why}; choose another with {option(name)}"
                for name, why in unusable.items()
            )
        )
    for name, number in numbers.items():
        if not number:
            numbers[name] = _free(set(numbers.values()))
    return Ports(**numbers)


def _free(used: set[int]) -> int:
    for _ in range(_TRIES):
        number = random.choice(_FREE)  # noqa: S311 - not a secret
        if number not in used and _unusable(number) is None:
            return number
    raise PortError(f"no free port found between {_FREE.start} and {_FREE.stop}")


def _unusable(number: int) -> str | None:
    """Why a port cannot be listened on, or None if it can."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do, so that TIME_WAIT does not count
        try:
            probe.bind((HOST, number))
        except OSError as error:
            return _TAKEN if error.errno == errno.EADDRINUSE else f"cannot be used: {os.strerror(error.errno or 0)}"
    return None
