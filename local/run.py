"""`run`: the whole pipeline on one machine, until Ctrl-C."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from local import ports, run_file, stack
from local.child import Spec
from local.ports import PortError, Ports
from local.run_file import AlreadyRunning, DataUnusable, Running
from local.stack import Layout
from local.supervisor import ChildFailed, Stopped, Supervisor
from services.shared.config import ConfigError


def run(wanted: Ports, data: Path, environ: Mapping[str, str]) -> int:
    """The exit code: 0 after a signal, 1 if something failed or had to be killed, 2 for settings that are wrong."""
    began = time.monotonic()
    supervisor: Supervisor | None = None
    try:
        for remark in stack.remarks(environ):
            _say(remark)
        with run_file.held(data):
            place = stack.layout(ports.choose(wanted), data, environ)
            # Inherited by the page alone: there is no path or port that anyone else could use.
            ours, pages = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
            with ours, pages:
                groups = stack.specs(place, environ, pages.fileno())
                stack.check(place, groups)
                run_file.prepare(data)
                with Supervisor(place.logs, _say) as supervisor:
                    _serve(supervisor, place, groups, began, ours)
    except ConfigError as error:
        return _complain(f"cannot start:\n{error}", 2)
    except DataUnusable as error:
        return _complain(str(error), 2)
    except OSError as error:  # later on, such as a disk that is full
        return _complain(f"cannot go on: {error.filename or data}: {error.strerror}", 1)
    except (PortError, AlreadyRunning, ChildFailed) as error:
        return _complain(str(error), 1)
    except Stopped:
        killed = bool(supervisor and supervisor.killed)
        print("stopped", "with force" if killed else "cleanly", flush=True)
        return 1 if killed else 0
    return 0


def _serve(
    supervisor: Supervisor, place: Layout, groups: Sequence[Sequence[Spec]], began: float, asked: socket.socket
) -> None:
    started = datetime.now(UTC).isoformat(timespec="seconds")

    def record(ready: bool) -> None:
        children = tuple(
            {
                "name": child.spec.name,
                "pid": child.pid,
                "ports": dict(child.spec.ports),
                "log": str(child.log),
                "status": child.status,
                "why": child.ended,
                "since": child.since,
            }
            for child in supervisor.children
        )
        run_file.write(
            place.data,
            Running(
                os.getpid(),
                str(place.data),
                stack.PROJECT,
                place.dataset,
                str(place.schema),
                place.ports,
                started,
                ready,
                children,
            ),
        )

    def changed() -> None:
        try:
            record(ready=True)
        except OSError as error:  # what runs goes on
            _say(f"{error.filename or place.data}: {error.strerror}; the page shows what was before")

    record(ready=False)
    for group in groups:
        print(f"starting {', '.join(spec.name for spec in group)}", flush=True)
        supervisor.start(group)
        record(ready=False)
    print(welcome(place, time.monotonic() - began), flush=True)
    record(ready=True)  # last: who reads that all is ready finds the welcome printed
    supervisor.watch(asked, changed)


def welcome(place: Layout, seconds: float) -> str:
    """What is printed once all are ready, `seconds` after the start."""
    pixel = stack.pixel(place.ports)
    lines: Sequence[tuple[str, str]] = (
        ("fire a pixel", f"curl -o /dev/null '{pixel}'"),
        ("in a page", f'<img src="{pixel.replace("&", "&amp;")}" width="1" height="1" alt="">'),
        ("query", stack.sample_command(place.data, place.dataset)),
        ("watch", place.url("page")),
        ("operate", stack.ops_command(place.data, "--help")),
        ("logs", f"{place.logs}/NAME.log"),
        ("data", f"BigQuery's stays in {place.bigquery_file}; Pub/Sub's is in memory, and gone when this ends"),
    )
    listed = "\n".join(f"  {what:<14}{how}" for what, how in lines)
    return f"\npixelpipe is ready after {seconds:.1f} s\n\n{listed}\n\nCtrl-C stops everything.\n"


def _say(text: str) -> None:
    print(f"local: {text}", file=sys.stderr, flush=True)


def _complain(text: str, code: int) -> int:
    _say(text)
    return code
