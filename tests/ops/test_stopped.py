"""A command that is told to end does so at once, in order, and says by its exit code what ended it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from services.shared import resource_names
from services.shared.resource_names import topic_path
from tests.ops.conftest import Pipeline
from tests.process import ROOT, free_port

LONG = 60  # seconds; what these tests are about takes two


def begin(*arguments: str, env: dict[str, str], **more: Any) -> subprocess.Popen[Any]:
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**os.environ, **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **more,
    )


@pytest.mark.parametrize("module", ["services.ops", pytest.param("local", marks=pytest.mark.slow)])
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_tail_leaves_no_subscription_whatever_ends_it(
    pipeline: Pipeline, running: Path, module: str, how: signal.Signals
) -> None:
    """Also where a container's first process gets it, or a terminal is closed."""
    topic = topic_path(pipeline.project, resource_names.HITS_TOPIC)
    publisher = pipeline.topics.publisher

    def subscriptions() -> set[str]:
        return set(publisher.list_topic_subscriptions(topic=topic))

    before = subscriptions()
    arguments = ("ops", "--data", str(running), "tail") if module == "local" else ("tail",)
    env = {**pipeline.env, "PIPE_PROJECT": pipeline.project}
    with begin("-m", module, *arguments, env=env, text=True) as child:
        assert child.stdout is not None and child.stderr is not None
        began = child.stderr.readline()
        assert began.startswith("tail: hits of ") and subscriptions() != before
        child.send_signal(how)
        # A shell says it, and then the kernel; a second Ctrl-C is somebody who will not wait.
        end = time.monotonic() + LONG
        while how != signal.SIGINT and child.poll() is None:
            time.sleep(0.0005)
            child.send_signal(how if time.monotonic() < end else signal.SIGKILL)
        child.wait(LONG)
        printed = child.stdout.read(), child.stderr.read()
    assert (child.returncode, printed) == (128 + how, ("", ""))
    assert subscriptions() == before


def asked(silent: socket.socket) -> socket.socket:
    """The connection on which something was sent; the first one is only a look whether somebody answers."""
    silent.settimeout(LONG)
    while True:
        connection, _ = silent.accept()
        connection.settimeout(LONG)
        if connection.recv(1):
            return connection


# Another thread gets the signals, so that they interrupt no wait of the loop: as little as one that comes right before.
UNHEARD = """
import runpy, signal, sys, threading
threading.Thread(target=threading.Event().wait, daemon=True).start()
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
sys.argv[0] = "services.ops"
runpy.run_module("services.ops", run_name="__main__", alter_sys=True)
"""


@pytest.mark.parametrize("program", [("-m", "services.ops"), ("-c", UNHEARD)], ids=["heard", "unheard"])
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_bigquery_that_does_not_answer_keeps_nobody(
    bare: Pipeline, how: signal.Signals, program: tuple[str, str]
) -> None:
    """Its client waits in a thread, which cannot be cancelled."""
    with socket.create_server(("127.0.0.1", free_port())) as silent:
        host, port = silent.getsockname()
        env = {**bare.env, "PIPE_PROJECT": bare.project, "BIGQUERY_EMULATOR_HOST": f"http://{host}:{port}"}
        with begin(*program, "reconcile", "--no-dead", env=env, text=True) as child:
            connection = asked(silent)
            child.send_signal(how)
            ended = child.communicate(timeout=LONG)
        connection.close()
    assert (child.returncode, ended) == (128 + how, ("", ""))


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_pubsub_that_does_not_answer_keeps_nobody_for_long(how: signal.Signals) -> None:
    """A subscription may just be made there: some seconds are for its removal, and then it expires by itself."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        env = {"PUBSUB_EMULATOR_HOST": f"127.0.0.1:{silent.getsockname()[1]}", "PIPE_PROJECT": "p"}
        with begin("-m", "services.ops", "tail", env=env, text=True) as child:
            connection = asked(silent)
            child.send_signal(how)
            ended = child.communicate(timeout=LONG)
        connection.close()
    assert (child.returncode, ended) == (128 + how, ("", ""))


def test_ctrl_c_while_a_command_is_imported_shows_no_traceback() -> None:
    env = {"PYTHONPROFILEIMPORTTIME": "1", "PIPE_PROJECT": "p"}
    # It gets no further than some lines ahead of what is read.
    with begin("-m", "services.ops", "trace", "x", env=env, pipesize=4096, bufsize=0) as child:
        assert child.stderr is not None
        assert any(b"services.ops.dead_letter_queue" in line for line in child.stderr)
        child.send_signal(signal.SIGINT)
        left = child.stderr.read()
    assert (child.returncode, b"Traceback" in left) == (130, False)
