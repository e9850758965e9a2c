"""What the handlers of the REST API work with, and how they read a request."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from emulators.bigquery.errors import invalid
from emulators.bigquery.jobs import Jobs
from emulators.bigquery.query_job import QueryJobs
from emulators.bigquery.rest import shapes
from emulators.bigquery.rest.sessions import Sessions
from emulators.bigquery.store import Store
from emulators.faults.fault_runtime import FaultRuntime


@dataclass(frozen=True)
class State:
    store: Store
    jobs: Jobs
    queries: QueryJobs
    faults: FaultRuntime
    uploads: Sessions = field(default_factory=Sessions)


STATE: web.AppKey[State] = web.AppKey("state", State)


async def body(request: web.Request, shape: Any) -> dict[str, Any]:
    """The request's JSON object, of that shape; ApiError 400 when it is none."""
    return decoded(await request.read() if request.can_read_body else b"", shape)


def decoded(text: bytes, shape: Any) -> dict[str, Any]:
    """The JSON object in `text`; ApiError 400 when there is none, or a value in it has the wrong type."""
    try:
        found = json.loads(text or b"{}")
        if b"\\u" in text:
            json.dumps(found, ensure_ascii=False).encode()  # half of a surrogate pair is not a character
    except RecursionError:
        raise invalid("Invalid JSON payload received. It is nested too deeply.") from None
    except ValueError as error:
        raise invalid(f"Invalid JSON payload received. {error}") from error
    if not isinstance(found, dict):
        raise invalid("Invalid JSON payload received. A JSON object is expected.")
    shapes.check(found, shape)
    return found


def number(request: web.Request, name: str, default: int, most: int) -> int:
    """A count in the query string; ApiError 400 when it is none."""
    return checked_number(request.query.get(name), name, default, most)


def checked_number(given: Any, name: str, default: int, most: int) -> int:
    if given in (None, ""):
        return default
    if isinstance(given, bool) or not str(given).isdecimal() or not str(given).isascii() or len(str(given)) > 19:
        raise invalid(f"Invalid value for {name}: {given}")
    return min(int(given), most)


def flag(request: web.Request, name: str) -> bool:
    return request.query.get(name, "").lower() == "true"


def page(
    request: web.Request, items: list[Any], most: int, size: str = "maxResults", usual: int | None = None
) -> tuple[list[Any], dict[str, str]]:
    """One page of a list, and what the answer says of the next one; `usual` are its items if nothing is asked."""
    start = number(request, "pageToken", 0, len(items))
    following = start + number(request, size, usual or most, most)
    return items[start:following], {"nextPageToken": str(following)} if following < len(items) else {}
