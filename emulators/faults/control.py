"""The control port of an emulator: `GET /faults`, `POST /faults`, `DELETE /faults`, `DELETE /faults/ID`.

On the loopback address only, whatever the emulator itself listens on, and not for pages of a browser.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiohttp import web

from emulators.arguments import HOST
from emulators.faults.fault import BadFault, Vocabulary
from emulators.faults.fault_runtime import Outage

MOST_BYTES = 64 * 1024  # of one request
_GRACE = 1.0  # seconds for requests in progress at a stop

_OUTAGE: web.AppKey[Outage] = web.AppKey("outage", Outage)
_VOCABULARY: web.AppKey[Vocabulary] = web.AppKey("vocabulary", Vocabulary)


@asynccontextmanager
async def listening(outage: Outage, vocabulary: Vocabulary, port: int | None) -> AsyncIterator[dict[str, int]]:
    """Serve while entered, and give `{"control": PORT}`; nothing for no port. Raises OSError for one that is taken."""
    if port is None:
        yield {}
        return
    runner = web.AppRunner(application(outage, vocabulary), access_log=None, shutdown_timeout=_GRACE)
    await runner.setup()
    try:
        await web.TCPSite(runner, HOST, port, reuse_address=True).start()
        yield {"control": int(runner.addresses[0][1])}
    finally:
        await runner.cleanup()


def application(outage: Outage, vocabulary: Vocabulary) -> web.Application:
    app = web.Application(middlewares=[_guard], client_max_size=MOST_BYTES)
    app[_OUTAGE], app[_VOCABULARY] = outage, vocabulary
    app.router.add_get("/faults", _list)
    app.router.add_post("/faults", _add)
    app.router.add_delete("/faults", _clear)
    app.router.add_delete("/faults/{id}", _remove)
    return app


@web.middleware
async def _guard(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Errors are JSON. A browser names the page that asks, and a foreign name that points here shows in the host."""
    if "Origin" in request.headers or request.host.rpartition(":")[0] not in (HOST, "localhost"):
        return _error(403, f"faults are set by programs on this machine, at http://{HOST}, not by pages")
    try:
        return await handler(request)
    except web.HTTPRequestEntityTooLarge:
        return _error(413, f"a fault has at most {MOST_BYTES} bytes")
    except web.HTTPMethodNotAllowed as error:
        return _error(405, f"{request.path} has {', '.join(sorted(error.allowed_methods))}, not {request.method}")
    except web.HTTPNotFound:
        return _error(404, f"there is no {request.path}; there are /faults and /faults/ID")


async def _list(request: web.Request) -> web.Response:
    outage = request.app[_OUTAGE]
    now = outage.now()
    return web.json_response({"faults": [active.shown(now) for active in outage.faults.listed(now)]})


async def _add(request: web.Request) -> web.Response:
    outage = request.app[_OUTAGE]
    try:
        active = outage.add(request.app[_VOCABULARY].read(await request.read()))
    except BadFault as error:
        return _error(400, str(error))
    return web.json_response(active.shown(outage.now()), status=201)


async def _clear(request: web.Request) -> web.Response:
    return web.json_response({"removed": request.app[_OUTAGE].clear()})


async def _remove(request: web.Request) -> web.Response:
    name = request.match_info["id"]
    if not request.app[_OUTAGE].remove(name):
        return _error(404, f"no fault {name} is set")
    return web.json_response({"removed": 1})


def _error(status: int, text: str) -> web.Response:
    return web.json_response({"error": text}, status=status)
