"""The local BigQuery emulator as a process of its own: `python -m emulators.bigquery`."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import os
import signal
import sys

from emulators.arguments import data_path, host, port
from emulators.bigquery.emulator import PortTaken, emulator
from emulators.bigquery.store import FileLocked, FileUnusable


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m emulators.bigquery", description=__doc__)
    parser.add_argument("--host", type=host, default="127.0.0.1", help="address to listen on (default %(default)s)")
    parser.add_argument("--rest-port", type=port, default=9050, help="0 for a free one (default %(default)s)")
    parser.add_argument("--grpc-port", type=port, default=9060, help="0 for a free one (default %(default)s)")
    parser.add_argument(
        "--data", type=data_path, default=".local/bigquery.duckdb", help="the file (default %(default)s)"
    )
    parser.add_argument("--control-port", type=port, help="to set faults at, 0 for a free one (default: none)")
    return parser.parse_args()


async def serve(args: argparse.Namespace) -> None:
    """Serve until SIGTERM or SIGINT; a second signal ends the process at once."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def stopping() -> None:
        if stop.is_set():
            os._exit(1)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping)
    async with emulator(args.host, args.rest_port, args.grpc_port, args.data, args.control_port) as bound:
        ready = {name: port for name, port in dataclasses.asdict(bound).items() if port is not None}
        print(json.dumps(ready), flush=True)
        await stop.wait()


def main() -> int:
    try:
        asyncio.run(serve(arguments()))
    except (PortTaken, FileLocked, FileUnusable) as error:
        print(f"bigquery emulator: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
