"""The emulator as a whole: the file, the REST server and the gRPC server, opened in order and closed in reverse."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
from aiohttp import web

from emulators.bigquery import fault_effects
from emulators.bigquery.jobs import Jobs
from emulators.bigquery.query_job import QueryJobs
from emulators.bigquery.rest import method
from emulators.bigquery.rest.app import application
from emulators.bigquery.rest.state import State
from emulators.bigquery.storage_read import BigQueryRead
from emulators.bigquery.storage_write import MAX_RECEIVED, BigQueryWrite
from emulators.bigquery.store import Store
from emulators.faults import control
from emulators.faults.fault_runtime import FaultRuntime

GRACE = 0.6  # seconds that calls in progress get at a stop, REST and gRPC one after the other


class PortTaken(Exception):
    """A port cannot be listened on: it is taken, or the host is not this machine."""


@dataclass(frozen=True)
class Ports:
    rest: int
    grpc: int
    control: int | None  # where faults are set, if asked for


@asynccontextmanager
async def emulator(
    host: str, rest_port: int, grpc_port: int, data: Path, control_port: int | None
) -> AsyncIterator[Ports]:
    """Serve while entered; raises `PortTaken` or `store.FileLocked` before anything is served."""
    async with AsyncExitStack() as stack:
        store = await asyncio.to_thread(Store, data)
        stack.push_async_callback(asyncio.to_thread, store.close)
        jobs = Jobs(store)
        stack.push_async_callback(jobs.close)
        await jobs.recover()
        runtime = FaultRuntime()
        state = State(store, jobs, QueryJobs(store, jobs), runtime)
        rest = await stack.enter_async_context(_rest(state, host, rest_port))
        write = await stack.enter_async_context(_grpc(store, jobs, runtime, host, grpc_port))
        faults = await stack.enter_async_context(_control(runtime, control_port))
        stack.callback(runtime.clear)  # first of all, so that no call is held at the end
        yield Ports(rest, write, faults)


@asynccontextmanager
async def _control(runtime: FaultRuntime, port: int | None) -> AsyncIterator[int | None]:
    async with AsyncExitStack() as stack:
        words = fault_effects.vocabulary(method.NAMES.values())
        try:
            bound = await stack.enter_async_context(control.listening(runtime, words, port))
        except OSError as error:
            raise PortTaken(f"cannot listen on port {port} for control: {error.strerror}") from error
        yield bound.get("control")


@asynccontextmanager
async def _rest(state: State, host: str, port: int) -> AsyncIterator[int]:
    runner = web.AppRunner(application(state), access_log=None, shutdown_timeout=GRACE)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port, reuse_address=True)
        try:
            await site.start()
        except OSError as error:
            raise PortTaken(f"cannot listen on {host}:{port} for REST: {error.strerror}") from error
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()


def _check_free(host: str, port: int) -> None:
    """gRPC writes lines of its own to stderr when a port is taken; the caller prints one clear line instead."""
    if port == 0:
        return
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise PortTaken(f"cannot listen on {host}:{port} for gRPC: {error.strerror}") from error


@asynccontextmanager
async def _grpc(store: Store, jobs: Jobs, runtime: FaultRuntime, host: str, port: int) -> AsyncIterator[int]:
    server = grpc.aio.server(
        options=[
            ("grpc.so_reuseport", 0),
            ("grpc.max_receive_message_length", MAX_RECEIVED),
            ("grpc.max_send_message_length", MAX_RECEIVED),
        ]
    )
    server.add_generic_rpc_handlers((BigQueryWrite(store, runtime).handlers(), BigQueryRead(store, jobs).handlers()))
    _check_free(host, port)
    try:
        bound = server.add_insecure_port(f"{host}:{port}")
    except RuntimeError as error:
        raise PortTaken(f"cannot listen on {host}:{port} for gRPC: the port is taken") from error
    await server.start()
    try:
        yield bound
    finally:
        await server.stop(GRACE)
