"""What an operator types: `python -m services.ops COMMAND --help`.

Results go to stdout, progress and errors to stderr. Exit codes: 0 done, 1 refused, failed or not all done, 2 for
options, a schema file or an emulator's address that are wrong, 130 after Ctrl-C, 141 once nobody reads stdout.
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
import sys
from collections.abc import Sequence
from types import ModuleType

import requests
from google.api_core import exceptions
from google.auth.exceptions import GoogleAuthError

from services.ops import output
from services.ops.deployment import CommandRefused
from services.shared.config import ConfigError

COMMANDS = {  # modules of this package, each with add_options() and run(); see _module()
    "check": "check a schema file, and show what it does to tables, a sample request, and rejects",
    "explain": "say what becomes of a request, without sending it",
    "init": "write a schema file with columns for what events bring and no column takes",
    "doctor": "check a running release from outside: each line ok, or what to do",
    "export": "write a LookML project or dbt's sources.yml of the tables and views",
    "smoke": "fire one pixel and wait for its row",
    "load": "fire hits at a collector and count what arrives in BigQuery",
    "ingest": "publish the hits of access logs: a load balancer's, nginx's, Apache's, CloudFront's",
    "replay": "publish the events of `rejects` again, once the schema or the code is repaired",
    "dead": "look at dead-letter messages, publish them again, or drop them",
    "reconcile": "compare, hour by hour in BigQuery, what was acknowledged with what arrived",
    "ledger": "compare what was collected with what is loaded, rejected, dead and spooled",
    "tail": "show hits, rows or rejects as they pass",
    "trace": "say where one event is, and when it passed",
    "privacy": "say what protects people here, and show it",
    "compact": "remove the physical duplicates of closed days, and move conflicts",
    "forget": "delete people from every table, and write a receipt",
    "access": "print every row of people",
    "cost": "say what a month costs at so many hits a second",
    "capacity": "say how to size a release for so many hits a second",
    "completion": "print a shell's completion of these commands",
}


def _module(name: str) -> ModuleType:
    # services/ops/explain.py explains one hit, for every command that does.
    return importlib.import_module(f"services.ops.{'explain_command' if name == 'explain' else name}")


def parser(imported: Sequence[str] = tuple(COMMANDS)) -> argparse.ArgumentParser:
    """Of all commands, with the options of those that are `imported`: all of them take twice as long."""
    whole = argparse.ArgumentParser(prog="pixelpipe", description="What an operator types.")
    commands = whole.add_subparsers(dest="command", required=True)
    for name, text in COMMANDS.items():
        command = commands.add_parser(name, help=text)
        command.set_defaults(of=command)
        if name in imported:
            module = _module(name)
            command.description = module.__doc__
            module.add_options(command)
    return whole


def main(arguments: Sequence[str]) -> int:
    command = next(iter(arguments), "pixelpipe")
    try:
        return _run(arguments)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader of stdout, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except ConfigError as error:
        print(f"{command}: {error}", file=sys.stderr)
        return 2
    except CommandRefused as error:
        print(f"{command}: {error}", file=sys.stderr)
    except GoogleAuthError as error:  # some carry the error behind theirs as a second argument
        print(f"{command}: failed: {' '.join(str((error.args or (error,))[0]).split())}", file=sys.stderr)
    # OSError: a file of credentials that cannot be read, a full disk behind stdout.
    except (exceptions.GoogleAPIError, requests.RequestException, OSError) as error:
        print(f"{command}: failed: {output.one_line(error)}", file=sys.stderr)
    return 1


def _run(arguments: Sequence[str]) -> int:
    try:
        options, unknown = parser(arguments[:1]).parse_known_args(arguments)
        if unknown:  # argparse itself would show the usage of all commands
            options.of.error(f"unrecognized arguments: {' '.join(unknown)}")
        code: int = asyncio.run(_module(options.command).run(options))
    finally:
        print(end="", flush=True)  # here, where what fails is said
    return code


if __name__ == "__main__":
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.exit(main(sys.argv[1:]))
