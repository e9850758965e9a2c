"""`python -m emulators.pubsub [--host 127.0.0.1] [--port 8085] [--max-bytes 2147483648] [--control-port N]
[--archive-dir FOLDER]`

Prints one line, `{"grpc": PORT}`, when it accepts calls, with `"control": PORT` where faults can be set; SIGTERM or
SIGINT ends it with exit code 0.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
from contextlib import AsyncExitStack
from pathlib import Path

from emulators.arguments import HOST, data_path, host, port
from emulators.faults import control
from emulators.faults.fault_runtime import FaultRuntime
from emulators.pubsub.broker import Broker
from emulators.pubsub.clock import Alarm, Clock
from emulators.pubsub.cloud_storage import CloudStorage
from emulators.pubsub.server import Server


async def serve(
    host: str,
    port: int,
    max_bytes: int,
    control_port: int | None,
    archive_dir: Path | None = None,
    archive_seconds: float | None = None,
) -> int:
    """Serve until a signal comes; returns the exit code."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    clock = Clock()
    alarm = Alarm(clock)
    broker = Broker(max_bytes, first_number=int(clock.now() * 1e6), sooner=alarm.sooner)
    cloud_storage = CloudStorage(archive_dir, clock, archive_seconds) if archive_dir is not None else None
    if cloud_storage is not None:
        broker.export = cloud_storage.watch
    runtime = FaultRuntime()
    server = Server(broker, clock, runtime)
    async with AsyncExitStack() as stack:
        try:
            control_bound = await stack.enter_async_context(
                control.listening(runtime, server.vocabulary, control_port, lambda: broker.backlogs(clock.now()))
            )
        except OSError as error:
            return _cannot_listen("control", HOST, control_port, error)
        try:
            bound = await server.start(host, port)
        except OSError as error:
            return _cannot_listen("calls", host, port, error)
        ringing = asyncio.create_task(alarm.run(broker))
        tasks = [ringing]
        if cloud_storage is not None:
            tasks.append(asyncio.create_task(cloud_storage.run()))
        print(json.dumps({"grpc": bound, **control_bound}), flush=True)
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({stopping, *tasks}, return_when=asyncio.FIRST_COMPLETED)
        await server.stop()
        stopping.cancel()
        ringing.cancel()
        if cloud_storage is not None:
            cloud_storage.end()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                raise outcome
        if cloud_storage is not None:
            await cloud_storage.finish()
    return 0


def _cannot_listen(what: str, host: str, port: int | None, error: OSError) -> int:
    print(f"The Pub/Sub emulator cannot listen for {what} on {host}:{port}: {error}", file=sys.stderr)
    return 1


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m emulators.pubsub", description="A local Pub/Sub, in memory.")
    parser.add_argument("--host", type=host, default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=port, default=8085, help="port to listen on, 0 for a free one (default: 8085)")
    parser.add_argument(
        "--max-bytes",
        type=int,
        default=2 * 1024**3,
        help="unacknowledged bytes above which Publish answers RESOURCE_EXHAUSTED (default: 2 GiB)",
    )
    parser.add_argument(
        "--control-port",
        type=port,
        help="port to set faults at, 0 for a free one (default: faults cannot be set)",
    )
    parser.add_argument(
        "--archive-dir",
        type=data_path,
        help="folder where Cloud Storage subscriptions write BUCKET/OBJECT (default: they are refused)",
    )
    parser.add_argument(
        "--archive-seconds",
        type=float,
        help="seconds an object may be open at most, whatever its subscription says (default: as it says)",
    )
    arguments = parser.parse_args()
    if arguments.archive_seconds is not None and not arguments.archive_seconds > 0:
        parser.error(f"--archive-seconds must be positive, not {arguments.archive_seconds}")
    if arguments.max_bytes <= 0:
        parser.error(f"--max-bytes must be positive, not {arguments.max_bytes}")
    return asyncio.run(
        serve(
            arguments.host,
            arguments.port,
            arguments.max_bytes,
            arguments.control_port,
            arguments.archive_dir,
            arguments.archive_seconds,
        )
    )


if __name__ == "__main__":
    sys.exit(main())
