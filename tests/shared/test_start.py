"""What each service says of settings that only its start shows to be wrong."""

from __future__ import annotations

import json
import socket
import subprocess
import sys

import pytest

from tests import process
from tests.process import ROOT

NOWHERE = {
    "PUBSUB_EMULATOR_HOST": "127.0.0.1:1",
    "BIGQUERY_EMULATOR_HOST": "http://127.0.0.1:1",
    "BIGQUERY_STORAGE_EMULATOR_HOST": "127.0.0.1:1",
}


def start(service: str, **settings: str) -> tuple[int, list[str], str]:
    """Exit code, lines on stderr and stdout of a service that must not start."""
    ours = {"PIPE_PROJECT": "local", "PIPE_HOST": "127.0.0.1", "PIPE_ADMIN_PORT": "0"}
    done = process.run(f"services.{service}", env={**NOWHERE, **ours, **settings})
    return done.returncode, done.stderr.splitlines(), done.stdout


@pytest.mark.parametrize(
    ("service", "setting"),
    [
        ("collector", "PIPE_PORT"),
        ("collector", "PIPE_ADMIN_PORT"),
        ("processor", "PIPE_ADMIN_PORT"),
        ("loader", "PIPE_ADMIN_PORT"),
    ],
)
def test_a_port_that_is_taken_is_named_with_its_setting(service: str, setting: str) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = str(server.getsockname()[1])
        code, said, out = start(service, **{setting: port})
    assert (code, said[0], "Traceback" in out) == (2, f"{service}: cannot start:", False)
    assert said[1:] == [
        f"{setting}={port} with PIPE_HOST='127.0.0.1': cannot listen there: Address already in use; "
        "choose another port or address"
    ]


@pytest.mark.parametrize(
    ("host", "why"), [("192.0.2.1", "Cannot assign requested address"), ("no-such-host.invalid", "")]
)
def test_a_host_that_is_not_this_machine_is_named(host: str, why: str) -> None:
    code, said, _ = start("processor", PIPE_HOST=host)
    assert (code, len(said)) == (2, 2)
    assert said[1].startswith(f"PIPE_ADMIN_PORT=0 with PIPE_HOST='{host}': cannot listen there: {why}")


def test_a_line_of_the_log_bears_a_name_that_is_not_utf_8() -> None:
    code = "from services.shared import log; log.start('x'); log.get('y').warning('set aside', file='a\\udcff')"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, b"")
    line = json.loads(done.stdout)
    assert (line["message"], line["file"], line["severity"]) == ("set aside", "a\udcff", "WARNING")


def test_a_logger_outlives_a_stdout_that_was_closed() -> None:
    code = (
        "import io, logging, sys; from services.shared import log; kept, sys.stdout = sys.stdout, io.StringIO()\n"
        "log.start('x'); ours, library = log.get('y'), logging.getLogger('z')\n"
        "ours.warning('one'); library.warning('two'); sys.stdout.close(); sys.stdout = kept\n"
        "ours.warning('three'); library.warning('four')"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, b"")
    assert [json.loads(line)["message"] for line in done.stdout.splitlines()] == ["three", "four"]
