"""What an operator types: `python -m services.ops COMMAND --help`.

Results go to stdout, progress and errors to stderr. Exit codes: 0 done, 1 refused, failed or not all done, 2 for
options, a schema file or an emulator's address that are wrong, 141 once nobody reads stdout, and 130, 143 or 129 after
Ctrl-C, SIGTERM or the end of the terminal, by which a command ends in order.
"""

from __future__ import annotations

import signal

# The imports take a second, of which Ctrl-C should show no traceback. Where it is ignored, it stays so.
if __name__ == "__main__" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import argparse
import asyncio
import importlib
import os
import socket
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import FrameType, ModuleType

import requests
from google.api_core import exceptions
from google.auth.exceptions import GoogleAuthError

from services.ops import deployment
from services.ops.deployment import CommandRefused
from services.shared.config import ConfigError

# Modules of this package, each with add_options() and run(); see _module().
GROUPS = {
    "Before a release": {
        "check": "check a schema file, and show what it does to tables, a sample request, and rejects",
        "explain": "say what becomes of a request, without sending it",
        "init": "write a schema file with columns for what events bring and no column takes",
        "cost": "say what a month costs at so many hits a second",
        "capacity": "say how to size a release for so many hits a second",
        "export": "write a LookML project or dbt's sources.yml of the tables and views",
    },
    "Does it work": {
        "doctor": "check a running release from outside: each line ok, or what to do",
        "smoke": "fire one pixel and wait for its row",
        "load": "fire hits at a collector and count what arrives in BigQuery",
        "ledger": "compare what was collected with what is loaded, rejected, dead and spooled",
        "reconcile": "compare, hour by hour in BigQuery, what was acknowledged with what arrived",
    },
    "Single events": {
        "tail": "show hits, rows or rejects as they pass",
        "trace": "say where one event is: its rows, rejects and dead letters",
        "dead": "look at dead-letter messages, publish them again, or drop them",
        "replay": "publish the events of `rejects` again, once the schema or the code is repaired",
        "ingest": "publish the hits of access logs: a load balancer's, nginx's, Apache's, CloudFront's",
    },
    "Stored data and people": {
        "compact": "remove the physical duplicates of closed days, and move conflicts",
        "privacy": "say what protects people here, and show it",
        "access": "print every row of people",
        "forget": "delete people from every table, and write a receipt",
    },
    "The shell": {
        "completion": "print a shell's completion of these commands",
    },
}
COMMANDS = {name: text for group in GROUPS.values() for name, text in group.items()}
NAME = "PIXELPIPE_COMMAND"  # the environment's: what was typed, where that is not `python -m services.ops`


def _module(name: str) -> ModuleType:
    # services/ops/explain.py explains one hit, for every command that does.
    return importlib.import_module(f"services.ops.{'explain_command' if name == 'explain' else name}")


class _Parser(argparse.ArgumentParser):
    """Of all commands: its help lists them in groups, a line each."""

    def format_help(self) -> str:
        width = max(map(len, COMMANDS)) + 2
        lines = [f"usage: {self.prog} COMMAND …", "", f"{self.prog} COMMAND --help says more of one."]
        for title, group in GROUPS.items():
            lines += ["", f"{title}:", *(f"  {name:{width}}{text}" for name, text in group.items())]
        return "\n".join(lines) + "\n"


def parser(
    imported: Sequence[str] = tuple(COMMANDS), name: str = "pixelpipe", *, long: bool = True
) -> argparse.ArgumentParser:
    """Of all commands, with the options of those that are `imported`: all of them take twice as long."""
    whole = _Parser(prog=name)
    commands = whole.add_subparsers(
        dest="command", required=True, metavar="COMMAND", parser_class=argparse.ArgumentParser
    )
    for name, text in COMMANDS.items():
        command = commands.add_parser(name, help=text)
        command.set_defaults(of=command)
        if name in imported:
            module = _module(name)
            command.description = module.__doc__ if long else text
            module.add_options(command)
    return whole


class _Stopped(Exception):
    """By the signal of this number."""


class _Threads(ThreadPoolExecutor):
    """Of the blocking calls: the end does not wait for them. Google's clients would keep it for ten minutes."""

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        super().shutdown(wait=False, cancel_futures=True)


def main(arguments: Sequence[str]) -> int:
    command = (arguments or [""])[0]
    try:
        whole = parser(arguments[:1], os.environ.get(NAME) or "python -m services.ops")
        if not arguments:
            whole.print_help(sys.stderr)
            return 2
        return _run(whole, arguments)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except _Stopped as stopped:
        return 128 + int(stopped.args[0])
    except BrokenPipeError:  # the reader of stdout, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except ConfigError as error:
        print(f"{command}: {error}", file=sys.stderr)
        return 2
    except CommandRefused as error:
        print(f"{command}: {error}", file=sys.stderr)
    # OSError: a file of credentials that cannot be read, a full disk behind stdout.
    except (GoogleAuthError, exceptions.GoogleAPIError, requests.RequestException, OSError) as error:
        print(f"{command}: failed: {deployment.one_line(error)}", file=sys.stderr)
    return 1


def _run(whole: argparse.ArgumentParser, arguments: Sequence[str]) -> int:
    try:
        options, unknown = whole.parse_known_args(arguments)
        if unknown:  # argparse itself would show the usage of all commands
            options.of.error(f"unrecognized arguments: {' '.join(unknown)}")
        for name, value in vars(options).items():  # a path may have any bytes, a request of BigQuery or Pub/Sub may not
            texts = [one for one in (value if isinstance(value, list) else [value]) if isinstance(one, str)]
            if any("\ud800" <= char <= "\udfff" for one in texts for char in one):
                options.of.error(f"--{name.replace('_', '-')} is not UTF-8")
        if "grpc" in sys.modules:  # commands that call nobody do without its import
            importlib.import_module("services.shared.event_engine").keep()
        with asyncio.Runner() as runner:
            runner.get_loop().set_default_executor(_Threads())
            return runner.run(_until_stopped(options))
    finally:
        print(end="", flush=True)  # here, where what fails is said


async def _until_stopped(options: argparse.Namespace) -> int:
    """The command's exit code. Raises _Stopped; Ctrl-C is asyncio's."""
    loop = asyncio.get_running_loop()
    command = asyncio.ensure_future(_module(options.command).run(options))
    received: list[int] = []

    def stop(number: int, _frame: FrameType | None) -> None:
        if command.done():  # nothing is left to put in order, and whoever says it again wants the end
            os._exit(128 + number)
        if not received:  # a closed terminal says it twice, and what is being put in order must not be stopped too
            loop.call_soon_threadsafe(command.cancel)
        received.append(number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        if (
            signal.getsignal(number) is signal.SIG_DFL
        ):  # not below nohup; it stays, as this is all that the process does
            # Not the loop's add_signal_handler: a signal while the loop closes would be a traceback on stderr.
            signal.signal(number, stop)
    with _woken(loop):
        try:
            code: int = await command
        except asyncio.CancelledError:
            if received:
                raise _Stopped(received[0]) from None
            raise
    return code


@contextmanager
def _woken(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """Each signal wakes the loop: one that came just before it waits, or to another thread, would be heard after it."""
    reading, writing = socket.socketpair()
    with reading, writing:
        reading.setblocking(False)
        writing.setblocking(False)
        loop.add_reader(reading, reading.recv, 4_096)
        before = signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)
        try:
            yield
        finally:  # before it is closed, or a signal then would be a traceback too
            signal.set_wakeup_fd(before)
            loop.remove_reader(reading)


if __name__ == "__main__":
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        # No exception yet: one in a callback of an import would be shown, and the command would go on.
        signal.signal(signal.SIGINT, lambda *_: os._exit(128 + signal.SIGINT))
        if sys.argv[1:] and sys.argv[1] in COMMANDS:
            _module(sys.argv[1])
        signal.signal(signal.SIGINT, signal.default_int_handler)
    ended = main(sys.argv[1:])
    if ended > 128:  # a thread may still wait for an answer, and Python for it
        sys.stderr.flush()
        os._exit(ended)
    sys.exit(ended)
