"""The inspector page and its API: what is running, what came, and why not. `python -m local.page`

A process of its own, started by `run`. The HTML holds no data; the script fetches it and sets text, never markup, since
events are strangers' input. What it asks of others: `run.json`, the services' admin ports, the emulators' control
ports, BigQuery, a subscription of its own to the topic of hits, and the supervisor for restarts.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from emulators.arguments import HOST
from local import api, query, run_file, same_origin, sights, watched
from local.restart import Restarts
from local.run_file import NotRunning
from local.watched import Watched
from services.shared import event_engine, schema_file
from services.shared.config import ConfigError
from services.shared.schema import Schema

_FILES = Path(__file__).parent / "page"
_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m local.page")
    parser.add_argument("--data", type=Path, required=True, help="the folder of the running stack's run.json")
    parser.add_argument("--control-fd", type=int, help="the page's end of the supervisor's socket pair, inherited")
    options = parser.parse_args()
    data: Path = options.data

    def now() -> Watched:
        return watched.of_stack(run_file.read(data))

    try:
        first = now()
        schema = schema_file.load(Path(first.schema))
        app = application(now, schema, _client(first), Restarts(options.control_fd), os.environ)
        serve(app, first.page_port)
    except (NotRunning, ConfigError) as error:
        print(f"page: {error}", file=sys.stderr)
        sys.exit(1)


def _client(first: Watched) -> Any:
    return query.client(first.project, os.environ["BIGQUERY_EMULATOR_HOST"])


def serve(app: web.Application, port: int) -> None:
    """Until a signal. A request whose asker is gone is given up. Raises OSError for a port that is taken."""
    event_engine.keep()
    web.run_app(app, host=HOST, port=port, print=None, shutdown_timeout=2.0, handler_cancellation=True)


def application(
    now: Callable[[], Watched],
    schema: Schema,
    client: Any,
    restarts: Restarts,
    environ: Mapping[str, str],
    *,
    tap: bool = True,
) -> web.Application:
    """`now` is called for each request."""
    app = web.Application(middlewares=[same_origin.guard(now)], client_max_size=same_origin.MOST_BYTES)
    for file in sorted(file for file in _FILES.iterdir() if file.suffix in _TYPES):  # an editor may leave others
        path = "/" if file.name == "index.html" else f"/{file.name}"
        app.router.add_get(path, _asset(file.read_text(encoding="utf-8"), _TYPES[file.suffix]))
    app.router.add_get("/readyz", _readyz)
    api.add_routes(app.router)

    async def looking(app: web.Application) -> AsyncIterator[None]:
        async with aiohttp.ClientSession(trust_env=False) as session:
            app[api.SIGHTS] = found = sights.make(now, schema, client, restarts, session, environ, tap=tap)
            async with asyncio.TaskGroup() as tasks:
                work = [found.look.run(session), found.feed.run(), found.keep_fresh(), found.proof.begin()]
                if found.raw_hits is not None:
                    work.append(found.raw_hits.run())
                running = [tasks.create_task(one) for one in work]
                yield
                for task in running:
                    task.cancel()
            found.sql_box.close()
            if found.raw_hits is not None:
                await found.raw_hits.leave()

    async def ending(app: web.Application) -> None:
        app[api.SIGHTS].stream.end()

    app.cleanup_ctx.append(looking)
    app.on_shutdown.append(ending)
    return app


def _asset(text: str, content_type: str) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def handler(_request: web.Request) -> web.Response:
        return web.Response(text=text, content_type=content_type, charset="utf-8")

    return handler


async def _readyz(request: web.Request) -> web.Response:
    """Not before it sees what is sent, or knows why it does not."""
    raw_hits = request.app[api.SIGHTS].raw_hits
    if raw_hits is not None and not raw_hits.made and raw_hits.error is None:
        return web.Response(text="its subscription is not made yet\n", status=HTTPStatus.SERVICE_UNAVAILABLE)
    return web.Response(text="ready\n")


if __name__ == "__main__":
    main()
