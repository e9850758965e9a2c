from __future__ import annotations

import argparse
import dataclasses
import socket
from contextlib import ExitStack

import pytest

from local import ports
from local.ports import HOST, PortError, Ports
from tests.local import run_stack


def read(*options: str, **environ: str) -> Ports:
    parser = argparse.ArgumentParser()
    ports.add_options(parser)
    return ports.read(parser.parse_args(options), environ)


def test_ports_are_fixed_by_default() -> None:
    assert read() == Ports(8080, 9101, 9102, 9103, 8000, 8085, 9050, 9060, 8086, 9070)


def test_an_option_goes_before_the_environment_and_that_before_the_base() -> None:
    found = read("--port-base", "7000", "--page-port", "1", LOCAL_PAGE_PORT="2", LOCAL_PUBSUB_PORT="3")
    assert (found.collector, found.page, found.pubsub, found.bigquery_grpc) == (7000, 1, 3, 7007)


NO_PORTS = {
    "eighty": "'eighty'",
    "-1": "'-1'",
    "65536": "'65536'",
    "80.5": "'80.5'",
    "²": "'²'",
    "٣": "'٣'",
    "9" * 5000: f"'{'9' * 20}'",
}


@pytest.mark.parametrize("value", NO_PORTS)
def test_what_is_no_port_is_refused_with_its_variable_or_option(value: str, capsys: pytest.CaptureFixture[str]) -> None:
    said = f"{NO_PORTS[value]} is not a port; a port is a number from 0 to 65535"
    with pytest.raises(PortError) as caught:
        read(LOCAL_PAGE_PORT=value)
    assert str(caught.value) == f"LOCAL_PAGE_PORT: {said}"
    for name in ("--page-port", "--port-base"):
        with pytest.raises(SystemExit):
            read(f"{name}={value}")
        assert f"argument {name}: {said}" in capsys.readouterr().err


def test_a_base_too_high_is_refused_once_with_the_highest() -> None:
    with pytest.raises(PortError) as caught:
        read("--port-base", "65530")
    assert str(caught.value) == "--port-base 65530: 10 ports do not fit above it; use at most 65526"
    assert read("--port-base", "65526").bigquery_control == 65_535


def test_a_port_wanted_twice_is_refused() -> None:
    with pytest.raises(PortError, match=r"port 8080 is used twice; .*--page-port"):
        read("--page-port", "8080")


def test_zero_takes_free_ports_all_different() -> None:
    found = ports.choose(read("--port-base", "0"))
    numbers = list(dataclasses.asdict(found).values())
    assert len(set(numbers)) == len(numbers)
    for number in numbers:
        with socket.socket() as probe:
            probe.bind((HOST, number))


@pytest.mark.parametrize("reuse_port", [False, True])
@pytest.mark.parametrize("address", [HOST, "0.0.0.0"])
def test_every_taken_port_is_named_with_its_use_and_option(address: str, reuse_port: bool) -> None:
    with socket.socket() as one, socket.socket() as two:
        for server in (one, two):
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, reuse_port)
            server.bind((address, 0))
            server.listen()
        wanted = ports.choose(read("--port-base", "0"))
        wanted = dataclasses.replace(wanted, collector=one.getsockname()[1], bigquery_grpc=two.getsockname()[1])
        with pytest.raises(PortError) as error:
            ports.choose(wanted)
    assert str(error.value).splitlines() == [
        f"port {wanted.collector}, for the collector's pixels and events, is taken; choose another with "
        "--collector-port",
        f"port {wanted.bigquery_grpc}, for the BigQuery emulator's Storage Write API, is taken; choose another with "
        "--bigquery-grpc-port",
    ]


def test_the_ports_of_a_whole_stack_are_named_in_two_lines() -> None:
    with ExitStack() as others:
        wanted = ports.choose(read("--port-base", "0"))
        for number in dataclasses.astuple(wanted):
            others.enter_context(socket.socket()).bind((HOST, number))
        with pytest.raises(PortError) as error:
            ports.choose(wanted)
    listed = ", ".join(map(str, dataclasses.astuple(wanted)))
    first, second = str(error.value).splitlines()
    assert first == f"ports {listed} are taken; is another stack running already?"
    assert "python -m local run --port-base N" in second


def test_run_refuses_a_taken_port_before_anything_starts(tmp_path) -> None:
    with socket.socket() as server:
        server.bind((HOST, 0))
        server.listen()
        taken = server.getsockname()[1]
        with run_stack.begun(tmp_path, "--pubsub-port", str(taken)) as started:
            assert started.process.wait(60) == 1
            assert started.output() == (
                f"local: port {taken}, for the Pub/Sub emulator, is taken; choose another with --pubsub-port\n"
            )
    assert not (tmp_path / "logs").exists()
    assert not (tmp_path / "run.json").exists()
