"""Keeps other sites out of the page's API, and answers every refusal in JSON.

A foreign host name that resolves to this machine must not read the events, and no other page may change anything.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any

from aiohttp import web

from emulators.arguments import HOST
from local.refusal import Refused
from local.run_file import NotRunning
from local.watched import Watched

MOST_BYTES = 1_048_576  # of a request
_CHANGES = ("POST", "PUT", "PATCH", "DELETE")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def guard(watched: Callable[[], Watched]) -> Any:
    """A middleware; `watched` is asked for each request."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        now: Watched | None = None
        try:
            now = watched()
            _check(request, now)
            response = await handler(request)
        except Refused as error:
            response = web.json_response(error.shown(), status=error.status)
        except NotRunning as error:
            response = _error(str(error), HTTPStatus.SERVICE_UNAVAILABLE)
        except web.HTTPRequestEntityTooLarge:
            response = _error(f"a request has at most {MOST_BYTES} bytes", HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        except web.HTTPException as error:
            response = _error(f"{request.method} {request.path[:80]}: {error.reason}", error.status)
        if not response.prepared:
            response.headers.update(headers(now))
        return response

    return middleware


def headers(watched: Watched | None) -> dict[str, str]:
    """Of every answer."""
    collector = ""
    if watched is not None:
        port = watched.collector.rpartition(":")[2]
        names = [watched.collector]
        if watched.collector == f"http://{HOST}:{port}":
            names.append(f"http://localhost:{port}")
        collector = " ".join(names)
    return {
        "Content-Security-Policy": (
            f"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self' {collector}; "
            f"img-src 'self' data: {collector}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        ),
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
    }


def _check(request: web.Request, watched: Watched) -> None:
    """Raises Refused."""
    hosts = (f"{HOST}:{watched.page_port}", f"localhost:{watched.page_port}")
    if request.host not in hosts:
        raise Refused(f"open {watched.page}/", HTTPStatus.MISDIRECTED_REQUEST)
    origin = request.headers.get("Origin")
    if origin is not None and origin not in [f"http://{host}" for host in hosts]:
        raise Refused("this is for the page itself and for programs on this machine", HTTPStatus.FORBIDDEN)
    if request.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin") and request.path.startswith(
        "/api/"
    ):
        raise Refused("this is for the page itself and for programs on this machine", HTTPStatus.FORBIDDEN)
    if request.method in _CHANGES and request.can_read_body and request.content_type != "application/json":
        raise Refused("send JSON, with Content-Type: application/json", HTTPStatus.UNSUPPORTED_MEDIA_TYPE)


async def body(request: web.Request) -> dict[str, Any]:
    """The JSON object that was posted, {} for none. Raises Refused."""
    data = await request.read()
    if not data.strip():
        return {}
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise Refused(f"the body is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise Refused("the body is not a JSON object")
    return found


def _error(message: str, status: int) -> web.Response:
    return web.json_response({"error": {"message": message}}, status=status)
