"""What the handlers of the REST API work with, and how they read a request."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from services.local.bigquery.errors import invalid
from services.local.bigquery.jobs import Jobs
from services.local.bigquery.query_job import QueryJobs
from services.local.bigquery.rest.sessions import Sessions
from services.local.bigquery.store import Store
from services.local.outage import Outage


@dataclass(frozen=True)
class State:
    store: Store
    jobs: Jobs
    queries: QueryJobs
    outage: Outage
    uploads: Sessions = field(default_factory=Sessions)


STATE: web.AppKey[State] = web.AppKey("state", State)


async def body(request: web.Request) -> dict[str, Any]:
    """The request's JSON object; ApiError 400 when it is none."""
    found = await request.json() if request.can_read_body else {}
    if not isinstance(found, dict):
        raise invalid("Invalid JSON payload received. A JSON object is expected.")
    return found


def number(request: web.Request, name: str, default: int, most: int) -> int:
    """A count in the query string; ApiError 400 when it is none."""
    return checked_number(request.query.get(name), name, default, most)


def checked_number(given: Any, name: str, default: int, most: int) -> int:
    if given in (None, ""):
        return default
    if isinstance(given, bool) or not str(given).isdigit():
        raise invalid(f"Invalid value for {name}: {given}")
    return min(int(given), most)


def flag(request: web.Request, name: str) -> bool:
    return request.query.get(name, "").lower() == "true"


def page(request: web.Request, items: list[Any], most: int) -> tuple[list[Any], str | None]:
    """One page of a list, and the token of the next one."""
    start = number(request, "pageToken", 0, len(items))
    following = start + number(request, "maxResults", most, most)
    return items[start:following], str(following) if following < len(items) else None
