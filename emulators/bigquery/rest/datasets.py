"""datasets.* of the REST API."""

from __future__ import annotations

from aiohttp import web

from emulators.bigquery import datasets
from emulators.bigquery.errors import ApiError
from emulators.bigquery.rest.shapes import DATASET
from emulators.bigquery.rest.state import STATE, body, flag, page


async def insert(request: web.Request) -> web.Response:
    given = await body(request, DATASET)
    project = request.match_info["project"]
    name = (given.get("datasetReference") or {}).get("datasetId")
    if not name:
        raise ApiError(400, "required", "Required parameter is missing: datasetReference.datasetId")
    return web.json_response(datasets.resource(await datasets.create(request.app[STATE].store, project, name, given)))


async def get(request: web.Request) -> web.Response:
    found = request.app[STATE].store.catalog.dataset(request.match_info["project"], request.match_info["dataset"])
    return web.json_response(datasets.resource(found))


async def list_(request: web.Request) -> web.Response:
    project = request.match_info["project"]
    known = request.app[STATE].store.catalog.datasets
    found = [known[key] for key in sorted(known) if key[0] == project]
    items, following = page(request, found, 1_000)
    shown = ("kind", "id", "datasetReference", "labels", "friendlyName", "location")
    listed = [{key: value for key, value in datasets.resource(item).items() if key in shown} for item in items]
    answer = {"kind": "bigquery#datasetList", "datasets": listed}
    return web.json_response(answer | following)


async def change(request: web.Request) -> web.Response:
    changed = await datasets.change(
        request.app[STATE].store,
        request.match_info["project"],
        request.match_info["dataset"],
        await body(request, DATASET),
        request.headers.get("If-Match"),
        patch=request.method == "PATCH",
    )
    return web.json_response(datasets.resource(changed))


async def delete(request: web.Request) -> web.Response:
    await datasets.delete(
        request.app[STATE].store,
        request.match_info["project"],
        request.match_info["dataset"],
        request.headers.get("If-Match"),
        contents=flag(request, "deleteContents"),
    )
    return web.Response(status=204)


METHODS = {
    "datasets.insert": insert,
    "datasets.list": list_,
    "datasets.get": get,
    "datasets.patch": change,
    "datasets.update": change,
    "datasets.delete": delete,
}
