"""The REST application: routes, and the one place every request passes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web

from emulators.bigquery import fault_effects
from emulators.bigquery.errors import ApiError, invalid
from emulators.bigquery.rest import datasets, discovery, exceptions, jobs, method, routines, tables, upload
from emulators.bigquery.rest.state import STATE, State
from emulators.bigquery.writer import WriterBusy
from emulators.faults.active_faults import Call
from emulators.faults.fault_runtime import FaultRuntime, InjectedError, InjectedSilence

MAX_BODY = 32 * 1024 * 1024  # bytes of one JSON request; uploads have their own limit
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@web.middleware
async def answer(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every request: injects faults, and turns every error a handler raises into BigQuery's JSON error."""
    runtime = request.app[STATE].faults
    try:
        if runtime.on and (call := method.call_of(request)) is not None:
            return await _disturbed(runtime, call, request, handler)
        return await handler(request)
    except InjectedError as injected:
        if isinstance(injected, InjectedSilence):
            # aiohttp lets a handler run on when its client has gone.
            await runtime.sit_out(injected, lambda: request.transport is None)
        return refusal(fault_effects.api_error(injected))
    except ApiError as error:
        return refusal(error)
    except WriterBusy as busy:
        return refusal(ApiError(503, "backendError", str(busy)))
    except RecursionError:
        return refusal(invalid("The request is nested too deeply"))
    except web.HTTPRequestEntityTooLarge:
        return refusal(ApiError(413, "uploadTooLarge", f"Request is larger than {MAX_BODY} bytes"))
    except web.HTTPNotFound:
        return refusal(ApiError(404, "notFound", f"The local BigQuery emulator has no {request.path}"))
    except web.HTTPMethodNotAllowed:
        return refusal(ApiError(404, "notFound", f"The local BigQuery emulator has no {request.method} {request.path}"))


async def _disturbed(runtime: FaultRuntime, call: Call, request: web.Request, handler: Handler) -> web.StreamResponse:
    runtime.admit(call, request.content_length or 0, rows=0)
    await runtime.before(call)
    response = await handler(request)
    await runtime.after(call)
    return response


def refusal(error: ApiError) -> web.Response:
    # 499 has no meaning to HTTP clients; a cancelled query is answered as BigQuery answers it.
    return web.json_response(error.body(), status=error.status if error.status != 499 else 400)


def application(state: State) -> web.Application:
    app = web.Application(middlewares=[answer], client_max_size=MAX_BODY)
    app[STATE] = state
    methods = datasets.METHODS | tables.METHODS | routines.METHODS | jobs.METHODS
    for (verb, path), name in method.NAMES.items():
        app.router.add_route(verb, path, upload.VERBS[verb] if "/upload/" in path else methods[name])
    for verb, path, handler in (*discovery.ROUTES, *exceptions.ROUTES):
        app.router.add_route(verb, path, handler)
    return app
