"""The inspector page: what is running, a pixel to fire, and the rows it became. `python -m local.page`

A process of its own, started by `run`. It only reads: `run.json`, the services' admin ports, and BigQuery. The HTML
holds no data; the script fetches `/api/state` and sets text, never markup, since events are strangers' input.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from emulators.arguments import HOST
from local import query, run_file, stack
from local.ask import NoAnswer, ask
from local.recent import Recent
from local.run_file import NotRunning, Running
from services.shared import reconciliation, schema_file
from services.shared.schema import SchemaError

_HERE = Path(__file__).parent
_ASSETS = {
    "/": ("page.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
}

_RUNNING: web.AppKey[Callable[[], Running]] = web.AppKey("running")
_RECENT: web.AppKey[Recent] = web.AppKey("recent", Recent)
_SESSION: web.AppKey[aiohttp.ClientSession] = web.AppKey("session", aiohttp.ClientSession)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m local.page")
    parser.add_argument("--data", type=Path, required=True, help="the folder of the running stack's run.json")
    data: Path = parser.parse_args().data
    try:
        running = run_file.read(data)
        schema = schema_file.load(Path(running.schema))
    except (NotRunning, SchemaError) as error:
        print(f"page: {error}", file=sys.stderr)
        sys.exit(1)
    url = f"http://{HOST}:{running.ports.bigquery}"
    recent = Recent(query.client(running.project, url), running.dataset, schema)
    web.run_app(
        application(lambda: run_file.read(data), recent),
        host=HOST,
        port=running.ports.page,
        print=None,
        shutdown_timeout=2.0,
    )


def application(running: Callable[[], Running], recent: Recent) -> web.Application:
    """`running` is called for each request."""
    app = web.Application(middlewares=[_guard])
    app[_RUNNING], app[_RECENT] = running, recent
    for path, (file, content_type) in _ASSETS.items():
        app.router.add_get(path, _asset((_HERE / file).read_text(encoding="utf-8"), content_type))
    app.router.add_get("/api/state", _state)
    app.router.add_get("/readyz", _readyz)
    app.cleanup_ctx.append(_session)
    return app


@web.middleware
async def _guard(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Keep other sites out: a foreign host name that resolves to this machine must not read the events."""
    try:
        ports = request.app[_RUNNING]().ports
    except NotRunning as error:
        raise web.HTTPServiceUnavailable(text=f"{error}\n") from error
    if request.host not in (f"{HOST}:{ports.page}", f"localhost:{ports.page}"):
        raise web.HTTPMisdirectedRequest(text=f"open http://{HOST}:{ports.page}/\n")
    response = await handler(request)
    response.headers["Content-Security-Policy"] = (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        f"img-src data: http://{HOST}:{ports.collector}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response


def _asset(text: str, content_type: str) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def handler(_request: web.Request) -> web.Response:
        return web.Response(text=text, content_type=content_type, charset="utf-8")

    return handler


async def _readyz(_request: web.Request) -> web.Response:
    return web.Response(text="ready\n")


async def _state(request: web.Request) -> web.Response:
    """One object: what is below; `services` as `_service`, `tables` as `Recent.tables`, `ledger` as `_ledger` say."""
    running = request.app[_RUNNING]()
    session = request.app[_SESSION]
    services, tables, balance = await asyncio.gather(
        asyncio.gather(*(_service(session, child) for child in running.children)),
        request.app[_RECENT].tables(),
        _ledger(session, running),
    )
    state = {
        "project": running.project,
        "dataset": running.dataset,
        "started": running.started,
        "ready": running.ready,
        "at": time.time(),
        "pixel": stack.pixel(running.ports),
        "query": stack.sample_command(Path(running.data), running.dataset),
        "services": services,
        "ledger": balance,
        "tables": tables,
    }
    return web.json_response(state)


async def _service(session: aiohttp.ClientSession, child: dict[str, Any]) -> dict[str, Any]:
    """One child of run.json with its `state`: ready, running (without a readiness endpoint), not ready, or ended."""
    if not run_file.alive(child["pid"]):
        state = "ended"
    elif "admin" not in child["ports"]:
        state = "running"
    else:
        try:
            status, text = await ask(session, child, "/readyz")
            state = "ready" if status == 200 else "not ready: " + text[:200].strip()
        except NoAnswer as error:
            state = f"not ready: {error}"
    return {**child, "state": state}


async def _ledger(session: aiohttp.ClientSession, running: Running) -> dict[str, Any]:
    """A row of the ledger with `error` null, or `error` alone while a service does not answer."""
    try:
        # One after the other, the loader first: no hit is seen arriving before it left.
        children = {child["name"]: child for child in running.children}
        scrapes = {
            name: (await ask(session, children[name], "/metrics"))[1]
            for name in reconciliation.SERVICES
            if name in children
        }
        return {**reconciliation.reconcile(scrapes).shown(), "error": None}
    except (NoAnswer, reconciliation.Incomplete) as error:
        return {"error": str(error)}


async def _session(app: web.Application) -> Any:
    async with aiohttp.ClientSession(trust_env=False) as session:
        app[_SESSION] = session
        yield


if __name__ == "__main__":
    main()
