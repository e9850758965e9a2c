"""The ports of the local stack: fixed unless told, all on the loopback address."""

from __future__ import annotations

import argparse
import dataclasses
import errno
import os
import random
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from services.shared.config import check_shape, shown

HOST = "127.0.0.1"
# Below where Linux takes the ports of outgoing connections from, so that none of those comes in between.
_FREE = range(20_000, 32_000)
_TRIES = 200
LAST = 65_535
_NUMBER = re.compile("[0-9]{1,5}")


@dataclass(frozen=True)
class Ports:
    """Numbers of ports; 0 stands for any free one until `choose()`."""

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
    """A port cannot be used; a line for each, with its number, its use and the option to change it."""


def option(name: str) -> str:
    return f"--{name.replace('_', '-')}-port"


def variable(name: str) -> str:
    return f"LOCAL_{name.upper()}_PORT"


def number(text: str) -> int:
    """A port, for argparse."""
    if not _NUMBER.fullmatch(text) or int(text) > LAST:
        raise argparse.ArgumentTypeError(f"{text[:20]!r} is not a port; a port is a number from 0 to {LAST}")
    return int(text)


def host(text: str) -> str:
    """An address or a host name, for argparse."""
    try:
        check_shape("host", text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{shown(text)}: {error}") from None
    return text


def path(text: str) -> Path:
    """A file or folder of DuckDB's, for argparse."""
    if not text:
        raise argparse.ArgumentTypeError("it is empty; name a folder or file")
    try:
        text.encode()
    except UnicodeEncodeError:  # DuckDB opens no such file
        raise argparse.ArgumentTypeError(f"{text!r} is not UTF-8; choose another name") from None
    return Path(text)


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--port-base", type=number, metavar="N", help="take consecutive ports from N on; 0 takes any that are free"
    )
    for field in dataclasses.fields(Ports):
        parser.add_argument(
            option(field.name),
            type=number,
            metavar="N",
            help=f"{USES[field.name]} ({field.default}; environment {variable(field.name)})",
        )


def read(options: argparse.Namespace, environ: Mapping[str, str]) -> Ports:
    """The ports by option, else by environment, else by --port-base, else as always. Raises PortError."""
    numbers: dict[str, int] = {}
    errors = []
    fields = dataclasses.fields(Ports)
    base: int | None = options.port_base
    if base is not None and base + len(fields) - 1 > LAST:
        raise PortError(
            f"--port-base {base}: {len(fields)} ports from there on are too many; use at most {LAST - len(fields) + 1}"
        )
    for place, field in enumerate(fields):
        given: int | None = getattr(options, f"{field.name}_port")
        try:
            if given is None and (text := environ.get(variable(field.name))):
                given = number(text)
        except argparse.ArgumentTypeError as error:
            errors.append(f"{variable(field.name)}: {error}")
            continue
        if given is None and base is not None:
            given = base and base + place
        port = int(field.default) if given is None else given  # type: ignore[arg-type]
        if port and port in numbers.values():
            errors.append(
                f"port {port} is wanted twice; choose another for {USES[field.name]} with {option(field.name)}"
            )
        numbers[field.name] = port
    if errors:
        raise PortError("\n".join(errors))
    return Ports(**numbers)


def choose(ports: Ports) -> Ports:
    """The same with a free port for each 0. Raises PortError for every one that is taken."""
    errors = []
    numbers = dataclasses.asdict(ports)
    for name, number in numbers.items():
        if number and (why := _unusable(number)):
            errors.append(f"port {number}, for {USES[name]}, {why}; choose another with {option(name)}")
    if errors:
        raise PortError("\n".join(errors))
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
    """Why a port cannot be listened on; None if it can."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: a closed connection is no obstacle
        try:
            probe.bind((HOST, number))
        except OSError as error:
            return "is taken" if error.errno == errno.EADDRINUSE else f"cannot be used: {os.strerror(error.errno or 0)}"
    return None
