"""routines.* of the REST API, for table functions."""

from __future__ import annotations

from aiohttp import web

from emulators.bigquery import routines
from emulators.bigquery.errors import ApiError
from emulators.bigquery.rest.shapes import ROUTINE
from emulators.bigquery.rest.state import STATE, body, page
from emulators.bigquery.store import Store

LISTED = ("etag", "routineReference", "routineType", "creationTime", "lastModifiedTime", "language")


def _store(request: web.Request) -> Store:
    return request.app[STATE].store


def _key(request: web.Request) -> tuple[str, str, str]:
    return request.match_info["project"], request.match_info["dataset"], request.match_info["routine"]


async def insert(request: web.Request) -> web.Response:
    given = await body(request, ROUTINE)
    store, project, dataset = _store(request), request.match_info["project"], request.match_info["dataset"]
    name = (given.get("routineReference") or {}).get("routineId")
    if not name:
        raise ApiError(400, "required", "Required parameter is missing: routineReference.routineId")
    store.catalog.dataset(project, dataset)
    made = await routines.create(store, routines.define(store, (project, dataset, name), given))
    return web.json_response(routines.resource(made))


async def get(request: web.Request) -> web.Response:
    return web.json_response(routines.resource(_store(request).catalog.function(*_key(request))))


async def list_(request: web.Request) -> web.Response:
    project, dataset = request.match_info["project"], request.match_info["dataset"]
    catalog = _store(request).catalog
    catalog.dataset(project, dataset)
    items, following = page(request, list(catalog.functions_of(project, dataset)), 1_000)
    listed = [{key: value for key, value in routines.resource(item).items() if key in LISTED} for item in items]
    return web.json_response({"routines": listed} | following)


async def update(request: web.Request) -> web.Response:
    store, key = _store(request), _key(request)
    store.catalog.function(*key)
    wanted = routines.define(store, key, await body(request, ROUTINE))
    return web.json_response(routines.resource(await routines.change(store, wanted, request.headers.get("If-Match"))))


async def delete(request: web.Request) -> web.Response:
    await routines.delete(_store(request), _key(request), request.headers.get("If-Match"))
    return web.Response(status=204)


METHODS = {
    "routines.insert": insert,
    "routines.list": list_,
    "routines.get": get,
    "routines.update": update,
    "routines.delete": delete,
}
