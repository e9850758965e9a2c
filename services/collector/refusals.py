"""The replies to what is not taken; to a post of no tenant, or over its rate, as its protocol's clients read.

A 401 asks for no credentials (WWW-Authenticate): a browser would ask its user for a password.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import msgspec

from services.collector.body import BadBody
from services.collector.cut import Cut
from services.collector.replies import Asked, is_verbose
from services.collector.reply import FRESH, TEXT, Reply

UNAUTHORIZED, TOO_MANY = 401, 429
MAX_RETRY_SECONDS = 3_600
RETRY_SECONDS = "1"
_JSON = {"Content-Type": "application/json"}
_WORDS = {UNAUTHORIZED: "the key is no tenant's", TOO_MANY: "too many events; send them again later"}

_Shape = Callable[[int, str, Asked], Any]


@lru_cache(16)
def other_method(methods: tuple[str, ...]) -> Reply:
    allowed = ", ".join([*methods, "OPTIONS"])
    return Reply(405, {**TEXT, **FRESH, "Allow": allowed}, b"method not allowed\n")


def unavailable(error: Exception) -> Reply:
    return Reply(503, {**TEXT, "Retry-After": RETRY_SECONDS}, f"try again: {error}\n".encode())


def bad_body(error: BadBody) -> Reply:
    content = {"error": error.error, **({"where": error.where} if error.where else {})}
    return Reply(error.status, _JSON, msgspec.json.encode(content))


class PostRefused(Exception):
    """A post that is not taken: status, body as it was cut, and with 429 the seconds until it may come again."""

    def __init__(self, status: int, found: Cut, retry_seconds: float = 0.0) -> None:
        super().__init__(status)
        self.status, self.found, self.retry_seconds = status, found, retry_seconds

    def reply(self, method: str, path: str, query: str) -> Reply:
        shape = _SHAPES.get(self.found.route.reply, _error)
        content = shape(self.status, _WORDS[self.status], Asked(method, path, query, cut=self.found))
        headers = {**(TEXT if isinstance(content, bytes) else _JSON), **FRESH}
        if self.status == TOO_MANY:
            seconds = min(max(math.ceil(self.retry_seconds), 1), MAX_RETRY_SECONDS)
            # Without the second a page's script does not see the first.
            headers |= {"Retry-After": str(seconds), "Access-Control-Expose-Headers": "Retry-After"}
        return Reply(self.status, headers, content if isinstance(content, bytes) else msgspec.json.encode(content))


def _error(_status: int, words: str, _asked: Asked) -> Any:
    return {"error": words}


def _text(_status: int, words: str, _asked: Asked) -> Any:
    return words.encode()


def _segment(_status: int, words: str, _asked: Asked) -> Any:
    return {"success": False, "message": words}


def _amplitude(status: int, words: str, _asked: Asked) -> Any:
    return {"code": status, "error": words}


def _mixpanel(_status: int, words: str, asked: Asked) -> Any:
    return {"status": 0, "error": words} if is_verbose(asked) else b"0"


def _mixpanel_import(status: int, words: str, asked: Asked) -> Any:
    if asked.cut is None or asked.cut.form:
        return _mixpanel(status, words, asked)
    return {"code": status, "error": words, "status": "Unauthorized" if status == UNAUTHORIZED else "Too Many Requests"}


def _posthog(status: int, words: str, _asked: Asked) -> Any:
    unknown = status == UNAUTHORIZED
    return {
        "type": "authentication_error" if unknown else "throttled_error",
        "code": "invalid_api_key" if unknown else "throttled",
        "detail": words,
        "attr": None,
    }


def _matomo(_status: int, words: str, asked: Asked) -> Any:
    items = len(asked.cut.items) if asked.cut else 0
    return {"status": "error", "tracked": 0, "invalid": items, "message": words}


_SHAPES: Mapping[str, _Shape] = {
    "segment": _segment,
    "jitsu": _segment,
    "rudderstack": _text,
    "snowplow": _text,
    "plausible": _text,
    "amplitude": _amplitude,
    "mixpanel": _mixpanel,
    "mixpanel.import": _mixpanel_import,
    "posthog": _posthog,
    "matomo": _matomo,
}
