"""Everything on one machine: `python -m local run`, then `python -m local query 'SELECT …'`."""

from __future__ import annotations

import signal

# As services.ops does, and for it: Ctrl-C shows no traceback of an import.
if __name__ == "__main__" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from emulators.arguments import HOST, data_path
from local import ports
from local.stack import DATA

_COMMAND = "PIXELPIPE_COMMAND"  # as services.ops has it, whose import takes a while
_NO_STACK = ("capacity", "check", "completion", "cost", "explain", "export")  # commands that need nothing that runs


def main(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m local", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="start the emulators and all services, until Ctrl-C")
    ports.add_options(run)
    query = commands.add_parser("query", help="run one SQL statement on the data of the running stack")
    query.add_argument("sql", help="GoogleSQL, such as 'SELECT user_id, type FROM pixelpipe.events'")
    query.add_argument("--format", choices=("table", "json"), default="table", help="a table, or a JSON object a row")
    fault = commands.add_parser("fault", help="set a fault in an emulator of the running stack, or list what is set")
    fault.add_argument("emulator", choices=("pubsub", "bigquery"))
    fault.add_argument("fault", nargs="?", help="""such as '{"effect": "latency", "delay": 2, "method": "Publish"}'""")
    fault.add_argument("--clear", action="store_true", help="remove all faults of the emulator")
    fault.add_argument("--remove", metavar="ID", help="remove one fault")
    ops = commands.add_parser(
        "ops",
        add_help=False,
        help="python -m services.ops on the running stack, such as: python -m local ops dead list",
    )
    ops.add_argument("-h", "--help", action="store_true", help="of the operator's commands")
    ops.add_argument("arguments", nargs=argparse.REMAINDER, metavar="COMMAND …", help="as services.ops takes them")
    page = commands.add_parser("page", help="the page, only looking, for a pipeline on Google Cloud")
    if "page" in arguments[:1]:  # its options come from the operator's commands, whose imports take a second
        _add_page_options(page)
    for command in (run, query, fault, ops):
        command.add_argument(
            "--data",
            type=data_path,
            default=environ.get("LOCAL_DATA") or str(DATA),
            help=f"the folder of data and logs ({DATA}; environment LOCAL_DATA)",
        )
    options = parser.parse_args(arguments)
    try:
        if options.command == "fault":
            return _fault(options)
        if options.command == "page":
            from local import cluster

            return cluster.serve(options, environ)
        return {"run": _run, "query": _query, "ops": _ops}[options.command](options, environ)
    except KeyboardInterrupt:  # before the supervisor listens for it, or while a query runs
        return 130


def _add_page_options(parser: argparse.ArgumentParser) -> None:
    from local import cluster

    cluster.add_options(parser)


def _run(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from local.run import run

    try:
        wanted = ports.read(options, environ)
    except ports.PortError as error:
        print(f"local: {error}", file=sys.stderr)
        return 2
    return run(wanted, options.data, environ)


def _query(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from local import query, run_file, stack

    as_table = options.format == "table"
    try:
        url, project = _bigquery(options.data, environ)
        if not options.sql.strip():
            raise query.QueryError(f"the SQL is empty; try '{stack.sample_sql(stack.Layout.dataset)}'")
        os.environ["NO_PROXY"] = os.environ["no_proxy"] = stack.past_proxies(environ)
        client = query.client(project, url)
        with query.explained():
            found = query.rows(client, options.sql, limit=query.TABLE_ROWS + 1 if as_table else None)
            (query.print_table if as_table else query.print_json)(found, sys.stdout)
        sys.stdout.flush()
    except (query.QueryError, run_file.NotRunning) as error:
        print(f"query: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _fault(options: argparse.Namespace) -> int:
    from local import fault_command, run_file

    try:
        said = fault_command.fault(
            options.data, options.emulator, options.fault, clear=options.clear, remove=options.remove
        )
    except (fault_command.FaultError, run_file.NotRunning) as error:
        print(f"fault: {error}", file=sys.stderr)
        return 1
    sys.stdout.write(said)
    return 0


def _ops(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Become the operator's command, whose Google clients talk to the stack: what is sent to this process is for it."""
    from local import run_file, stack

    arguments = ["--help"] if options.help else list(options.arguments)
    environ = {_COMMAND: "python -m local ops", **environ}
    try:
        running = run_file.read(options.data)
    except run_file.NotRunning as error:
        if not arguments or arguments[0] in _NO_STACK or _asks_for_help(arguments):
            _become(arguments, environ)
        print(f"ops: {error}", file=sys.stderr)
        return 1
    pipe = {"PIPE_PROJECT": running.project, "PIPE_DATASET": running.dataset, "PIPE_SCHEMA": running.schema}
    environment = {**stack.emulator_environment(running.ports, environ), **pipe}
    arguments += _addresses(arguments, running.ports)
    _become(arguments, environment)


def _become(arguments: Sequence[str], environ: Mapping[str, str]) -> NoReturn:
    os.execve(sys.executable, [sys.executable, "-m", "services.ops", *arguments], environ)  # noqa: S606 - of this environment


def _addresses(arguments: Sequence[str], running: ports.Ports) -> list[str]:
    """Of this stack, for a command that was given none."""
    from local import stack

    command, *others = arguments or [""]
    if _asks_for_help(others):
        return []
    if command == "ledger" and not any(one == "--promql" or "://" in one for one in others):
        return list(stack.admin_urls(running).values())
    found = []
    if command in ("smoke", "load", "doctor") and not any(one.startswith("--url") for one in others):
        found += ["--url", f"http://{HOST}:{running.collector}"]
    if command == "doctor" and not any(one.startswith("--admin") for one in others):
        found += [one for url in stack.admin_urls(running).values() for one in ("--admin", url)]
    return found


def _asks_for_help(arguments: Sequence[str]) -> bool:
    return not {"-h", "--help"}.isdisjoint(arguments)


def _bigquery(data: Path, environ: Mapping[str, str]) -> tuple[str, str]:
    """URL and project of the stack that runs with this folder, else the environment's URL. Raises NotRunning."""
    from local import run_file, stack

    try:
        running = run_file.read(data)
        return stack.Layout(running.ports, data).url("bigquery"), running.project
    except run_file.NotRunning:
        if url := environ.get("BIGQUERY_EMULATOR_HOST"):
            return url, stack.PROJECT
        raise


if __name__ == "__main__":
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.exit(main(sys.argv[1:], os.environ))
