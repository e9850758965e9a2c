"""The reply to a browser's preflight request, and to the like of CloudEvents' senders."""

from __future__ import annotations

import re

from aiohttp import web
from multidict import istr

from services.collector.reply import Reply, origin
from services.collector.routes import Route

PREFLIGHT_SECONDS = "86400"
_WEBHOOK_ORIGIN = istr("WebHook-Request-Origin")
_ASKED_METHOD, _ASKED_HEADERS = istr("Access-Control-Request-Method"), istr("Access-Control-Request-Headers")
_METHOD, _HEADERS = re.compile(r"[A-Za-z-]{1,24}"), re.compile(r"[\w!#$%&'*+.^`|~, \t-]{1,1024}", re.ASCII)
_ALLOWED_METHODS, _ALLOWED_HEADERS = "GET, HEAD, POST", "Content-Type, Content-Encoding"


def reply(request: web.BaseRequest, route: Route | None) -> Reply:
    """Allow whatever a page asks to send: one header that is not allowed would cost all its events.

    A sender of CloudEvents asks in the same way, by its own name, whether it may send (CloudEvents' Web Hooks).
    """
    method, headers = request.headers.get(_ASKED_METHOD, ""), request.headers.get(_ASKED_HEADERS, "")
    sender = origin(request.headers.get(_WEBHOOK_ORIGIN, "")) if route is not None and route.cloud_events else b""
    webhook = {"WebHook-Allowed-Origin": sender.decode(), "WebHook-Allowed-Rate": "*"} if sender else {}
    return Reply(
        204,
        {
            "Access-Control-Allow-Methods": method if _METHOD.fullmatch(method) else _ALLOWED_METHODS,
            "Access-Control-Allow-Headers": headers if _HEADERS.fullmatch(headers) else _ALLOWED_HEADERS,
            "Access-Control-Max-Age": PREFLIGHT_SECONDS,
            **webhook,
        },
    )
