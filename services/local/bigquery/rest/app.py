"""The REST application: routes, and the one place every request passes."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable

from aiohttp import web

from services.local.bigquery.errors import ApiError, invalid
from services.local.bigquery.rest import datasets, jobs, tables, upload
from services.local.bigquery.rest.state import STATE, State
from services.local.bigquery.writer import Busy

MAX_BODY = 32 * 1024 * 1024  # bytes of one JSON request; uploads have their own limit
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@web.middleware
async def answer(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every request: what a handler refuses becomes BigQuery's JSON error."""
    try:
        return await handler(request)
    except ApiError as error:
        return refusal(error)
    except Busy as busy:
        return refusal(ApiError(503, "backendError", str(busy)))
    except json.JSONDecodeError as error:
        return refusal(invalid(f"Invalid JSON payload received. {error}"))
    except web.HTTPRequestEntityTooLarge:
        return refusal(ApiError(413, "uploadTooLarge", f"Request is larger than {MAX_BODY} bytes"))
    except web.HTTPNotFound:
        return refusal(ApiError(404, "notFound", f"The local BigQuery emulator has no {request.path}"))
    except web.HTTPMethodNotAllowed:
        return refusal(ApiError(404, "notFound", f"The local BigQuery emulator has no {request.method} {request.path}"))


def refusal(error: ApiError) -> web.Response:
    # 499 has no meaning to HTTP clients; a cancelled query is answered as BigQuery answers it.
    return web.json_response(error.body(), status=error.status if error.status != 499 else 400)


def application(state: State) -> web.Application:
    app = web.Application(middlewares=[answer], client_max_size=MAX_BODY)
    app[STATE] = state
    for module in (datasets, tables, jobs):
        for method, path, handler in module.ROUTES:
            app.router.add_route(method, f"/bigquery/v2/projects/{{project}}{path}", handler)
    for prefix in ("/upload", "/resumable/upload"):
        for method, handler in upload.ROUTES:
            app.router.add_route(method, prefix + "/bigquery/v2/projects/{project}/jobs", handler)
    return app
