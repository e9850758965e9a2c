"""The control port of an emulator: `GET /faults`, `POST /faults`, `DELETE /faults`, `DELETE /faults/ID`, and, of
Pub/Sub, `GET /backlogs`.

Listens on the loopback address only, whatever address the emulator itself uses, and refuses requests from web pages.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from emulators.arguments import HOST
from emulators.faults.fault import BadFault, Vocabulary
from emulators.faults.fault_runtime import FaultRuntime

MOST_BYTES = 64 * 1024  # of one request
_GRACE = 1.0  # seconds for requests in progress at a stop

_RUNTIME: web.AppKey[FaultRuntime] = web.AppKey("fault_runtime", FaultRuntime)
_VOCABULARY: web.AppKey[Vocabulary] = web.AppKey("vocabulary", Vocabulary)

_BACKLOGS: web.AppKey[Callable[[], list[dict[str, Any]]]] = web.AppKey("backlogs")


@asynccontextmanager
async def listening(
    runtime: FaultRuntime,
    vocabulary: Vocabulary,
    port: int | None,
    backlogs: Callable[[], list[dict[str, Any]]] | None = None,
) -> AsyncIterator[dict[str, int]]:
    """Serve while entered; yields `{"control": PORT}`, or {} without a port. Raises OSError if the port is taken.

    `backlogs` says what waits in an emulator that has subscriptions.
    """
    if port is None:
        yield {}
        return
    runner = web.AppRunner(application(runtime, vocabulary, backlogs), access_log=None, shutdown_timeout=_GRACE)
    await runner.setup()
    try:
        await web.TCPSite(runner, HOST, port, reuse_address=True).start()
        yield {"control": int(runner.addresses[0][1])}
    finally:
        await runner.cleanup()


def application(
    runtime: FaultRuntime, vocabulary: Vocabulary, backlogs: Callable[[], list[dict[str, Any]]] | None = None
) -> web.Application:
    app = web.Application(middlewares=[_guard], client_max_size=MOST_BYTES)
    app[_RUNTIME], app[_VOCABULARY] = runtime, vocabulary
    app.router.add_get("/faults", _list)
    app.router.add_post("/faults", _add)
    app.router.add_delete("/faults", _clear)
    app.router.add_delete("/faults/{id}", _remove)
    if backlogs is not None:
        app[_BACKLOGS] = backlogs
        app.router.add_get("/backlogs", _waiting)
    return app


@web.middleware
async def _guard(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Errors are JSON. Origin betrays a web page; Host betrays a foreign name that resolves to this machine."""
    if "Origin" in request.headers or request.host.rpartition(":")[0] not in (HOST, "localhost"):
        return _error(403, f"faults are set by programs on this machine, at http://{HOST}, not by pages")
    try:
        return await handler(request)
    except web.HTTPRequestEntityTooLarge:
        return _error(413, f"a fault has at most {MOST_BYTES} bytes")
    except web.HTTPMethodNotAllowed as error:
        return _error(405, f"{request.path} has {', '.join(sorted(error.allowed_methods))}, not {request.method}")
    except web.HTTPNotFound:
        return _error(404, f"{request.path} does not exist; use /faults or /faults/ID")


async def _list(request: web.Request) -> web.Response:
    runtime = request.app[_RUNTIME]
    now = runtime.now()
    return web.json_response({"faults": [active.shown(now) for active in runtime.faults.listed(now)]})


async def _waiting(request: web.Request) -> web.Response:
    return web.json_response({"backlogs": request.app[_BACKLOGS]()})


async def _add(request: web.Request) -> web.Response:
    runtime = request.app[_RUNTIME]
    try:
        active = runtime.add(request.app[_VOCABULARY].read(await request.read()))
    except BadFault as error:
        return _error(400, str(error))
    return web.json_response(active.shown(runtime.now()), status=201)


async def _clear(request: web.Request) -> web.Response:
    return web.json_response({"removed": request.app[_RUNTIME].clear()})


async def _remove(request: web.Request) -> web.Response:
    name = request.match_info["id"]
    if not request.app[_RUNTIME].remove(name):
        return _error(404, f"no fault {name} is set")
    return web.json_response({"removed": 1})


def _error(status: int, text: str) -> web.Response:
    return web.json_response({"error": text}, status=status)
